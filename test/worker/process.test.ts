import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { checkReceipt } from "../../lib/audit/receipt-check.ts";
import { makeKey, publicKeyFile, readPublicKey } from "../../lib/audit/receipt-key.ts";
import { holdfast } from "../e2e/holdfast.ts";
import { hasTerminal, Terminal } from "../e2e/pty.ts";
import {
  type Event,
  environmentKey,
  FaultyServer,
  secretOf,
  sessionsToken,
  terminated,
  toolUse,
} from "./faulty-server.ts";
import { leftovers, processesWith, scratch, turn, WorkerProcess, workspace } from "./worker-process.ts";

interface Stage {
  readonly server: FaultyServer;
  readonly workdir: string;
  /** Starts `holdfast worker poll` against the server. */
  poll(args?: readonly string[], env?: Readonly<Record<string, string>>): WorkerProcess;
}

async function stage(t: ExecutionContext, prefix = ""): Promise<Stage> {
  await turn(t);
  const server = await FaultyServer.start(prefix);
  t.teardown(() => server.close());
  const workdir = workspace(t);
  return {
    server,
    workdir,
    poll: (args = [], env = {}) =>
      WorkerProcess.start(t, ["poll", "--workdir", workdir, ...args], {
        ANTHROPIC_ENVIRONMENT_KEY: environmentKey,
        ANTHROPIC_ENVIRONMENT_ID: "env_test",
        ANTHROPIC_BASE_URL: server.url,
        ...env,
      }),
  };
}

function bash(id: string, command: string): Event {
  return toolUse(id, "bash", { input: { command } });
}

/** The JSON lines of a log. */
function lines(worker: WorkerProcess): Record<string, unknown>[] {
  return worker.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

for (const status of [401, 403, 404]) {
  test(`A poll answered ${status} ends the process with 125, after one request`, async (t) => {
    const { server, poll } = await stage(t);
    server.failAlways("poll", { status });
    const worker = poll();
    t.deepEqual(await worker.ended, { code: 125, signal: null });
    t.is(server.requests.length, 1);
    t.regex(worker.stderr, new RegExp(`refused the worker's poll: ${status}`));
    t.false(worker.said.includes(environmentKey));
    t.deepEqual(leftovers(worker), []);
  });
}

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  test(`${signal} ends an idle worker within five seconds, with 0`, async (t) => {
    const { server, poll } = await stage(t);
    const worker = poll();
    await server.untilCount("poll", 2);
    // The network's kill switch, which ends nothing else; Node's own answer to this signal would be a debugger.
    worker.child.kill("SIGUSR1");
    const began = performance.now();
    worker.child.kill(signal);
    t.deepEqual(await worker.ended, { code: 0, signal: null });
    t.regex(worker.stderr, /no session has a network any more/);
    t.true(performance.now() - began < 5000);
  });
}

test("SIGTERM during a call cancels it, stops the item, leaves nothing behind, and ends with 0", async (t) => {
  const { server, poll } = await stage(t);
  const mark = `mark-${process.pid}-${Date.now()}`;
  server.enqueue({ id: "work_1" });
  server.happen(bash("sevt_1", `(setsid sh -c 'sleep 300 # ${mark}' &) ; sh -c 'trap "" TERM; sleep 301; : ${mark}'`));
  const worker = poll();
  await server.until(() => processesWith(mark).length >= 2, "the call's processes");
  const began = performance.now();
  worker.child.kill("SIGTERM");
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  const ms = performance.now() - began;
  t.true(ms < 15_000, `${ms} ms`);
  t.is(server.of("stop").length, 1);
  t.deepEqual(server.of("stop")[0]?.body, { force: true });
  t.deepEqual(server.results(), []);
  t.deepEqual(processesWith(mark), []);
  t.deepEqual(leftovers(worker), []);
});

