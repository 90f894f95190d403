import { execFileSync } from "node:child_process";
import { channel, tracingChannel } from "node:diagnostics_channel";
import { closeSync, constants, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { connect } from "node:net";
import { constants as osConstants } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { Audit, fileSink } from "../../lib/audit/audit.ts";
import { HoldfastError } from "../../lib/errors.ts";
import { native } from "../../lib/native.ts";
import { opCodes } from "../../lib/plan/encode.ts";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import type { Limits } from "../../lib/policy/policy.ts";
import { Channel } from "../../lib/sandbox/channel.ts";
import { eventTypes } from "../../lib/sandbox/events.ts";
import { ExecError } from "../../lib/sandbox/exec-error.ts";
import { launchError } from "../../lib/sandbox/launch-error.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import type { SandboxOptions } from "../../lib/sandbox/types.ts";
import { scratchFolder } from "./session.ts";

async function sandboxOf(
  t: ExecutionContext,
  limits: Partial<Limits> = {},
  options: Partial<SandboxOptions> = {},
): Promise<Sandbox> {
  const policy = { ...defaultPolicy, limits: { ...defaultPolicy.limits, ...limits } };
  const sandbox = await Sandbox.create({ workdir: scratchFolder(t), policy, ...options });
  t.teardown(() => sandbox.dispose());
  return sandbox;
}

test("A result says how the program ended, what it printed and used, and which walls stood", async (t) => {
  const sandbox = await sandboxOf(t);
  const script =
    "python3 -c 'x = bytearray(64 << 20); import time; t = time.process_time()\nwhile time.process_time() < t + 0.2: pass'; echo out; echo err >&2; exit 3";
  const result = await sandbox.exec("sh", ["-c", script]);
  t.deepEqual(
    [result.stdout.toString(), result.stderr.toString(), result.exitCode, result.signal],
    ["out\n", "err\n", 3, null],
  );
  t.deepEqual(
    [result.timedOut, result.isCanceled, result.isTerminated, result.truncated, result.limit, result.cause],
    [false, false, false, false, null, undefined],
  );
  const { userMs, systemMs, maxRssBytes } = result.usage;
  t.true(userMs + systemMs >= 200 && userMs + systemMs < 60_000, `${userMs} + ${systemMs}`);
  t.true(maxRssBytes > 64 << 20 && maxRssBytes < 256 << 20, String(maxRssBytes));
  t.true(result.durationMs >= 200);
  t.true(result.enforcement.some(({ wall, status }) => wall === "seccomp" && status === "enforced"));
  const killed = await sandbox.exec("sh", ["-c", "kill -KILL $$"]);
  t.deepEqual([killed.exitCode, killed.signal, killed.isTerminated], [null, "SIGKILL", true]);
});

test("What was refused is in the result of the call, once", async (t) => {
  const sandbox = await sandboxOf(t);
  const { denials } = await sandbox.exec("unshare", ["-U", "true"]);
  t.like(denials, [{ kind: "syscall", subject: "unshare", count: 1 }]);
  t.deepEqual((await sandbox.exec("true")).denials, []);
});

test("Bytes go in and out as they are", async (t) => {
  const sandbox = await sandboxOf(t);
  const input = Buffer.alloc(3_000_000, "\u0000\u0001ä\r\n");
  t.deepEqual((await sandbox.exec("cat", [], { input })).stdout, input);
  t.is((await sandbox.exec("cat", [], { input: "" })).stdout.length, 0);
  t.is((await sandbox.exec("true", [], { input })).exitCode, 0, "a program that reads nothing");
  const merged = await sandbox.exec("sh", ["-c", "echo 1; echo 2 >&2; echo 3"], { mergeStderr: true });
  t.deepEqual([merged.stdout.toString(), merged.stderr.length], ["1\n2\n3\n", 0]);
  const ignored = await sandbox.exec("sh", ["-c", "echo 1; echo 2 >&2"], { stdio: ["ignore", "ignore", "pipe"] });
  t.deepEqual([ignored.stdout.length, ignored.stderr.toString()], [0, "2\n"]);
});

test("An abort, with its reason, and a timeout are told apart, and the call's whole tree is gone", async (t) => {
  const sandbox = await sandboxOf(t);
  const tree = ["-c", "trap '' TERM; sleep 60 & setsid sleep 60 & wait"];
  const options = { forceKillAfterMs: 50 };
  const early = await sandbox.exec("bash", tree, { ...options, signal: AbortSignal.abort("too early") });
  t.deepEqual([early.isCanceled, early.timedOut, early.cause, early.isTerminated], [true, false, "too early", true]);
  const reason = new Error("the user went away");
  const abort = new AbortController();
  const canceled = sandbox.exec("bash", tree, { ...options, signal: abort.signal });
  abort.abort(reason);
  t.is((await canceled).cause, reason);
  const late = await sandbox.exec("bash", tree, { ...options, timeout: 100 });
  t.deepEqual([late.isCanceled, late.timedOut, late.cause, late.signal], [false, true, undefined, "SIGKILL"]);
  t.is((await sandbox.exec("pgrep", ["sleep"])).stdout.toString(), "");
  t.is(
    (await sandbox.exec("true", [], { timeout: 0, timeoutMs: 0 })).timedOut,
    false,
    "0 is none, as in child_process",
  );
});

test("The policy's wall-time is named as the limit, whatever longer time a caller asks for", async (t) => {
  const sandbox = await sandboxOf(t, { wallTimeMs: 200 });
  for (const options of [{}, { timeoutMs: 60_000 }]) {
    const { limit, timedOut } = await sandbox.exec("sleep", ["60"], options);
    t.deepEqual([limit, timedOut], ["wall-time", true]);
  }
  const { limit, timedOut } = await sandbox.exec("sleep", ["60"], { timeoutMs: 50 });
  t.deepEqual([limit, timedOut], [null, true]);
});

test("With reject a failure is an error that has the result", async (t) => {
  const sandbox = await sandboxOf(t, { outputBytes: 100 });
  t.is((await sandbox.exec("true", [], { reject: true })).exitCode, 0);
  for (const [args, options, message, exitCode] of [
    [["-c", "echo why >&2; exit 7"], {}, "sh ended with status 7", 7],
    [["-c", "kill -TERM $$"], {}, "sh was ended by SIGTERM", 143],
    [["-c", "exec sleep 60"], { timeoutMs: 50 }, "sh took longer than its timeout", 143],
    [["-c", "exec sleep 60"], { signal: AbortSignal.abort("why") }, "sh was canceled", 143],
    [["-c", "yes"], {}, "sh reached the limit output", 137],
  ] as const) {
    const error = await t.throwsAsync(sandbox.exec("sh", args, { ...options, reject: true }), {
      instanceOf: ExecError,
    });
    t.like(error, { message, exitCode, code: "ERR_HOLDFAST_COMMAND_FAILED" });
    if (exitCode === 7) t.is(error.result.stderr.toString(), "why\n");
    if (message.endsWith("canceled")) t.is(error.cause, "why");
  }
});

test("Many calls at once in one sandbox keep apart, and one that fails fails alone", async (t) => {
  const sandbox = await sandboxOf(t);
  const results = await Promise.all(
    Array.from({ length: 24 }, (_, i) => sandbox.exec("sh", ["-c", `echo ${i}; exit ${i}`])),
  );
  t.deepEqual(
    results.map(({ stdout, exitCode }) => [stdout.toString(), exitCode]),
    results.map((_, i) => [`${i}\n`, i]),
  );
});

test("Hundreds of calls that are asked for at once all end, and nobody waits for the init", async (t) => {
  const sandbox = await sandboxOf(t);
  // More than both directions of the line hold: the init stops to read when nobody reads what it reports.
  const results = await Promise.all(Array.from({ length: 400 }, () => sandbox.exec("/bin/true")));
  t.true(results.every(({ exitCode }) => exitCode === 0));
});

test("An end that is waited for, however long it takes, holds up no other sandbox", async (t) => {
  let pidfd = -1;
  const first = await Sandbox.create({ workdir: scratchFolder(t) }, { onLaunched: (init) => (pidfd = init.pidfd) });
  const gone = native().waitExit(pidfd);
  const second = await sandboxOf(t);
  t.is((await second.exec("/bin/true")).exitCode, 0);
  await second.dispose();
  await first.dispose();
  await gone;
});

test("An init whose answer is there when its time is up was in time: it was this process that was late", async (t) => {
  const fifo = join(scratchFolder(t), "events");
  execFileSync("mkfifo", [fifo]);
  const events = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const theirs = openSync(fifo, constants.O_WRONLY);
  t.teardown(() => closeSync(theirs));
  const launched = { pid: 0, pidfd: -1, control: openSync("/dev/null", "r"), events };
  const channel = new Channel(launched);
  t.teardown(() => channel.close());
  const ready = channel.whenReady(1, () => "stands");
  const record = Buffer.alloc(40);
  record.writeUInt32LE(eventTypes.indexOf("ready"));
  writeSync(theirs, record);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  t.is(await ready, "stands");
  const late: unknown = await channel.whenReady(1, () => "nothing").catch((why: unknown) => why);
  t.is(late, undefined);
});

test("Of a user who has no kernel keyring left for a sandbox it is said what to do", (t) => {
  const cause = { step: "setup", syscall: "keyctl", path: "", errno: osConstants.errno.EDQUOT, wall: opCodes.keyring };
  const error = launchError(Object.assign(new Error("keyctl"), cause));
  t.true(HoldfastError.is(error) && error.exitCode === 125 && error.hint.includes("kernel.keys.maxkeys"));
});

test("A variable is added, replaced or, undefined, taken away; PATH finds the program", async (t) => {
  const sandbox = await sandboxOf(t);
  const env = { ADDED: "a=b\nc", LOGNAME: "other", USER: undefined, PATH: "/bin" };
  const { stdout } = await sandbox.exec("env", ["-0"], { env });
  const variables = new Map(
    stdout
      .toString()
      .split("\0")
      .map((line) => [line.split("=")[0], line.slice(line.indexOf("=") + 1)]),
  );
  t.deepEqual([variables.get("ADDED"), variables.get("LOGNAME"), variables.get("PATH")], ["a=b\nc", "other", "/bin"]);
  t.false(variables.has("USER"));
});

const bad: readonly (readonly [string, unknown, RegExp, RegExp])[] = [
  ["a variable with a NUL byte", { env: { A: "x\0LD_PRELOAD=y" } }, /variable "A" cannot be passed/, /NUL/],
  ["a variable whose name has an =", { env: { "A=B": "x" } }, /variable "A=B"/, /no =/],
  ["a misspelt option", { timeoutMS: 5 }, /no option "timeoutMS"/, /^Did you mean "timeoutMs"\?$/],
  ["an option of another library", { shell: true }, /no option "shell"/, /./],
  ["a timeout that is no number", { timeoutMs: "5s" }, /timeoutMs is "5s"/, /milliseconds/],
  ["a timeout that timers cannot hold", { timeoutMs: 2 ** 31 }, /timeoutMs is 2147483648/, /2147483647/],
  ["a timeout that is NaN", { timeout: Number.NaN }, /timeout is NaN/, /./],
  ["a signal that there is not", { killSignal: "SIGNO" }, /killSignal is "SIGNO"/, /./],
  ["a descriptor in stdio", { stdio: [0, 1, 2] }, /stdio is an object/, /never handed in/],
  ["a layer that there is not", { layer: "readonly" }, /layer is "readonly"/, /read-only/],
  ["a relative folder", { cwd: "src" }, /cwd is "src"/, /absolute/],
];

for (const [what, options, message, hint] of bad) {
  test(`Refused before anything starts: ${what}`, async (t) => {
    const sandbox = await sandboxOf(t);
    const error = await t.throwsAsync(sandbox.exec("touch", ["made"], options as object));
    t.true(HoldfastError.is(error));
    t.regex(error.message, message);
    t.like(error, { code: "ERR_HOLDFAST_OPTION" });
    t.regex((error as HoldfastError).hint, hint);
    t.is((await sandbox.exec("ls")).stdout.toString(), "");
  });
}

test("A program or argument that is no text is refused, one with a NUL byte too", async (t) => {
  const sandbox = await sandboxOf(t);
  for (const [file, args] of [[undefined], ["ls", "-l"], ["ls", [1]], ["l\0s"], ["ls", ["a\0b"]]] as unknown[][]) {
    const attempt = sandbox.exec(file as string, args as string[]);
    await t.throwsAsync(attempt, { code: "ERR_HOLDFAST_OPTION" });
  }
});

for (const [what, options, message] of [
  ["no workdir", { workdir: undefined }, /needs a workdir/],
  ["a misspelt option", { polcy: {} }, /no option "polcy"/],
  ["a workspace that there is not", { workspace: "overlayed" }, /workspace is "overlayed"/],
  ["a name that leads elsewhere", { name: "../../elsewhere" }, /name is/],
  ["a relative place", { mountAt: "inside" }, /mountAt is "inside"/],
  ["a policy that is none", { policy: {} }, /policy is an object/],
] as const) {
  test(`No sandbox is made with ${what}`, async (t) => {
    const attempt = Sandbox.create({ workdir: scratchFolder(t), ...(options as object) });
    await t.throwsAsync(attempt, { code: "ERR_HOLDFAST_OPTION", message });
  });
}

test("The audit has a line for what begins, ends and is refused, in order", async (t) => {
  const file = join(scratchFolder(t), "audit.jsonl");
  const audit = new Audit(fileSink(file));
  const sandbox = await sandboxOf(t, {}, { audit, name: "audited" });
  await sandbox.exec("unshare", ["-U", "true"]);
  await t.throwsAsync(sandbox.exec("no-such-program"));
  await sandbox.dispose();
  audit.close();
  t.is(statSync(file).mode & 0o777, 0o600);
  const lines = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  t.like(lines, [
    { sequence: 1, type: "sandbox.created", sandbox: "audited" },
    { sequence: 2, type: "call.started", file: "unshare" },
    { sequence: 3, type: "call.ended", file: "unshare", exitCode: 1, signal: null, limit: null },
    { sequence: 4, type: "denied", subject: "unshare" },
    { sequence: 5, type: "call.started", file: "no-such-program" },
    { sequence: 6, type: "call.ended", file: "no-such-program", exitCode: null, error: "ERR_HOLDFAST_EXEC" },
    { sequence: 7, type: "sandbox.ended" },
  ]);
});

test("Launches and refusals can be subscribed to", async (t) => {
  const seen: unknown[] = [];
  const onDenial = (message: unknown): void => void seen.push(message);
  const launches = tracingChannel<string, { name: string; result?: Sandbox }>("holdfast:launch");
  const onLaunch = {
    asyncStart: (message: { name: string; result?: Sandbox }) => void seen.push(message.name, message.result?.name),
  };
  channel("holdfast:denial").subscribe(onDenial);
  launches.subscribe(onLaunch as Parameters<typeof launches.subscribe>[0]);
  t.teardown(() => channel("holdfast:denial").unsubscribe(onDenial));
  t.teardown(() => launches.unsubscribe(onLaunch as Parameters<typeof launches.subscribe>[0]));
  const sandbox = await sandboxOf(t, {}, { name: "traced" });
  await sandbox.exec("unshare", ["-U", "true"]);
  const mine = seen.filter((one) => one === "traced" || (one as { sandbox?: string }).sandbox === "traced");
  t.like(mine, ["traced", "traced", { sandbox: "traced", kind: "syscall", subject: "unshare", count: 1 }]);
});

test("The control socket is its user's alone, and answers in lines", async (t) => {
  const sandbox = await sandboxOf(t, {}, { name: "controlled" });
  t.is(statSync(sandbox.controlSocket).mode & 0o777, 0o600);
  const ask = (line: string): Promise<Record<string, unknown>> =>
    new Promise((resolve, reject) => {
      const socket = connect(sandbox.controlSocket);
      socket.once("error", reject);
      socket.once("data", (data) => {
        socket.destroy();
        resolve(JSON.parse(data.toString()));
      });
      socket.once("end", () => reject(new Error("no answer")));
      socket.end(`${line}\n`);
    });
  t.like(await ask('{"op":"info"}'), { ok: true, name: "controlled", pid: process.pid, workdir: sandbox.workdir });
  for (const line of ["no json", "{}", '{"op":"constructor"}', "null", "[]"]) t.like(await ask(line), { ok: false });
  t.like(await ask('{"op":"end"}'), { ok: true });
  await t.throwsAsync(sandbox.exec("true"), { code: "ERR_HOLDFAST_SANDBOX_GONE" });
});

test("A running policy keeps its static parts, and a policy that is the same is taken", async (t) => {
  const sandbox = await sandboxOf(t);
  sandbox.applyPolicy({ ...sandbox.policy, source: "another file" });
  for (const policy of [
    { ...defaultPolicy, limits: { ...defaultPolicy.limits, processes: 7 } },
    { ...defaultPolicy, filesystem: { ...defaultPolicy.filesystem, readOnly: [] } },
  ]) {
    t.throws(() => sandbox.applyPolicy(policy), { code: "ERR_HOLDFAST_POLICY_STATIC" });
  }
});
