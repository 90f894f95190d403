import * as childProcess from "node:child_process";
import type { EventEmitter } from "node:events";
import { once } from "node:events";
import { realpathSync } from "node:fs";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import test, { type ExecutionContext } from "ava";
import { HoldfastError } from "../../lib/errors.ts";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import type { Limits } from "../../lib/policy/policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import type { SpawnOptions } from "../../lib/sandbox/types.ts";
import { runInside, scratchFolder } from "./session.ts";

async function sandboxOf(t: ExecutionContext, limits: Partial<Limits> = {}): Promise<Sandbox> {
  const policy = { ...defaultPolicy, limits: { ...defaultPolicy.limits, ...limits } };
  const sandbox = await Sandbox.create({ workdir: scratchFolder(t), policy });
  t.teardown(() => sandbox.dispose());
  return sandbox;
}

/** What a ChildProcess and ours have in common. */
interface Child extends EventEmitter {
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  readonly stdio: readonly unknown[];
  readonly killed: boolean;
  readonly connected: boolean;
  readonly exitCode: number | null;
  readonly signalCode: NodeJS.Signals | null;
  readonly spawnfile: string;
  readonly spawnargs: readonly string[];
  kill(signal?: NodeJS.Signals | number): boolean;
}

type Spawn = (file: string, args: readonly string[], options?: SpawnOptions) => Child;

/** Runs the same with both: what Node's own says of itself is what ours has to say. */
async function both(t: ExecutionContext, tell: (spawn: Spawn) => Promise<unknown>, limits?: Partial<Limits>) {
  const sandbox = await sandboxOf(t, limits);
  const nodes = await tell((file, args, options) =>
    childProcess.spawn(file, [...args], options as childProcess.SpawnOptions),
  );
  t.deepEqual(await tell((file, args, options) => sandbox.spawn(file, args, options)), nodes);
}

/** The events that a child has until nothing more can come. */
async function eventsOf(child: Child): Promise<unknown[]> {
  const seen: unknown[] = [];
  for (const name of ["spawn", "exit", "close"]) child.on(name, (...values) => seen.push([name, ...values]));
  child.on("error", (error: Error & { code?: string }) => {
    seen.push(["error", error.name, error.code, error.message, error.cause]);
  });
  await once(child, "close").catch(() => once(child, "close"));
  return seen;
}

function drained(child: Child): Child {
  child.stdout?.resume();
  child.stderr?.resume();
  return child;
}

for (const [what, args] of [
  ["ends with 0", ["-c", "echo out; echo err >&2"]],
  ["ends with a status", ["-c", "exit 3"]],
  ["is ended by a signal", ["-c", "kill -TERM $$"]],
] as const) {
  test(`A program that ${what} has the events of a ChildProcess, in their order`, (t) =>
    both(t, (spawn) => eventsOf(drained(spawn("sh", args)))));
}

test("Streams that nobody reads do not keep close from coming", (t) =>
  both(t, (spawn) => {
    const child = spawn("sh", ["-c", "echo out; echo err >&2"]);
    t.truthy(child.stdout && child.stderr && child.stdin);
    return eventsOf(child);
  }));

test("A stream taken when the program has ended still has what it printed", async (t) => {
  const sandbox = await sandboxOf(t);
  const child = sandbox.spawn("sh", ["-c", "echo late"]);
  await once(child, "exit");
  const [chunk] = await once(child.stdout ?? child, "data");
  t.is(String(chunk), "late\n");
});

test("kill takes names and numbers, says whether somebody heard, and refuses what is no signal", (t) =>
  both(t, async (spawn) => {
    const told: unknown[] = [];
    for (const signal of [undefined, "SIGKILL", 9, "SIGUSR1", 15] as const) {
      const child = drained(spawn("sleep", ["60"]));
      await once(child, "spawn");
      told.push(child.killed, child.kill(0), child.kill(signal), child.killed, await once(child, "exit"));
      told.push(child.kill(), child.exitCode, child.signalCode);
    }
    const child = drained(spawn("sleep", ["60"]));
    for (const signal of ["SIGNO", "", 1000] as const) {
      told.push((t.throws(() => child.kill(signal as NodeJS.Signals)) as NodeJS.ErrnoException).code);
    }
    child.kill("SIGKILL");
    await once(child, "exit");
    return told;
  }));

