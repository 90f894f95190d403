// The world around an attack: a process outside that it would like to reach, files, and a workspace with repositories. What
// has come of an attack is seen from outside; what only the program can see it says itself.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { loadCallTable } from "../../lib/plan/seccomp-profile.ts";
import { removeTree } from "../../lib/sandbox/remove-tree.ts";
import { makeFiles } from "../sandbox/session.ts";
import { architecture } from "../walls/victim.ts";

const isRoot = process.geteuid?.() === 0;
/** Started by root, all this belongs to whom the sandbox becomes: outside, the same user tries. */
const ids = isRoot ? { uid: 64_000, gid: 64_000 } : {};
const here = import.meta.dirname;
/** What everybody may run, whoever started the tests. */
const systemPath = "/usr/local/bin:/usr/bin:/bin";

const repository = {
  HEAD: "ref: refs/heads/main\n",
  config: "[core]\n\trepositoryformatversion = 0\n\tbare = false\n",
  "objects/": "",
  "refs/heads/": "",
};

function below<Content>(folder: string, files: Readonly<Record<string, Content>>): Record<string, Content> {
  return Object.fromEntries(Object.entries(files).map(([name, content]) => [`${folder}/${name}`, content]));
}

function giveAway(path: string): void {
  if (!isRoot) return;
  lchownSync(path, 64_000, 64_000);
  if (!lstatSync(path).isDirectory()) return;
  for (const name of readdirSync(path, { encoding: "buffer" })) giveAway(join(path, name.toString()));
}

interface Streams extends Pick<ChildProcess, "stdin" | "stdout" | "stderr"> {
  once(event: "exit" | "close", listener: () => void): unknown;
}

/** Compiles a case into a folder, or takes it as it is. */
export function buildCase(file: string, folder: string): string {
  const source = join(here, "cases", file);
  if (!file.endsWith(".c")) return source;
  const program = join(folder, file.replace(/\.c$/, ""));
  if (existsSync(program)) return program;
  const built = spawnSync("cc", ["-O1", "-pthread", "-I", here, "-o", program, source], { encoding: "utf8" });
  if (built.status !== 0) throw new Error(`cc ${file}: ${built.stderr}`);
  return program;
}

/** For one case: what comes of it outside a sandbox would spoil it for the next. */
export class World {
  readonly #top: string;
  readonly #priority: string;
  readonly #secret = `secret-${randomBytes(9).toString("hex")}`;
  readonly #helper: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  #facts: Readonly<Record<string, string | number>> = {};
  #runs = 0;
  /** Readable inside; nothing else of the world is but the workspace. */
  readonly granted: string;

  private constructor(top: string) {
    this.#top = top;
    this.#priority = ownPriority();
    this.granted = join(top, "granted");
    const files = { "outside/secret": `${this.#secret}\n`, "outside/canary": "canary\n", "granted/canary": "canary\n" };
    makeFiles(top, { ...files, "home/.gitconfig": '[safe]\n\tdirectory = "*"\n' });
    chmodSync(join(top, "outside/secret"), 0o600);
    chmodSync(top, 0o755);
    giveAway(top);
    const number = randomBytes(4).readUInt32BE() >>> 2;
    this.#helper = spawn("python3", [join(here, "outside.py"), join(top, "outside"), this.granted, String(number)], {
      ...ids,
      env: { PATH: systemPath, ATTACK_SECRET: this.#secret },
      stdio: ["pipe", "pipe", "inherit"],
      ...ownSession,
    });
    if (this.#helper.stdout === null) throw new Error("the helper has no standard output");
    this.#answers = createInterface(this.#helper.stdout)[Symbol.asyncIterator]();
  }

  static async make(): Promise<World> {
    const world = new World(realpathSync(mkdtempSync(join(tmpdir(), "holdfast-attacks-"))));
    world.#facts = await world.#hear();
    return world;
  }

