import { randomBytes } from "node:crypto";
import { copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { toolFolder } from "../../lib/plan/workspace.ts";
import { searchWorld } from "../secrets/world-search.ts";
import { FaultyServer, terminated, toolUse } from "./faulty-server.ts";
import { turn, WorkerProcess, workspace } from "./worker-process.ts";

interface Found {
  readonly found: string[];
  readonly files: number;
  readonly regions: number;
  readonly descriptors: number;
  readonly processes: { pid: number; hasMemory: boolean }[];
}

function random(): string {
  return randomBytes(24).toString("base64url").replace(/[-_]/g, "x");
}

/** A text as the scanner takes it: its first half, and the second one changed. */
function needle(name: string, text: string): object {
  const middle = Math.floor(text.length / 2);
  const tail = Buffer.from(text.slice(middle)).map((byte) => byte ^ 0x15);
  return { name, head: text.slice(0, middle), tail: Buffer.from(tail).toString("hex") };
}

/** A text in forms that it could lie about in, those of base64 without what stands beside it. */
function encoded(text: string): readonly string[] {
  const base64 = ["", "x", "xy"].map((before) => Buffer.from(`${before}${text}`).toString("base64").slice(4, -4));
  return [...base64, Buffer.from(text).toString("hex"), [...text].reverse().join(""), encodeURIComponent(text)];
}

/** Plants canaries where the scanner has to find them; each is told by where it is. */
function plant(canaries: Readonly<Record<string, string>>): string {
  const { file, environment, argument, variable, open } = canaries;
  return [
    `printf %s ${file} > /tmp/planted`,
    `CANARY=${environment} sleep 300 & sh -c 'sleep 300; : ${argument}' &`,
    `kept=${variable}`,
    `exec 9<> /tmp/unlinked; rm /tmp/unlinked; printf %s ${open} >&9`,
    "ulimit -c; sh -c 'kill -SEGV $$'; ls -A . /tmp | grep -i core; true",
  ].join("\n");
}

/** Serves a session that looks everywhere, by `worker poll` or `worker handle`. */
const findsNoCredential = test.macro(async (t: ExecutionContext, how: "poll" | "handle", args: readonly string[]) => {
  await turn(t);
  const server = await FaultyServer.start();
  t.teardown(() => server.close());
  const key = `sk-ant-oat01-${random()}`;
  const token = `sk-ant-req-${random()}`;
  const secret = Buffer.from(JSON.stringify({ sessions_token: token, filler: random() })).toString("base64");
  const secrets = {
    "the environment key": key,
    "the sessions token": token,
    "the work secret": secret,
    "the API key": `sk-ant-api03-${random()}`,
    "another token": `sk-ant-oat02-${random()}`,
    "the webhook key": `whsec_${random()}`,
    "a custom header": `Bearer-${random()}`,
  };
  const canaries = {
    file: random(),
    environment: random(),
    argument: random(),
    variable: random(),
    open: random(),
    "of the workspace": random(),
  };
  const workdir = workspace(t);
  copyFileSync(join(import.meta.dirname, "world-scan.cjs"), join(workdir, "scan.cjs"));
  writeFileSync(join(workdir, "seen.txt"), canaries["of the workspace"]);
  writeFileSync(
    join(workdir, "needles.json"),
    // The middle of each: a part of it is as bad as the whole.
    JSON.stringify([
      ...Object.entries(secrets).map(([name, text]) => needle(name, text.slice(-24))),
      ...[key, token].flatMap((text) => encoded(text).map((form) => needle(`a form of ${text.slice(0, 12)}`, form))),
      ...Object.entries(canaries).map(([name, text]) => needle(`canary ${name}`, text)),
    ]),
  );

  const item = { id: "work_1", environment_id: "env_test", data: { type: "session", id: "sesn_test" } };
  server.enqueue({ id: item.id, secret });
  server.happen(
    toolUse("sevt_1", "bash", { input: { command: plant(canaries) } }),
    toolUse("sevt_2", "bash", {
      input: { command: `${toolFolder}/node scan.cjs "$PWD/needles.json"`, timeout_ms: 110_000 },
    }),
    toolUse("sevt_3", "bash", { input: { command: "env; cat /proc/self/environ /proc/1/environ; set" } }),
    toolUse("sevt_4", "no-such-tool", { input: { key } }),
  );
  const worker = WorkerProcess.start(
    t,
    [how, "--workdir", workdir, "--base-url", server.url, ...(how === "poll" ? ["--once"] : []), ...args],
    {
      ANTHROPIC_ENVIRONMENT_KEY: key,
      ANTHROPIC_ENVIRONMENT_ID: "env_test",
      ANTHROPIC_API_KEY: secrets["the API key"],
      ANTHROPIC_AUTH_TOKEN: secrets["another token"],
      ANTHROPIC_WEBHOOK_SIGNING_KEY: secrets["the webhook key"],
      ANTHROPIC_CUSTOM_HEADERS: `X-Custom: ${secrets["a custom header"]}`,
      ANTHROPIC_LOG: "debug",
      ...(how === "handle" ? { ANTHROPIC_WORK_SECRET: secret } : {}),
    },
    how === "handle" ? JSON.stringify(item) : "",
  );
  await server.until(() => server.results().length === 3, "the results", 120_000);
  server.happen(terminated);
  t.deepEqual(await worker.ended, { code: 0, signal: null });

  const [planted, scanned, environment] = server.results();
  t.regex(planted?.text ?? "", /^0\n.*Segmentation fault +sh -c 'kill -SEGV \$\$'$/, "no core dump");
  const { found, files, regions, descriptors, processes } = JSON.parse(scanned?.text ?? "") as Found;
  const holders = (name: string): string[] => found.filter((line) => line.startsWith(`canary ${name} in `));
  t.true(
    holders("file").some((line) => line.endsWith("in /tmp/planted")),
    "the scanner reads files",
  );
  t.true(
    holders("environment").some((line) => /\/proc\/\d+\/environ$/.test(line)),
    "it reads environments",
  );
  t.true(
    holders("argument").some((line) => /\/proc\/\d+\/cmdline$/.test(line)),
    "it reads arguments",
  );
  t.true(
    holders("variable").some((line) => /memory of \d+$/.test(line)),
    "it reads memory",
  );
  t.true(
    holders("open").some((line) => /\/proc\/\d+\/fd\/9$/.test(line)),
    "it reads open files",
  );
  t.true(
    holders("of the workspace").some((line) => line.endsWith("/seen.txt")),
    "it reads the workspace",
  );
  t.deepEqual(
    found.filter((line) => !line.startsWith("canary ")),
    [],
  );
  t.true(files > 50 && regions > 20 && descriptors > 5, scanned?.text);
  t.deepEqual(
    processes.find(({ pid }) => pid === 1),
    { pid: 1, hasMemory: false },
    "pid 1 cannot be read",
  );
  t.true(processes.filter(({ hasMemory }) => hasMemory).length >= 4);
  t.notRegex(environment?.text ?? "", /ANTHROPIC/i);
  const said = { results: server.results(), log: worker.said };
  t.deepEqual(searchWorld({ secrets: Object.values(secrets), said, folders: [workdir] }).finds, []);
});

test("Nothing in a session's world, its results or the log holds a credential", findsNoCredential, "poll", []);
test("The same with --workspace direct and a log for people", findsNoCredential, "poll", [
  "--workspace",
  "direct",
  "--log-format",
  "text",
]);
test("The same for an item that a poller hands over", findsNoCredential, "handle", ["--log-format", "json"]);
