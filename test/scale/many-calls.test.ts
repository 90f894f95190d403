// Ten thousand tool calls in one session: descriptors, processes and memory stay what they were.
import { chmodSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import test from "ava";
import { native } from "../../lib/native.ts";
import { takeHanded } from "../../lib/sandbox/handed-folders.ts";
import type { LiveInit } from "../../lib/sandbox/launch.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { createToolset } from "../../lib/tools/toolset.ts";

const calls = 10_000;
/** What comes before the first count: code is compiled, buffers and tables have their size. */
const warmUp = 2_000;
const megabyte = 1024 * 1024;

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  if (typeof collect === "function") collect();
}

/** A field of /proc/PID/status, in its own unit. */
function status(pid: number, field: string): number {
  const line = new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1]);
}

/** What this process has open, but for numbers that differ from one of a kind to the next. */
function descriptors(): readonly string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).replace(/\d+/g, "N");
    } catch {
      return []; // that of the folder itself
    }
  });
}

/** One that is given up meanwhile hides none that is left: each is looked for among those that there were. */
function moreThan(counted: readonly string[], now: readonly string[]): readonly string[] {
  const before = [...counted];
  return now.filter((each) => {
    const at = before.indexOf(each);
    if (at >= 0) before.splice(at, 1);
    return at < 0;
  });
}

interface Count {
  readonly descriptors: readonly string[];
  readonly timers: number;
  /** Processes inside, those that the count itself needs included. */
  readonly inside: number;
  readonly initKilobytes: number;
  readonly initDescriptorTable: number;
  readonly heapBytes: number;
  readonly residentBytes: number;
}

async function countAll(sandbox: Sandbox, init: number): Promise<Count> {
  const { stdout } = await sandbox.exec("/bin/ls", ["/proc"]);
  collectGarbage();
  const { heapUsed, rss } = process.memoryUsage();
  return {
    descriptors: descriptors(),
    timers: process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length,
    inside: stdout.toString().match(/^\d+$/gm)?.length ?? 0,
    initKilobytes: status(init, "VmRSS"),
    initDescriptorTable: status(init, "FDSize"),
    heapBytes: heapUsed,
    residentBytes: rss,
  };
}

test("10,000 tool calls in one session leave no descriptor, process or memory behind", async (t) => {
  t.timeout(400_000);
  const workdir = mkdtempSync(join(tmpdir(), "holdfast-calls-"));
  chmodSync(workdir, 0o777);
  t.teardown(() => rmSync(workdir, { recursive: true, force: true }));
  let live: LiveInit | undefined;
  const sandbox = await Sandbox.create({ workdir, tools: true }, { onLaunched: (init) => (live = init) });
  t.teardown(() => sandbox.dispose());
  const init = live?.pid ?? 0;
  // What is kept for a next sandbox is given up some time during the calls, and would hide a leak of one.
  const shared = sandbox.plan.mounts.find((step) => step.op === "shared");
  const handed = shared === undefined ? null : takeHanded(shared.key);
  if (handed !== null) native().close(handed.fd);
  const tools = createToolset(sandbox);
  t.teardown(() => tools.close());
  const { signal } = new AbortController();
  const ask = async (name: string, input: object, answer: RegExp): Promise<void> => {
    const { text, isError } = await tools.run(name, input, signal);
    if (isError || !answer.test(text)) throw new Error(`${name} ${JSON.stringify(input)}: ${text}`);
  };

  // What a session is made of: mostly commands and files, now and then a search, a command with output, one that fails.
  const kinds: ((n: number) => Promise<void>)[] = [
    (n) => ask("bash", { command: `echo call-${n}` }, new RegExp(`call-${n}`)),
    (n) => ask("write", { file_path: join(workdir, `file-${n % 50}`), content: `line ${n}\n` }, /./),
    (n) => ask("read", { file_path: join(workdir, `file-${(n - 1) % 50}`) }, /line \d+/),
    (n) =>
      ask("edit", { file_path: join(workdir, `file-${(n - 2) % 50}`), old_string: "line", new_string: "row" }, /./),
    async (n) => {
      const { stdout, exitCode } = await sandbox.exec("/bin/echo", [String(n)]);
      if (exitCode !== 0 || stdout.toString() !== `${n}\n`) throw new Error(`echo ${n}: ${stdout}`);
    },
  ];
  let counted: Count | undefined;
  for (let n = 0; n < calls; n++) {
    if (n === warmUp) counted = await countAll(sandbox, init);
    if (n % 500 === 499) await ask("grep", { pattern: "row|line", path: workdir }, /file-/);
    else if (n % 500 === 249) await ask("glob", { pattern: "file-*" }, /file-/);
    else await kinds[n % kinds.length]?.(n);
  }
  const after = await countAll(sandbox, init);
  if (counted === undefined) throw new Error("the warm-up was not counted");

  let left = moreThan(counted.descriptors, after.descriptors);
  // The last call's streams are closed in one of the loop's next turns.
  for (let turn = 0; left.length > 0 && turn < 20; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    left = moreThan(counted.descriptors, descriptors());
  }
  t.deepEqual(left, [], "descriptors");
  t.true(after.timers <= counted.timers, "timers");
  t.is(after.inside, counted.inside, "processes inside");
  t.is(after.initDescriptorTable, counted.initDescriptorTable, "the init's descriptors");
  // A leak of 64 bytes a call would be half a megabyte; the collector and the allocator move less than these.
  t.true(
    after.initKilobytes - counted.initKilobytes <= 128,
    `the init grew from ${counted.initKilobytes} to ${after.initKilobytes} KiB`,
  );
  const heap = (after.heapBytes - counted.heapBytes) / megabyte;
  t.true(heap < 2, `the heap grew by ${heap.toFixed(2)} MB`);
  const resident = (after.residentBytes - counted.residentBytes) / megabyte;
  t.true(resident < 48, `the process grew by ${resident.toFixed(1)} MB`);
  t.log(
    `heap ${heap.toFixed(2)} MB, resident ${resident.toFixed(1)} MB, init ${after.initKilobytes - counted.initKilobytes} KiB`,
  );
});