test("A second signal ends the worker at once, and its sandboxes with it", async (t) => {
  const { server, poll } = await stage(t);
  const mark = `mark-${process.pid}-${Date.now()}`;
  server.failAlways("stop", "hang");
  server.enqueue({ id: "work_1" });
  server.happen(bash("sevt_1", `sh -c 'sleep 300 # ${mark}'`));
  const worker = poll();
  await server.until(() => processesWith(mark).length >= 1, "the call's process");
  worker.child.kill("SIGTERM");
  await server.untilCount("stop", 1);
  worker.child.kill("SIGTERM");
  t.deepEqual(await worker.ended, { code: 143, signal: null });
  await server.until(() => processesWith(mark).length === 0, "the end of the call's process");
});

test("A worker that is killed leaves no process of a session", async (t) => {
  const { server, poll } = await stage(t);
  const mark = `mark-${process.pid}-${Date.now()}`;
  server.enqueue({ id: "work_1" });
  server.happen(bash("sevt_1", `(setsid sh -c 'sleep 300 # ${mark}' &) ; sleep 300`));
  const worker = poll();
  await server.until(() => processesWith(mark).length >= 1, "the call's process");
  worker.child.kill("SIGKILL");
  await server.until(() => processesWith(mark).length === 0, "the end of the call's process");
  await server.until(() => leftovers(worker).length === 0, "the reaper's work");
  t.pass();
});

test("A queue that cannot be reached is waited for, in one line of the log, and SIGTERM still ends the worker", async (t) => {
  const { poll } = await stage(t);
  const taken = createServer().listen(0, "127.0.0.1");
  await new Promise<void>((resolve) => taken.once("listening", resolve));
  const address = taken.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  await new Promise<void>((resolve) => taken.close(() => resolve()));
  const worker = poll(["--base-url", `http://127.0.0.1:${port}`]);
  await worker.says(/cannot be polled/);
  worker.child.kill("SIGTERM");
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.is(lines(worker).filter(({ msg }) => String(msg).includes("cannot be polled")).length, 1);
  t.regex(worker.stdout, /ECONNREFUSED/);
});

test("--once serves one item and ends with 0, the next item is not claimed", async (t) => {
  const { server, poll } = await stage(t);
  server.enqueue({ id: "work_1" });
  server.enqueue({ id: "work_2" });
  server.happen(bash("sevt_1", "echo served"), terminated);
  // A session that is over has no calls left to run: its end comes after the result.
  server.history.pop();
  const worker = poll(["--once"]);
  await server.until(() => server.results().length === 1);
  server.happen(terminated);
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.deepEqual(server.results(), [{ id: "sevt_1", text: "served", isError: false }]);
  t.deepEqual(
    server.of("ack").map(({ path }) => path),
    ["/v1/environments/env_test/work/work_1/ack"],
  );
  t.is(server.of("stop").length, 1);
});

test("--drain serves what is queued and ends with 0", async (t) => {
  const { server, poll } = await stage(t);
  for (const id of ["work_1", "work_2", "work_3"]) server.enqueue({ id });
  server.happen(terminated);
  const worker = poll(["--drain"]);
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.is(server.of("stop").length, 3);
  t.is(server.requests.at(-1)?.kind, "poll");
});

test("Every request carries one credential and nothing that the environment adds, below a base URL with a path", async (t) => {
  const { server, poll } = await stage(t, "/queue");
  server.enqueue({ id: "work_1" });
  server.happen(terminated);
  const worker = poll(["--drain", "--base-url", `${server.url}/`], {
    ANTHROPIC_API_KEY: "sk-ant-api03-the-api-key-of-somebody",
    ANTHROPIC_AUTH_TOKEN: "another-token-of-somebody",
    ANTHROPIC_CUSTOM_HEADERS: "X-Api-Key: sk-ant-api03-by-the-back-door\nCookie: session=mine\nX-Mine: 1",
    ANTHROPIC_LOG: "debug",
    ANTHROPIC_PROFILE: "somebody",
    OTEL_TRACES_EXPORTER: "console",
  });
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.true(server.requests.length >= 6);
  for (const { headers, path, kind } of server.requests) {
    t.true(path.startsWith("/queue/v1/"), path);
    const withKey = kind === "poll" || kind === "ack";
    t.is(headers.authorization, `Bearer ${withKey ? environmentKey : sessionsToken}`, kind);
    for (const name of ["x-api-key", "cookie", "x-mine"]) t.is(headers[name], undefined);
    t.is(headers["anthropic-beta"], "managed-agents-2026-04-01");
  }
  t.regex(String(server.of("poll")[0]?.headers["anthropic-worker-id"]), /.+-[0-9a-f-]{36}$/);
  for (const secret of ["sk-ant", "another-token", "back-door"]) t.false(worker.said.includes(secret), secret);
});

