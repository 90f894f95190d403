import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { ExecutionContext } from "ava";

/** As it is shipped: from its sources it would start in twice the time. */
const command = join(dirname(dirname(import.meta.dirname)), "bin", "holdfast");

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Of this process's environment: the second is where Node keeps what it compiled. */
const inherited = Object.fromEntries(
  ["PATH", "NODE_COMPILE_CACHE"].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  }),
);

const mostAtOnce = 3;
let running = 0;
const waiting: (() => void)[] = [];

/** Waits until few enough tests of this file have processes: more at once than the host has cores only slows all down. */
export async function turn(t: ExecutionContext): Promise<void> {
  if (running >= mostAtOnce) await new Promise<void>((resolve) => waiting.push(resolve));
  else running += 1;
  t.teardown(() => {
    const next = waiting.shift();
    if (next === undefined) running -= 1;
    else next();
  });
}

/** `holdfast worker` as a process of its own, with nothing of this process's environment but what it is given. */
export class WorkerProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<Ending>;
  /** Its HOME, a folder of its own. */
  readonly home: string;
  stdout = "";
  stderr = "";
  readonly #watchers = new Set<() => void>();

  private constructor(child: ChildProcess, home: string) {
    this.child = child;
    this.home = home;
    this.ended = once(child, "close").then(([code, signal]) => ({ code, signal }) as Ending);
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
      for (const watch of [...this.#watchers]) watch();
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
  }

  static start(
    t: ExecutionContext,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
    /** What it reads; null: nothing, and it never ends. */
    input: string | null = "",
  ): WorkerProcess {
    const home = scratch(t);
    const child = spawn(command, ["worker", ...args], {
      cwd: home,
      env: { ...inherited, HOME: home, LANG: "C.UTF-8", ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.stdin?.on("error", () => {});
    if (input !== null) child.stdin?.end(input);
    const worker = new WorkerProcess(child, home);
    t.teardown(async () => {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      await worker.ended;
      if (!t.passed) t.log(worker.said);
    });
    return worker;
  }

  /** Everything it said. */
  get said(): string {
    return this.stdout + this.stderr;
  }

  /** Resolves when its log holds this; rejects when it ends before, or after 30 s. */
  async says(pattern: RegExp): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string): void => reject(new Error(`${why} before it said ${pattern}: ${this.said}`));
      const timer = setTimeout(() => fail("30 s passed"), 30_000);
      const watch = (): void => {
        if (!pattern.test(this.stdout)) return;
        clearTimeout(timer);
        this.#watchers.delete(watch);
        resolve();
      };
      this.#watchers.add(watch);
      watch();
      void this.ended.then(() => {
        clearTimeout(timer);
        fail("it ended");
      });
    });
  }
}

/** A folder that goes when the test ends, and that the sandbox's user can write where root started it. */
export function scratch(t: ExecutionContext, name = "holdfast-worker-"): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), name)));
  chmodSync(folder, 0o755);
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function workspace(t: ExecutionContext): string {
  const folder = join(scratch(t), "project");
  mkdirSync(folder);
  chmodSync(folder, 0o777);
  return folder;
}

/** The processes of this host that have a text in their command line. */
export function processesWith(text: string): number[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(text);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** What a worker has left in its state folder: nothing, once it has ended. */
export function leftovers({ home }: WorkerProcess): string[] {
  const folder = join(home, ".local", "state", "holdfast", "sandboxes");
  return existsSync(folder) ? readdirSync(folder) : [];
}
