import { readdirSync, readFileSync } from "node:fs";
import test from "ava";
import { workerCommand } from "../../lib/cli/worker.ts";

const text = readFileSync(new URL("../../docs/worker.md", import.meta.url), "utf8");

test("The worker's page names every flag that is shown in its help, and no other", (t) => {
  const flags = new Set(
    workerCommand()
      .commands.flatMap(({ options }) => options)
      .filter(({ hidden }) => !hidden)
      .map(({ long }) => long ?? ""),
  );
  t.true(flags.size > 12);
  const named = new Set([...text.matchAll(/`(--[a-z-]+)/g)].map((match) => match[1]));
  named.delete("--on-work");
  t.deepEqual([...flags].sort(), [...named].sort());
});

test("The worker's page says where everything of lib/worker is", (t) => {
  const part = text.slice(text.indexOf("## Where what is"), text.indexOf("## Differences"));
  const modules = readdirSync(new URL("../../lib/worker", import.meta.url)).filter(
    (name) => name.endsWith(".ts") && !/^(memory.*|timings|failure|log|claimed-item)\.ts$/.test(name),
  );
  t.deepEqual(
    modules.filter((name) => !part.includes(`\`${name}\``)),
    [],
  );
});

test("Every line that the worker's page says the log has is said by the code", (t) => {
  const code = readdirSync(new URL("../../lib/worker", import.meta.url))
    .filter((name) => name.endsWith(".ts"))
    .map((name) => readFileSync(new URL(`../../lib/worker/${name}`, import.meta.url), "utf8"))
    .join("\n")
    .concat(readFileSync(new URL("../../lib/cli/worker.ts", import.meta.url), "utf8"));
  const table = text.slice(text.indexOf("| line "), text.indexOf("Credentials are taken out"));
  const lines = [...table.matchAll(/^\|(.*?)\|/gm)].flatMap((row) => [...(row[1] ?? "").matchAll(/`([^`]+)`/g)]);
  const words = lines.map((match) => (match[1] ?? "").replace(/^… /, "").replace(/^call (?!$)/, ""));
  t.true(words.length > 12);
  t.deepEqual(
    words.filter((word) => !code.includes(`"${word}`) && !code.includes(` ${word}`)),
    [],
  );
});
