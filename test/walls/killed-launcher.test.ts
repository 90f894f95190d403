// A launcher that is killed outright leaves nothing: no process, mount, cgroup, folder, socket, nor what was planted.
import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { probeCgroups } from "../../lib/host/cgroups.ts";

const library = join(import.meta.dirname, "../../lib/sandbox/sandbox.ts");
const defaults = join(import.meta.dirname, "../../lib/policy/default-policy.ts");

interface Launcher {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly top: string;
  /** Part of the command line of what runs in its sandboxes, and of the sandboxes' names. */
  readonly mark: string;
  readonly line: () => Promise<string>;
}

const imports = `
  import { Sandbox } from ${JSON.stringify(library)};
  import { defaultPolicy } from ${JSON.stringify(defaults)};
  const [workdir, mark] = process.argv.slice(1);
  const say = (line) => process.stdout.write(line + "\\n");
`;

let count = 0;

/** A launcher with folders of its own and in a session of its own. */
function launch(t: ExecutionContext, code: string): Launcher {
  const top = mkdtempSync(join(tmpdir(), "holdfast-killed-"));
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  for (const name of ["work", "state", "run"]) mkdirSync(join(top, name));
  chmodSync(top, 0o755);
  const mark = `${process.pid}${count++}`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", imports + code, "--", join(top, "work"), mark], {
    detached: true,
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, XDG_STATE_HOME: join(top, "state"), XDG_RUNTIME_DIR: join(top, "run") },
  });
  t.teardown(() => child.kill("SIGKILL"));
  const { pid } = child;
  if (pid === undefined) throw new Error("the launcher could not be started");
  let text = "";
  child.stdout.setEncoding("utf8");
  const line = async (): Promise<string> => {
    while (!text.includes("\n")) {
      text += await new Promise<string>((resolve, reject) => {
        child.stdout.once("data", resolve);
        child.once("exit", () => reject(new Error("the launcher ended by itself")));
      });
    }
    const [first = "", ...rest] = text.split("\n");
    text = rest.join("\n");
    return first;
  };
  return { child, pid, top, mark, line };
}

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly session: number;
  readonly state: string;
}

/** proc_pid_stat(5); null for a process that is gone. */
function look(pid: number): Process | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    const [state = "", parent, , session] = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { pid, parent: Number(parent), session: Number(session), state };
  } catch {
    return null;
  }
}

function processes(): Process[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => look(Number(name)) ?? []);
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

/** Waits for a condition, and says what was in its way when it does not come. */
async function become(t: ExecutionContext, what: string, left: () => readonly (string | number)[]): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (left().length > 0 && Date.now() < deadline) await pause(10);
  t.deepEqual(left(), [], what);
}

/** Kills it, having stopped it first so that its children can be told. */
async function killOutright(t: ExecutionContext, launcher: Launcher): Promise<number[]> {
  const { child, pid } = launcher;
  process.kill(pid, "SIGSTOP");
  await become(t, "the launcher stops", () => (look(pid)?.state === "T" ? [] : [look(pid)?.state ?? "gone"]));
  const children = processes()
    .filter(({ parent, session }) => parent === pid || session === pid)
    .map((each) => each.pid)
    .filter((each) => each !== pid);
  const gone = new Promise((resolve) => child.once("exit", resolve));
  process.kill(pid, "SIGKILL");
  await gone;
  return children;
}

function cgroupsOf(mark: string): string[] {
  return globSync(`/sys/fs/cgroup/{,*/,*/*/,*/*/*/,*/*/*/*/,*/*/*/*/*/}*killed-${mark}*`);
}

async function nothingIsLeft(
  t: ExecutionContext,
  { pid, top, mark }: Launcher,
  children: readonly number[],
): Promise<void> {
  await become(t, "its children, the init and the reaper among them, are gone", () =>
    children.filter((child) => look(child) !== null && look(child)?.state !== "Z"),
  );
  await become(t, "nothing of its session or of its sandboxes runs", () =>
    processes()
      .filter(({ session, state }) => session === pid && state !== "Z")
      .map((each) => each.pid)
      .concat(
        processes()
          .map((each) => each.pid)
          .filter((each) => commandLine(each).includes(`1${mark}.5`)),
      ),
  );
  await become(t, "its private layers are gone", () => {
    const folder = join(top, "state", "holdfast", "sandboxes");
    return existsSync(folder) ? readdirSync(folder) : [];
  });
  await become(t, "its sockets are gone", () => globSync(join(top, "run", "**", "*.sock")));
  await become(t, "its cgroups are gone", () => cgroupsOf(mark));
  t.false(readFileSync("/proc/self/mountinfo", "utf8").includes(top), "no mount");
}

