// Limits that a cgroup holds, on a host that delegates one: as root with v1, or below a delegated unit of systemd's.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, watch } from "node:fs";
import { dirname, join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { HoldfastError } from "../../lib/errors.ts";
import { probeCgroups } from "../../lib/host/cgroups.ts";
import { memoryRoom } from "../../lib/plan/limits.ts";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import type { Limits, Policy } from "../../lib/policy/policy.ts";
import { counter, heldByCgroup, SandboxCgroup } from "../../lib/sandbox/cgroup.ts";
import { removeCgroups } from "../../lib/sandbox/cgroup-removal.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import type { SandboxOptions } from "../../lib/sandbox/types.ts";
import { scratchFolder } from "./session.ts";

const { memory, processes } = probeCgroups();
const whole = memory.delegated && processes.delegated;
const refusal = memory.delegated ? "" : memory.reason;

/** Tests that need a cgroup; skipped by name where none is delegated. */
const held = whole ? test.serial : (title: string) => test.skip(`${title} (no cgroup is delegated here)`, () => {});

const mebibyte = 1024 * 1024;
const limits: Limits = { ...defaultPolicy.limits, memoryBytes: 64 * mebibyte, processes: 64 };
/** tail(1) keeps what has no newline: 400 MiB of memory in a child of the shell's. */
const hog = "head -c 400M /dev/zero | tail > /dev/null";
/** The same, two MiB at a time. */
const creeping = "(for i in $(seq 200); do head -c 2M /dev/zero; sleep 0.02; done) | tail > /dev/null";

async function limited(
  t: ExecutionContext,
  options: Partial<SandboxOptions> & { policy?: Partial<Policy> } = {},
): Promise<Sandbox> {
  const policy = { ...defaultPolicy, limits, ...options.policy };
  const sandbox = await Sandbox.create({ workdir: scratchFolder(t), ...options, policy });
  t.teardown(() => sandbox.dispose());
  return sandbox;
}

/** The cgroups of sandboxes whose names hold this word. */
function cgroupsOf(name: string): string[] {
  const parents = [memory, processes].flatMap((found) => (found.delegated ? [found.parent] : []));
  return [...new Set(parents)].flatMap((parent) =>
    readdirSync(parent)
      .filter((entry) => entry.startsWith(`holdfast-${name}@`))
      .map((entry) => join(parent, entry)),
  );
}

function limitOf(folder: string, ...files: readonly string[]): number | undefined {
  const file = files.map((name) => join(folder, name)).find((path) => existsSync(path));
  return file === undefined ? undefined : counter(file);
}

held("The init is in cgroups that have the policy's limits, and they are gone when the sandbox is", async (t) => {
  const sandbox = await limited(t, { name: "cgroup-limits" });
  const folders = cgroupsOf("cgroup-limits");
  t.is(folders.length, memory.delegated && memory.version === 2 ? 1 : 2);
  const { init } = sandbox.description as { init: number };
  for (const folder of folders) {
    t.deepEqual(readFileSync(join(folder, "cgroup.procs"), "utf8").trim().split("\n"), [String(init)]);
  }
  const found = (...files: string[]): number | undefined =>
    folders.map((folder) => limitOf(folder, ...files)).find((limit) => limit !== undefined);
  t.is(found("memory.max", "memory.limit_in_bytes"), 64 * mebibyte + memoryRoom);
  t.is(found("pids.max"), 80);
  const walls = sandbox.enforcement.filter(({ wall }) => wall === "cgroup-memory" || wall === "cgroup-processes");
  t.deepEqual(walls, [
    { wall: "cgroup-memory", status: "enforced" },
    { wall: "cgroup-processes", status: "enforced" },
  ]);
  await sandbox.dispose();
  t.deepEqual(cgroupsOf("cgroup-limits"), []);
});

held("A call that takes more memory than the limit ends by its name, and the next one runs", async (t) => {
  const sandbox = await limited(t);
  const { limit, signal } = await sandbox.exec("tail", ["/dev/zero"]);
  t.deepEqual([limit, signal], ["memory", "SIGKILL"]);
  const next = await sandbox.exec("echo", ["fine"]);
  t.deepEqual([next.limit, next.stdout.toString()], [null, "fine\n"]);
});

held("A call whose child the kernel killed for memory goes no further", async (t) => {
  const sandbox = await limited(t);
  const { limit, stdout, signal } = await sandbox.exec("sh", ["-c", `${hog}; sleep 60; echo survived`]);
  t.deepEqual([limit, signal, stdout.toString()], ["memory", "SIGKILL", ""]);
});

held("A call beside the one that takes too much goes on to its end", async (t) => {
  const sandbox = await limited(t);
  const patient = sandbox.spawn("sh", ["-c", "read line; echo $line"]);
  const said = new Promise<string>((resolve) => patient.stdout?.once("data", (chunk) => resolve(String(chunk))));
  const greedy = await sandbox.exec("sh", ["-c", `${creeping}; sleep 60; echo survived`]);
  t.deepEqual([greedy.limit, greedy.stdout.toString()], ["memory", ""]);
  patient.stdin?.end("still here\n");
  t.is(await said, "still here\n");
});

held("Files in /tmp count as memory", async (t) => {
  const sandbox = await limited(t);
  const { limit } = await sandbox.exec("sh", ["-c", "head -c 300M /dev/zero > /tmp/file; sleep 60"]);
  t.is(limit, "memory");
});

held("Whoever kills a call, it is not the limit: memory is not named for it", async (t) => {
  const sandbox = await limited(t);
  const { limit, signal } = await sandbox.exec("sh", ["-c", "kill -9 $$"]);
  t.deepEqual([limit, signal], [null, "SIGKILL"]);
});

held("A call that starts too many processes ends by that limit's name", async (t) => {
  const sandbox = await limited(t);
  const { limit } = await sandbox.exec("sh", ["-c", "for i in $(seq 300); do sleep 60 & done; wait"]);
  t.is(limit, "processes");
});

held("No sandbox starts when its init is in no cgroup though one is to hold its memory", async (t) => {
  const policy = { ...defaultPolicy, limits };
  const workdir = scratchFolder(t);
  const left = Sandbox.create({ workdir, policy }, { alterPlan: (plan) => ({ ...plan, cgroup: null }) });
  t.teardown(async () => (await left.catch(() => undefined))?.dispose());
  const error: unknown = await t.throwsAsync(left);
  t.true(HoldfastError.is(error) && error.code === "ERR_HOLDFAST_WALL_NOT_STANDING" && error.exitCode === 125);
  t.regex(String(error), /the wall cgroup-memory does not stand/);
});

held("A cgroup that the kernel will not make stops the launch, and leaves nothing", async (t) => {
  const none = { delegated: true, version: 1, parent: "/sys/fs/cgroup/holdfast-not-there" } as const;
  const made = SandboxCgroup.make("refused", { memoryBytes: mebibyte, tasks: null }, { memory: none, processes: none });
  const error: unknown = await t.throwsAsync(made);
  t.true(HoldfastError.is(error) && error.code === "ERR_HOLDFAST_CGROUP" && error.errno === "ENOENT");
});

held("A cgroup in which something still runs is emptied and removed", async (t) => {
  if (!memory.delegated) return;
  const folder = join(memory.parent, `holdfast-test-${process.pid}`);
  mkdirSync(folder);
  t.teardown(() => existsSync(folder) && rmdirSync(folder));
  const child = spawn("sh", ["-c", 'echo $$ > "$1/cgroup.procs" && echo in && exec sleep 60', "sh", folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("exit", (_, signal) => resolve(signal)));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  await removeCgroups([folder]);
  t.is(await ended, "SIGKILL");
  t.false(existsSync(folder));
});

held("A launcher that is killed leaves no cgroup", async (t) => {
  const name = `cgroup-killed-${process.pid}`;
  const from = (path: string): string => JSON.stringify(join(import.meta.dirname, "../..", path));
  const code = `
    import { Sandbox } from ${from("lib/sandbox/sandbox.ts")};
    import { defaultPolicy } from ${from("lib/policy/default-policy.ts")};
    const policy = { ...defaultPolicy, limits: { memoryBytes: ${64 * mebibyte}, processes: 64 } };
    const sandbox = await Sandbox.create({ workdir: process.argv[1], name: process.argv[2], policy });
    sandbox.spawn("sleep", ["60"]).once("spawn", () => console.log("ready"));
  `;
  const launcher: ChildProcess = spawn(
    process.execPath,
    ["--input-type=module", "-e", code, "--", scratchFolder(t), name],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  t.teardown(() => launcher.kill("SIGKILL"));
  await new Promise((resolve, reject) => {
    launcher.stdout?.once("data", resolve);
    launcher.once("exit", () => reject(new Error("the launcher ended by itself")));
  });
  const folders = cgroupsOf(name);
  t.true(folders.length > 0);
  const gone = Promise.all(folders.map(removed));
  launcher.kill("SIGKILL");
  await gone;
  t.deepEqual(cgroupsOf(name), []);
});

/** Resolves when the reaper has removed the folder: rmdir(2) is told to those who watch the one above. */
function removed(folder: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const watcher = watch(dirname(folder), () => {
      if (existsSync(folder)) return;
      clearTimeout(late);
      watcher.close();
      resolve();
    });
    const late = setTimeout(() => {
      watcher.close();
      reject(new Error(`${folder} is still there`));
    }, 20_000);
  });
}

test("A policy without a limit of memory asks this host for no cgroup", (t) => {
  const probe = (): never => t.fail() as never;
  t.deepEqual(heldByCgroup(defaultPolicy, probe), { memory: false, processes: false });
});

test("Where none is delegated nothing is held, and the reason is kept for whoever requires it", (t) => {
  const refused = { delegated: false, reason: "not this user's" } as const;
  t.deepEqual(
    heldByCgroup({ ...defaultPolicy, limits }, () => ({ memory: refused, processes: refused })),
    {
      memory: false,
      processes: false,
      reasons: { memory: "not this user's", processes: "not this user's" },
    },
  );
});

test.serial("A required cgroup is enforced, or the sandbox does not start and says why", async (t) => {
  const policy = { ...defaultPolicy, limits, requires: ["cgroup-memory"], source: "p.yaml" } as const;
  const created = limited(t, { policy });
  if (whole) {
    t.true((await created).enforcement.some(({ wall, status }) => wall === "cgroup-memory" && status === "enforced"));
    return;
  }
  const error: unknown = await t.throwsAsync(created);
  t.true(HoldfastError.is(error) && error.code === "ERR_HOLDFAST_WALL_UNAVAILABLE" && error.exitCode === 125);
  t.true(String(error).includes(`cgroup-memory: no cgroup can be made: ${refusal}`), String(error));
});

test.serial("A limit of memory is kept with a cgroup and without one, and the sandbox says which", async (t) => {
  const policy = { ...defaultPolicy, limits };
  const sandbox = await limited(t, { policy });
  const status = sandbox.enforcement.find(({ wall }) => wall === "cgroup-memory");
  t.is(status?.status, whole ? "enforced" : "partial");
  const { limit } = await sandbox.exec("sh", ["-c", `${creeping}; sleep 60`]);
  t.is(limit, "memory");
});