  close(): void {
    this.#helper.kill("SIGCONT");
    this.#helper.stdin?.end();
    removeTree(this.#top);
    if (ownPriority() !== this.#priority) throw new Error(`an attack took the tests' own priority: ${ownPriority()}`);
  }

  async #hear(): Promise<Record<string, string | number>> {
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error("the process outside has ended");
    return JSON.parse(value);
  }

  #ask(question: object): Promise<Record<string, unknown>> {
    this.#helper.stdin?.write(`${JSON.stringify(question)}\n`);
    return this.#hear();
  }

  /** A workspace of its own with the program in it; what to start it with. */
  prepare(program: string, way: string, confined: boolean): { workdir: string; argv: string[]; mark: string } {
    const mark = `mark-${randomBytes(6).toString("hex")}`;
    const workdir = join(this.#top, `work-${this.#runs++}`);
    makeFiles(workdir, {
      "work-file": "mine\n",
      "src/main.c": "int main;\n",
      ".vscode/tasks.json": "{}\n",
      ...below(".git", { ...repository, "hooks/pre-commit": "#!/bin/sh\nexit 0\n" }),
      ...below("sub/.git", { ...repository, "hooks/": "" }),
      ...below("template", repository),
      // Its settings name what else git runs and reads.
      ...below("configured/.git", {
        ...repository,
        config: `${repository.config}\thooksPath = shared/hooks\n[include]\n\tpath = ../shared/config\n\tpath = ../later\n`,
      }),
      ...below("configured/shared", { "hooks/post-commit": "#!/bin/sh\nexit 0\n", config: "[user]\n\tname = me\n" }),
    });
    chmodSync(join(workdir, ".git/hooks/pre-commit"), 0o755);
    chmodSync(join(workdir, "configured/shared/hooks/post-commit"), 0o755);
    linkSync(join(workdir, ".git/config"), join(workdir, "alias-of-config"));
    linkSync(join(workdir, ".git/hooks/pre-commit"), join(workdir, "alias-of-hook"));
    const python = program.endsWith(".py");
    const probe = join(workdir, "probe");
    copyFileSync(program, probe);
    chmodSync(probe, 0o755);
    if (python) copyFileSync(join(here, "attack.py"), join(workdir, "attack.py"));
    giveAway(workdir);
    const { calls } = loadCallTable(architecture);
    const parameters = {
      ...this.#facts,
      secret: join(this.#top, "outside/secret"),
      needle: Buffer.from(this.#secret).toString("hex"),
      canary: join(this.granted, "canary"),
      granted: this.granted,
      ran: join(this.#top, "outside", `ran-${mark}`),
      hostname: hostname(),
      confined: confined ? "yes" : "no",
      calls: JSON.stringify(calls),
      way,
      mark,
    };
    const starter = python ? ["python3", "-B"] : program.endsWith(".sh") ? ["sh"] : [];
    const words = Object.entries(parameters).map(([key, value]) => `${key}=${value}`);
    return { workdir, argv: [...starter, probe, ...words], mark };
  }

  /** What can be seen from outside, and must be as it was. */
  async #state(): Promise<Record<string, unknown>> {
    const isStopped = / [Tt] /.test(readFileSync(`/proc/${this.#helper.pid}/stat`, "latin1"));
    this.#helper.kill("SIGCONT");
    const seen: Record<string, unknown> = { isStopped, ...(await this.#ask({ ask: "status" })) };
    const look = (path: string): void => {
      const status = lstatSync(path);
      const content = status.isFile() ? readFileSync(path, "latin1") : "";
      seen[path] = [status.mode, status.nlink, status.size, status.mtimeMs, content];
      if (status.isDirectory()) for (const name of readdirSync(path)) look(join(path, name));
    };
    for (const folder of [join(this.#top, "outside"), this.granted]) look(folder);
    for (const path of ["/dev/null", "/dev/zero"]) seen[path] = [lstatSync(path).mode, lstatSync(path).mtimeMs];
    return seen;
  }

  /** Runs a program and says what it did outside: nothing is an empty list. `over` comes when all of it has ended. */
  async watch(mark: string, start: () => Streams, over: () => Promise<void>): Promise<string[]> {
    const found: string[] = [];
    const before = await this.#state();
    const stores = await this.#ask({ ask: "stores" });
    const child = start();
    const ended = new Promise<void>((resolve) => child.once("exit", resolve));
    const closed = new Promise<void>((resolve) => child.once("close", resolve));
    let said = "";
    const asked: Promise<void>[] = [];
    const listen = (chunk: Buffer): void => {
      const from = said.lastIndexOf("\n") + 1;
      said += chunk.toString("latin1");
      for (const line of said.slice(from, said.lastIndexOf("\n") + 1).split("\n")) {
        if (line === "# hold") asked.push(this.#findExhausted(stores, found).then(() => void child.stdin?.end()));
        const port = /^# port (\d+)$/.exec(line)?.[1];
        if (port !== undefined) asked.push(this.#visit({ port: Number(port) }, "a port", found));
        const name = /^# abstract (\S+)$/.exec(line)?.[1];
        if (name !== undefined) asked.push(this.#visit({ name }, "an abstract name", found));
      }
    };
    child.stdin?.on("error", () => {});
    child.stdout?.on("data", listen);
    child.stderr?.on("data", (chunk: Buffer) => {
      said += chunk.toString("latin1");
    });
    await ended;
    await Promise.all(asked);
    await over();
    const left = runningWith(mark);
    for (const pid of left) process.kill(pid, "SIGKILL");
    if (left.length > 0) found.push(`${left.length} processes are left`);
    await closed;
    if (said.includes(this.#secret)) found.push("the secret came out");
    found.push(...(said.match(/^ESCAPED .*$/gm) ?? []));
    const after = await this.#state();
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
      if (JSON.stringify(before[key]) !== JSON.stringify(after[key])) found.push(`${key} has changed`);
    }
    return found;
  }

  async #findExhausted(before: Readonly<Record<string, unknown>>, found: string[]): Promise<void> {
    const now = await this.#ask({ ask: "stores" });
    for (const [name, left] of Object.entries(before)) {
      if (left === true && now[name] !== true) found.push(`there are no ${name} left outside`);
    }
  }

  async #visit(where: object, what: string, found: string[]): Promise<void> {
    const { said } = await this.#ask({ ask: "visit", ...where });
    if (said === "visited") found.push(`${what} is open outside`);
  }

  /** Whether git of the user runs what was planted when he works in any folder of the workspace: the last thing done there. */
  gitRuns(workdir: string, mark: string): boolean {
    const work = 'cd "$1" && git status; git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x';
    const find = [
      "find",
      ".",
      "-name",
      ".git",
      "-prune",
      "-o",
      "-type",
      "d",
      "-exec",
      "sh",
      "-c",
      work,
      "sh",
      "{}",
      ";",
    ];
    const env = { PATH: systemPath, HOME: join(this.#top, "home") };
    spawnSync("/usr/bin/env", find, { ...ids, env, stdio: "ignore", cwd: workdir });
    const ran = join(this.#top, "outside", `ran-${mark}`);
    const has = existsSync(ran);
    rmSync(ran, { force: true });
    return has;
  }

  /** Outside, for comparison: the same program, as the same user, without a sandbox. */
  unconfined(argv: readonly string[], workdir: string): ChildProcess {
    const [program = "", ...args] = argv;
    return spawn(program, args, {
      ...ids,
      cwd: workdir,
      stdio: "pipe",
      env: { PATH: systemPath, HOME: workdir },
      ...ownSession,
    });
  }
}

/**
 * What an attack does outside it does to a session that is not the tests': a session is scheduled as one (sched(7),
 * autogroups), and one whose priority was taken away would be starved for good by every other on the machine.
 */
const ownSession = { detached: true } as const;

/** The priority of the tests' own session, where the kernel has such. */
function ownPriority(): string {
  try {
    return readFileSync("/proc/self/autogroup", "latin1");
  } catch {
    return "";
  }
}

function runningWith(mark: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(`mark=${mark}`)) return false;
        return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
      } catch {
        return false;
      }
    })
    .map(Number);
}