test("An aborted signal ends the program: AbortError with the reason as its cause, then exit and close", (t) =>
  both(t, async (spawn) => {
    const told: unknown[] = [];
    for (const isEarly of [true, false]) {
      const abort = new AbortController();
      if (isEarly) abort.abort("the reason");
      const child = drained(spawn("sleep", ["60"], { signal: abort.signal, killSignal: "SIGINT" }));
      const events = eventsOf(child);
      await once(child, "spawn").catch(() => {});
      abort.abort("the reason");
      told.push((await events).filter((event) => isEarly === false || (event as string[])[0] !== "spawn"));
      abort.abort();
    }
    return told;
  }));

test("A signal that is aborted after the end does nothing", async (t) => {
  const sandbox = await sandboxOf(t);
  const abort = new AbortController();
  const child = sandbox.spawn("true", [], { signal: abort.signal });
  const events = eventsOf(child);
  await once(child, "close");
  abort.abort();
  t.deepEqual((await events).map((event) => (event as string[])[0]).slice(-2), ["exit", "close"]);
  t.false(child.isCanceled);
});

test("What is called after a ChildProcess's properties is what they are", (t) =>
  both(t, async (spawn) => {
    const child = spawn("sh", ["-c", "cat"], { stdio: ["pipe", "ignore", "pipe"] });
    const about = [child.spawnfile, [...child.spawnargs], child.connected, child.exitCode, child.signalCode];
    const streams = child.stdio.map((stream) => stream !== null);
    child.stdin?.end();
    child.stderr?.resume();
    await once(child, "close");
    return [about, streams, child.stdout, child.exitCode];
  }));

for (const stdio of ["ignore", ["pipe", "pipe", "ignore"], [null, undefined, "pipe"], ["ignore"]] as const) {
  test(`The streams are as stdio says: ${JSON.stringify(stdio)}`, (t) =>
    both(t, async (spawn) => {
      const child = spawn("sh", ["-c", "cat; echo out; echo err >&2"], { stdio });
      child.stdin?.end("in\n");
      const heard = ["", ""];
      child.stdout?.on("data", (chunk) => (heard[0] += String(chunk)));
      child.stderr?.on("data", (chunk) => (heard[1] += String(chunk)));
      await once(child, "close");
      return heard;
    }));
}

test("Inherited streams are this process's own, byte by byte, and none of its descriptors is inside", async (t) => {
  const script = `
    import { Sandbox } from ${JSON.stringify(join(import.meta.dirname, "../../lib/sandbox/sandbox.ts"))};
    const sandbox = await Sandbox.create({ workdir: process.argv[1] });
    const child = sandbox.spawn("sh", ["-c", "readlink /proc/self/fd/0 /proc/self/fd/1; cat; echo err >&2; exit 5"], { stdio: "inherit" });
    child.on("close", async (code) => {
      const result = await sandbox.exec("echo", ["from exec"], { stdio: "inherit" });
      await sandbox.dispose();
      console.log(child.stdin, child.stdout, child.stderr, code, result.stdout.length);
    });`;
  const outer = childProcess.spawnSync(
    process.execPath,
    ["--input-type=module", "-e", script, "--", realpathSync(scratchFolder(t))],
    { input: "input\n", encoding: "utf8" },
  );
  t.regex(outer.stdout, /^pipe:\[\d+\]\npipe:\[\d+\]\ninput\nfrom exec\nnull null null 5 0\n$/, outer.stderr);
  t.is(outer.stderr, "err\n");
});