test("A redirect is not followed: no credential and no result goes elsewhere", async (t) => {
  const { server, poll } = await stage(t);
  const elsewhere = await FaultyServer.start();
  t.teardown(() => elsewhere.close());
  const away = (kind: string) => ({ status: 307, headers: { location: `${elsewhere.url}/v1/${kind}` } });
  server.fail("poll", away("poll"), away("poll"));
  server.fail("post", away("post"));
  server.enqueue({ id: "work_1" });
  server.happen(bash("sevt_1", "echo served"));
  const worker = poll();
  await server.until(() => server.results().length === 1, "the result", 30_000);
  worker.child.kill("SIGTERM");
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.deepEqual(elsewhere.requests, []);
});

test("The log says each claim, call, refusal and end in one JSON line, and goes on when nobody reads it", async (t) => {
  const { server, poll } = await stage(t);
  server.enqueue({ id: "work_1" });
  server.happen(bash("sevt_1", "echo one"));
  const worker = poll(["--once"]);
  await server.until(() => server.results().length === 1);
  await worker.says(/tool call/);
  const said = lines(worker);
  t.like(
    said.find(({ msg }) => msg === "claimed"),
    { work: "work_1", session: "sesn_test" },
  );
  t.like(
    said.find(({ msg }) => msg === "tool call"),
    { session: "sesn_test", tool: "bash" },
  );
  worker.child.stdout?.destroy();
  server.happen(bash("sevt_2", "echo two"), bash("sevt_3", "echo three"));
  await server.until(() => server.results().length === 3);
  server.happen(terminated);
  t.deepEqual(await worker.ended, { code: 0, signal: null });
});

test("Without a flag the log is for people on a terminal, and JSON elsewhere", async (t) => {
  const { server, workdir, poll } = await stage(t);
  const elsewhere = poll(["--drain"]);
  await elsewhere.ended;
  t.like(lines(elsewhere)[0], { msg: "polling", level: 30 });
  if (!hasTerminal(t)) return;
  server.enqueue({ id: "work_1" });
  server.happen(bash("sevt_1", "echo one"));
  const terminal = new Terminal(t, [holdfast, "worker", "poll", "--workdir", workdir, "--once"], {
    cwd: workdir,
    columns: 200,
    env: {
      PATH: process.env["PATH"],
      HOME: scratch(t),
      TERM: "xterm",
      ANTHROPIC_ENVIRONMENT_KEY: environmentKey,
      ANTHROPIC_ENVIRONMENT_ID: "env_test",
      ANTHROPIC_BASE_URL: server.url,
    },
  });
  await server.until(() => server.results().length === 1);
  server.happen(terminated);
  t.is(await terminal.ended, 0);
  const green = "\u001b[32m·\u001b[39m";
  for (const line of ["claimed  work=work_1", "tool call  session=sesn_test tool=bash", "torn down", "item ended"]) {
    t.true(terminal.shown.includes(`${green} ${line}`), `${line} is not in ${terminal.shown}`);
  }
});

test("On a terminal's behalf, a name from a session cannot steer it", async (t) => {
  const { server, poll } = await stage(t);
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_\u001b[31m1", "no\u001b]0;such\u0007tool\nforged line"), bash("sevt_2", "echo one"));
  const worker = poll(["--log-format", "text"]);
  await server.until(() => server.results().length === 1);
  await worker.says(/not ours/);
  worker.child.kill("SIGTERM");
  await worker.ended;
  // What a terminal acts on.
  t.notRegex(worker.stdout, /[\x07\x1b]/);
  t.notRegex(worker.stdout, /^forged/m);
});

