import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Who runs a command; nothing given means whoever started the tests. */
export interface Identity {
  uid: number;
  gid: number;
  name: string;
  home: string;
}

export interface CommandOptions {
  cwd: string;
  limitMs: number;
  env?: NodeJS.ProcessEnv;
  identity?: Identity | undefined;
  /** Called for each line of standard output as it comes. */
  onLine?: (line: string) => void;
}

export interface CommandResult {
  /** 0 when it ended well; undefined when it could not start, was ended by a signal or ran out of time. */
  exitCode: number | undefined;
  timedOut: boolean;
  /** Both streams, in the order in which they came. */
  output: string;
}

const running = new Set<number>();

function endGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

/** Ends what is still running, with everything that it started. */
export function endCommands(): void {
  for (const pid of running) endGroup(pid);
}

/** Runs a command in a process group of its own, which ends with it: nothing that a check starts outlives the check. */
export function runCommand(file: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  const { identity } = options;
  const env = { ...(options.env ?? process.env) };
  // Node reads it on a thread of its own, which loses its descriptor to a program that closes stray ones at its start.
  delete env["NODE_EXTRA_CA_CERTS"];
  if (identity) {
    Object.assign(env, { HOME: identity.home, USER: identity.name, LOGNAME: identity.name, TMPDIR: "/tmp" });
    for (const name of Object.keys(env)) if (/^(npm_|XDG_|SUDO_|INIT_CWD$)/.test(name)) delete env[name];
  }
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      cwd: options.cwd,
      env,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      ...(identity ? { uid: identity.uid, gid: identity.gid } : {}),
    });
    const chunks: string[] = [];
    let timedOut = false;
    const { pid } = child;
    if (pid !== undefined) running.add(pid);
    const timer = setTimeout(() => {
      timedOut = true;
      if (pid !== undefined) endGroup(pid);
    }, options.limitMs);
    const finish = (exitCode: number | undefined): void => {
      clearTimeout(timer);
      if (pid !== undefined) {
        running.delete(pid);
        endGroup(pid);
      }
      resolve({ exitCode, timedOut, output: chunks.join("") });
    };
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text: string) => chunks.push(text));
    }
    if (options.onLine) createInterface({ input: child.stdout }).on("line", options.onLine);
    child.once("error", (error) => {
      chunks.push(`${file}: ${error.message}\n`);
      finish(undefined);
    });
    // exit and not close: a daemon that a broken test left behind may hold the pipes open; it ends with the group.
    child.once("exit", (code) => {
      if (pid !== undefined) endGroup(pid);
      const settle = setTimeout(() => finish(code ?? undefined), 2000);
      child.once("close", () => {
        clearTimeout(settle);
        finish(code ?? undefined);
      });
    });
  });
}

/** Whether a program is on PATH. */
export async function hasProgram(name: string): Promise<boolean> {
  const result = await runCommand("/bin/sh", ["-c", 'command -v "$1"', "sh", name], { cwd: "/", limitMs: 10_000 });
  return result.exitCode === 0;
}