test("A program that was not found is an error instead of spawn, and close follows", async (t) => {
  const sandbox = await sandboxOf(t);
  const events = await eventsOf(sandbox.spawn("no-such-program"));
  t.deepEqual(
    events.map((event) => (event as string[]).slice(0, 3)),
    [
      ["error", "HoldfastError", "ERR_HOLDFAST_EXEC"],
      ["close", null, null],
    ],
  );
});

test("An unreferenced program does not keep the process alive; disposing of one ends it", async (t) => {
  const script = `
    import { Sandbox } from ${JSON.stringify(join(import.meta.dirname, "../../lib/sandbox/sandbox.ts"))};
    const sandbox = await Sandbox.create({ workdir: process.argv[1] });
    const child = sandbox.spawn("sleep", ["60"], { stdio: "ignore" });
    child.once("spawn", () => { child.unref(); console.log("spawned"); });`;
  const args = ["--input-type=module", "-e", script, "--", realpathSync(scratchFolder(t))];
  const outer = childProcess.spawnSync(process.execPath, args, { encoding: "utf8", timeout: 30_000 });
  t.deepEqual([outer.stdout, outer.status], ["spawned\n", 0], outer.stderr);
  const sandbox = await sandboxOf(t);
  const child = sandbox.spawn("sleep", ["60"], { stdio: "ignore" });
  {
    using _ended = child;
  }
  t.deepEqual(await once(child, "exit"), [null, "SIGTERM"]);
});

test("A timeout ends a program that ignores SIGTERM, with all that it started, and leaves its neighbours", async (t) => {
  const sandbox = await sandboxOf(t);
  const neighbour = sandbox.spawn("sleep", ["61"], { stdio: "ignore" });
  await once(neighbour, "spawn");
  const script = "trap '' TERM; setsid sleep 62 & sleep 62 & while :; do wait; done";
  for (const name of ["timeoutMs", "timeout"] as const) {
    const child = sandbox.spawn("bash", ["-c", script], { [name]: 200, forceKillAfterMs: 100, stdio: "ignore" });
    t.deepEqual(await once(child, "exit"), [null, "SIGKILL"]);
    t.true(child.timedOut);
    t.is(child.limit, null);
  }
  t.is((await runInside(sandbox, "pgrep -c sleep")).trim(), "1");
  t.is(neighbour.exitCode, null);
});

test("The policy's wall-time and output hold for a program that is spawned, but not for a session of many calls", async (t) => {
  const sandbox = await sandboxOf(t, { wallTimeMs: 300, outputBytes: 1000 });
  const slow = sandbox.spawn("sleep", ["60"], { stdio: "ignore", timeoutMs: 60_000 });
  await once(slow, "exit");
  t.deepEqual([slow.limit, slow.timedOut], ["wall-time", true]);
  const loud = sandbox.spawn("sh", ["-c", "yes & yes >&2"], { stdin: "ignore" });
  let size = 0;
  for (const stream of [loud.stdout, loud.stderr]) stream?.on("data", (chunk: Buffer) => (size += chunk.length));
  await once(loud, "close");
  t.deepEqual([loud.limit, size], ["output", 1000]);
  const session = sandbox.spawn("sh", ["-c", "sleep 0.6; head -c 2000 /dev/zero"], { isSession: true });
  const chunks: Buffer[] = [];
  session.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(session, "close");
  t.deepEqual([session.limit, session.exitCode, Buffer.concat(chunks).length], [null, 0, 2000]);
});

test("After the end of the sandbox nothing can be spawned, and what ran was killed", async (t) => {
  const sandbox = await sandboxOf(t);
  const child = sandbox.spawn("sleep", ["60"], { stdio: "ignore" });
  const exit = once(child, "exit");
  await once(child, "spawn");
  await sandbox.dispose();
  t.deepEqual(await exit, [null, "SIGKILL"]);
  t.false(child.kill());
  const error = t.throws(() => sandbox.spawn("true"));
  t.true(HoldfastError.is(error) && error.code === "ERR_HOLDFAST_SANDBOX_GONE" && error.hint !== "");
});