const whereWritten: Readonly<Record<string, { host: string[]; inside: string }>> = {
  overlay: { host: ["seen.txt"], inside: "made.txt\nseen.txt" },
  fresh: { host: ["seen.txt"], inside: "made.txt" },
  direct: { host: ["made.txt", "seen.txt"], inside: "made.txt\nseen.txt" },
};

for (const [mode, { host, inside }] of Object.entries(whereWritten)) {
  test(`--workspace ${mode}, mounted elsewhere: what a session sees and what it leaves`, async (t) => {
    const { server, workdir, poll } = await stage(t);
    writeFileSync(join(workdir, "seen.txt"), "seen\n");
    chmodSync(join(workdir, "seen.txt"), 0o644);
    server.enqueue({ id: "work_1" });
    server.happen(bash("sevt_1", "pwd; echo made > made.txt; ls"));
    const worker = poll(["--once", "--workspace", mode, "--mount-at", "/workspace"]);
    await server.until(() => server.results().length === 1);
    server.happen(terminated);
    t.deepEqual(await worker.ended, { code: 0, signal: null });
    t.is(server.results()[0]?.text, `/workspace\n${inside}`);
    t.deepEqual(readdirSync(workdir).sort(), host);
  });
}

test("--extract takes out what matches, into a folder of the session's, says what it kept back, and the receipt has what left", async (t) => {
  const { server, workdir, poll } = await stage(t);
  const out = join(scratch(t), "out");
  writeFileSync(join(workdir, "old.md"), "not the session's\n");
  server.enqueue({ id: "work_1" });
  server.happen(
    bash(
      "sevt_1",
      "mkdir -p report; echo fine > report/a.md; echo no > report/a.txt; ln -s /etc/passwd report/b.md; mkfifo report/c.md",
    ),
  );
  const [receipts, key] = [join(scratch(t), "receipts"), join(scratch(t), "receipt.key")];
  makeKey(key);
  const attested = ["--receipts", receipts, "--receipt-key", key];
  const worker = poll(["--once", "--extract", "**/*.md", "--to", out, ...attested]);
  await server.until(() => server.results().length === 1);
  server.happen(terminated);
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.deepEqual(readdirSync(out), ["sesn_test"]);
  const [receipt = "", ...others] = readdirSync(receipts);
  t.regex(receipt, /^sesn_test\.hf-[0-9a-f]+\.json$/);
  t.deepEqual(others, []);
  const { predicate } = checkReceipt(readFileSync(join(receipts, receipt), "utf8"), readPublicKey(publicKeyFile(key)));
  t.like(predicate["tools"], { items: [{ tool: "bash", failed: 0, count: 1 }] });
  t.like(predicate["extracted"], [{ path: "report/a.md", bytes: 5 }]);
  t.like(predicate["teardown"], { isGone: true });
  t.deepEqual(readdirSync(join(out, "sesn_test"), { recursive: true }).sort(), ["report", "report/a.md"]);
  t.is(readFileSync(join(out, "sesn_test", "report", "a.md"), "utf8"), "fine\n");
  const said = lines(worker);
  t.like(
    said.find(({ msg }) => msg === "extracted"),
    { path: "report/a.md", bytes: 5 },
  );
  t.deepEqual(
    said
      .filter(({ msg }) => msg === "not extracted")
      .map(({ path }) => path)
      .sort(),
    ["report/b.md", "report/c.md"],
  );
});

test("Files leave when the worker is asked to end as well", async (t) => {
  const { server, poll } = await stage(t);
  const out = join(scratch(t), "out");
  mkdirSync(out);
  server.enqueue({ id: "work_1" });
  server.happen(bash("sevt_1", "echo fine > a.md"));
  const worker = poll(["--extract", "*.md", "--to", out]);
  await server.until(() => server.results().length === 1);
  worker.child.kill("SIGTERM");
  await worker.ended;
  t.deepEqual(readdirSync(join(out, "sesn_test")), ["a.md"]);
});

