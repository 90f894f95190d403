import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import test from "ava";
import { QueueServer } from "../../lib/queue/server.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { Redactor } from "../../lib/worker/credentials.ts";
import { SessionSandbox } from "../../lib/worker/session-sandbox.ts";
import { sound } from "../policy/policy-text.ts";
import { scratchFolder } from "../sandbox/session.ts";
import { WorkerProcess, workspace } from "./worker-process.ts";

const secret = "a-secret-that-nobody-may-see-0123456789";
const own = "sk-ant-oat01-the-worker's-own-key-of-this-environment";
process.env["HOLDFAST_TEST_LEAK"] = secret;
new Redactor().add(own);

const policyText = (settings: string): string => `holdfast: 1
network_policies:
  api:
    endpoints: [{ host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/curl }]
credentials:
  key: { source: { env: HOLDFAST_TEST_LEAK }, env: KEY, network_policy: api }
${settings}`;

for (const [action, isError, text, leaves] of [
  ["redact", false, /^\[redacted\] \[redacted\]$/, false],
  [
    "block",
    true,
    /^bash: the result holds key \(plain\), the worker's own key \(plain\), which does not leave this host$/,
    false,
  ],
  ["warn", false, new RegExp(`^${secret}`), true],
] as const) {
  test(`What a tool finds of a secret leaves in no result and no file: ${action}`, async (t) => {
    const workdir = scratchFolder(t);
    // However it came there: the sandbox is not given it.
    writeFileSync(join(workdir, "found"), `${secret} ${own}`);
    writeFileSync(join(workdir, "found.gz"), gzipSync(secret));
    writeFileSync(join(workdir, `found in ${secret}`), "");
    const policy = sound(policyText(`leak_guard: { action: ${action} }\n`));
    const said: string[] = [];
    const note = (fields: object, message: string): void => void said.push(`${message} ${JSON.stringify(fields)}`);
    await using sandbox = await Sandbox.create({ workdir, policy, tools: true });
    const place = new SessionSandbox(
      sandbox,
      { sessionId: "session_1", privateFolders: [], readOnlyFolders: [] },
      {
        log: { info: note, warn: note, error: note },
        tools: undefined,
        extract: async () => {},
      },
    );
    const signal = new AbortController().signal;
    const result = await place.tools.run("bash", { command: "cat found" }, signal);
    t.is(result.isError, isError);
    t.regex(result.text, text);
    const placeholder = await place.tools.run("bash", { command: 'printf %s "$KEY"' }, signal);
    t.is(placeholder.text.length, secret.length);
    t.true(said.some((line) => /a result holds a secret.*key \(plain\)/.test(line)));
    t.false(said.join().includes(secret));
    await place.end();
    const out = join(scratchFolder(t), "out");
    const { files, keptBack } = await sandbox.extract([{ glob: "found*" }], out, { files: "all" });
    const told = leaves
      ? files.map(({ path, leaks = [] }) => `${path}: ${leaks.join()}`)
      : keptBack.map(({ path, reason }) => `${path}: ${reason}`);
    const kept = "which the leak guard keeps back";
    t.deepEqual(
      told.sort(),
      leaves
        ? [
            `found in ${secret}: key (plain)`,
            "found.gz: key (plain, packed)",
            "found: key (plain),the worker's own key (plain)",
          ]
        : [
            `found in [redacted]: its name holds key (plain), ${kept}`,
            `found.gz: it holds key (plain, packed), ${kept}`,
            `found: it holds key (plain), ${kept}`,
          ],
    );
    t.is(files.length, leaves ? 3 : 0);
  });
}

test("A worker's log says why something was refused, and what was permitted and led nowhere", async (t) => {
  const queue = await QueueServer.start();
  t.teardown(() => queue.close());
  const ask = `fetch("http://inference.local/v1/chat/completions", { method: "POST", body: "{}" })`;
  queue.submit({
    calls: [{ tool: "bash", input: { command: `/.holdfast/node -e '${ask}'; getent hosts b.example` } }],
  });
  const policyFile = join(scratchFolder(t), "policy.yaml");
  writeFileSync(
    policyFile,
    `holdfast: 1
filesystem_policy: { include_workdir: true, read_only: [/usr, /bin, /lib, /lib64, /etc] }
inference:
  routes:
    gone: { family: openai, url: "https://192.0.2.1", key: { env: HOLDFAST_TEST_NOWHERE } }
`,
  );
  const worker = WorkerProcess.start(
    t,
    [
      ...["poll", "--workdir", workspace(t), "--policy", policyFile, "--log-format", "text", "--drain"],
      ...["--base-url", queue.url, "--environment-id", queue.environmentId],
    ],
    { ANTHROPIC_ENVIRONMENT_KEY: queue.environmentKey },
  );
  t.is((await worker.ended).code, 0);
  t.regex(worker.said, /! refused .*kind=connect subject=b\.example count=\d detail=".*no endpoint.*"/);
  t.regex(worker.said, /! not reached .*subject="the route gone \(by .*node\)" .*HOLDFAST_TEST_NOWHERE is not set/);
});
