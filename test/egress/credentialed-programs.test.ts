import { testsOf } from "./world-tests.ts";

const { found, inThatWorld } = testsOf<{
  readonly said: Readonly<Record<string, string | null>>;
  readonly found: readonly string[];
  readonly reachable: number;
}>("credentialed-programs.ts");

for (const [name, says] of [
  ["curl", /GET \/basic as forge[\s\S]*GET \/token as forge/],
  ["git", /a{40}\trefs\/heads\/mine/],
  ["pip", /tiny \(1\.2\.3\)/],
  ["npm", /4\.5\.6[\s\S]*\+ mine@1\.0\.0/],
  ["the Anthropic SDK", /^hello from the model$/m],
] as const) {
  inThatWorld(`With a placeholder for a key: ${name}`, (t) => {
    const said = found.said[name] ?? null;
    if (said === null) {
      t.log(`skipped: ${name} is not installed`);
      t.pass();
    } else t.regex(said, says);
  });
}

inThatWorld("After them no secret is in a variable, a command line or a file that the sandbox reaches", (t) => {
  t.true(found.reachable > 1000);
  t.deepEqual(found.found, []);
});