interface Handled {
  readonly item?: object;
  readonly env?: Readonly<Record<string, string>>;
}

const item = {
  type: "work",
  id: "work_9",
  environment_id: "env_test",
  data: { type: "session", id: "sesn_test" },
  state: "starting",
};

/** `worker handle` serves a claimed item from its first heartbeat to its stop; it neither polls nor acknowledges. */
const handles = test.macro(async (t: ExecutionContext, { item: document, env = {} }: Handled, token: string) => {
  const { server, workdir } = await stage(t);
  server.happen(bash("sevt_1", "echo handled"));
  const worker = WorkerProcess.start(
    t,
    ["handle", "--workdir", workdir, "--base-url", server.url],
    env,
    document === undefined ? "" : JSON.stringify(document),
  );
  await server.until(() => server.results().length === 1, "the result");
  server.happen(terminated);
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.is(server.results()[0]?.text, "handled");
  t.deepEqual([...server.of("poll"), ...server.of("ack")], []);
  t.deepEqual(
    server.of("stop").map(({ path }) => path),
    ["/v1/environments/env_test/work/work_9/stop"],
  );
  for (const { headers } of server.requests) t.is(headers.authorization, `Bearer ${token}`);
});

test(
  "worker handle takes the item from standard input, with its secret and no key",
  handles,
  { item: { ...item, secret: secretOf(sessionsToken) } },
  sessionsToken,
);
test(
  "worker handle takes the item from standard input, and the environment key without a secret",
  handles,
  { item, env: { ANTHROPIC_ENVIRONMENT_KEY: environmentKey } },
  environmentKey,
);
test(
  "worker handle takes the item from the environment",
  handles,
  {
    env: {
      ANTHROPIC_WORK_ID: "work_9",
      ANTHROPIC_ENVIRONMENT_ID: "env_test",
      ANTHROPIC_SESSION_ID: "sesn_test",
      ANTHROPIC_WORK_SECRET: secretOf(sessionsToken),
      ANTHROPIC_ENVIRONMENT_KEY: environmentKey,
    },
  },
  sessionsToken,
);

for (const [what, input, says] of [
  ["no item", "", /ANTHROPIC_WORK_ID is missing/],
  ["something that is no item", "hello", /not a work item/],
  ["an item and no credential", JSON.stringify(item), /a credential is missing/],
] as const) {
  test(`worker handle refuses ${what}`, async (t) => {
    const { server, workdir } = await stage(t);
    const worker = WorkerProcess.start(t, ["handle", "--workdir", workdir, "--base-url", server.url], {}, input);
    t.deepEqual(await worker.ended, { code: 125, signal: null });
    t.regex(worker.stderr, says);
    t.deepEqual(server.requests, []);
  });
}

test("worker handle ends when the item has, although its standard input stays open", async (t) => {
  const { server, workdir } = await stage(t);
  server.happen(terminated);
  const worker = WorkerProcess.start(
    t,
    ["handle", "--workdir", workdir, "--base-url", server.url],
    {
      ANTHROPIC_WORK_ID: "work_9",
      ANTHROPIC_ENVIRONMENT_ID: "env_test",
      ANTHROPIC_SESSION_ID: "sesn_test",
      ANTHROPIC_ENVIRONMENT_KEY: environmentKey,
    },
    null,
  );
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.is(server.of("stop").length, 1);
});

test("worker handle ends with 1 when the session cannot be had, and stops the item", async (t) => {
  const { server, workdir } = await stage(t);
  server.failAlways("session", { status: 404 });
  const worker = WorkerProcess.start(
    t,
    ["handle", "--workdir", workdir, "--base-url", server.url],
    { ANTHROPIC_ENVIRONMENT_KEY: environmentKey },
    JSON.stringify(item),
  );
  t.deepEqual(await worker.ended, { code: 1, signal: null });
  t.is(server.of("stop").length, 1);
});