const busy = `
  const limits = { ...defaultPolicy.limits, memoryBytes: 512 * 1024 * 1024 };
  const inits = [];
  for (const workspace of ["direct", "overlay", "fresh"]) {
    const sandbox = await Sandbox.create({
      workdir, workspace, name: "killed-" + mark + "-" + workspace, policy: { ...defaultPolicy, limits },
    });
    inits.push(sandbox.description.init);
    // Deeper than a path may be long, where the folder goes with the sandbox.
    const deep = "import os\\nfor _ in range(3000): os.mkdir('x'); os.chdir('x')";
    if (workspace !== "direct") await sandbox.exec("python3", ["-c", deep]);
    const script = "mkdir -p .vscode && echo '{}' > .vscode/tasks.json && mkdir -p d && echo text > d/f && ln -sfn ../outside .git && " +
      "(setsid sleep 1" + mark + ".5 & ) && sleep 1" + mark + ".5 & sleep 1" + mark + ".5 & echo ready; wait";
    const child = sandbox.spawn("sh", ["-c", script], { stdin: "ignore" });
    await new Promise((resolve) => child.stdout.once("data", resolve));
  }
  say(JSON.stringify(inits));
  setInterval(() => {}, 1000);
`;

test.serial("A killed launcher leaves nothing of sandboxes in which daemons run", async (t) => {
  const launcher = launch(t, busy);
  const { top, mark } = launcher;
  const inits = JSON.parse(await launcher.line()) as number[];
  t.is(inits.length, 3);
  t.true(inits.every((init) => look(init) !== null));
  await become(t, "the daemons run", () => {
    const running = processes().filter((each) => commandLine(each.pid).includes(`1${mark}.5`));
    return running.length >= 9 ? [] : [running.length];
  });
  t.is(readdirSync(join(top, "state", "holdfast", "sandboxes")).length, 2);
  t.is(globSync(join(top, "run", "**", "*.sock")).length, 3);
  if (probeCgroups().memory.delegated) t.true(cgroupsOf(mark).length >= 3, "cgroups, one a sandbox at least");
  mkdirSync(join(top, "outside", "hooks"), { recursive: true });
  const children = await killOutright(t, launcher);
  t.true(children.length >= 4, "three inits and the reaper");
  await nothingIsLeft(t, launcher, children);
  // What a call planted under a protected name of the real workspace is out of reach; what it was asked for is there.
  t.deepEqual(readdirSync(join(top, "work")).sort(), [".git.refused-by-holdfast", ".vscode.refused-by-holdfast", "d"]);
  t.deepEqual(readdirSync(join(top, "outside")), ["hooks"], "a link that was planted is not followed");
});

const restless = `
  say("begun");
  for (let round = 0; ; round++) {
    const name = "killed-" + mark + "-" + round;
    const sandbox = await Sandbox.create({ workdir, name, workspace: round % 2 === 0 ? "overlay" : "direct" });
    if (round % 3 !== 0) await sandbox.exec("sh", ["-c", "sleep 1" + mark + ".5 & echo text > f"]);
    await sandbox.dispose();
  }
`;

// The first sandbox takes some fifty milliseconds with what is loaded for it, the next ones five.
for (const afterMs of [0, 1, 2, 3, 5, 8, 13, 21, 30, 34, 38, 42, 47, 55, 71, 89, 144]) {
  test.serial(`A launcher that is killed ${afterMs} ms into making sandboxes leaves nothing`, async (t) => {
    const launcher = launch(t, restless);
    t.is(await launcher.line(), "begun");
    await pause(afterMs);
    const children = await killOutright(t, launcher);
    await nothingIsLeft(t, launcher, children);
  });
}

test.serial("What a launcher and its reaper left, both killed, the next start sweeps away", async (t) => {
  const launcher = launch(t, busy);
  await launcher.line();
  const { top, pid } = launcher;
  const state = join(top, "state", "holdfast", "sandboxes");
  process.kill(pid, "SIGSTOP");
  await become(t, "the launcher stops", () => (look(pid)?.state === "T" ? [] : [look(pid)?.state ?? "gone"]));
  const children = processes().filter(({ parent }) => parent === pid);
  const reapers = children.filter((each) => /\breaper\b/.test(commandLine(each.pid)));
  t.is(reapers.length, 1);
  for (const reaper of reapers) process.kill(reaper.pid, "SIGKILL");
  const gone = new Promise((resolve) => launcher.child.once("exit", resolve));
  process.kill(pid, "SIGKILL");
  await gone;
  await become(t, "its children are gone", () =>
    children.map((each) => each.pid).filter((each) => look(each) !== null && look(each)?.state !== "Z"),
  );
  t.is(readdirSync(state).length, 2, "nobody was left to clear them away");
  t.is(globSync(join(top, "run", "**", "*.sock")).length, 3);
  const work = join(top, "next");
  mkdirSync(work);
  writeFileSync(join(work, "file"), "");
  const next = spawn(
    process.execPath,
    // By a name that was in use: what is left of it is no live sandbox.
    [
      "--input-type=module",
      "-e",
      `${imports} await (await Sandbox.create({ workdir, name: "killed-${launcher.mark}-direct" })).dispose();`,
      "--",
      work,
      "0",
    ],
    {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, XDG_STATE_HOME: join(top, "state"), XDG_RUNTIME_DIR: join(top, "run") },
    },
  );
  t.is(await new Promise((resolve) => next.once("exit", resolve)), 0);
  t.deepEqual(readdirSync(state), []);
  t.deepEqual(globSync(join(top, "run", "**", "*.sock")), []);
  t.deepEqual(globSync(`/sys/fs/cgroup/{,*/,*/*/,*/*/*/}*killed-${launcher.mark}*`), []);
});
