import { writeSync } from "node:fs";
import { constants } from "node:os";
import { HoldfastError } from "../errors.ts";
import type { ConfinedProcess } from "../sandbox/process.ts";
import { Sandbox } from "../sandbox/sandbox.ts";
import type { Denial } from "../sandbox/types.ts";
import { paint, reportError, say } from "./report.ts";
import { parseRunOptions, type RunOptions, runUsage } from "./run-options.ts";
import { runPolicy } from "./run-policy.ts";
import { TerminalRelay, wantedPty } from "./terminal.ts";

/** Passed on to the command; a second SIGINT ends it. */
const forwarded: readonly NodeJS.Signals[] = [
  "SIGINT",
  "SIGTERM",
  "SIGHUP",
  "SIGQUIT",
  "SIGUSR1",
  "SIGUSR2",
  "SIGCONT",
];

const timeoutStatus = 124;
const limitStatus = 137;

/** `holdfast run`: returns the exit status. */
export async function run(args: readonly string[]): Promise<number> {
  let options: RunOptions;
  try {
    options = parseRunOptions(args);
    if (options.help) {
      process.stdout.write(`${runUsage}\n`);
      return 0;
    }
    if (options.command.length === 0) {
      throw new HoldfastError("no command was given", {
        code: "ERR_HOLDFAST_USAGE",
        step: "usage",
        hint: "Write it after two dashes: holdfast run -- make test",
      });
    }
  } catch (error) {
    return reportError(error);
  }
  const status = statusWriter(options.statusFd);
  try {
    const policy = await runPolicy(options);
    const sandbox = await Sandbox.create(
      { policy, workdir: options.workdir ?? process.cwd() },
      { traceOpens: options.traceDenials },
    );
    status({ event: "sandbox", name: sandbox.name, enforcement: sandbox.enforcement });
    if (sandbox.plan.identity.drop && !options.quiet && !options.json && process.stderr.isTTY) {
      say(`started by root: the sandbox runs as uid ${sandbox.plan.identity.hostUid}`);
    }
    try {
      return await follow(sandbox, options, status);
    } finally {
      await sandbox.dispose();
      if (sandbox.refusedNames.length > 0 && !options.quiet) reportRefusedNames(sandbox.refusedNames);
    }
  } catch (error) {
    status({
      event: "failed",
      code: HoldfastError.is(error) ? error.code : "ERR_HOLDFAST_INTERNAL",
      message: String(error),
    });
    return reportError(error, options.json);
  }
}

interface Ending {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  limit: string | null;
  timedOut: boolean;
  denials: readonly Denial[];
}

async function follow(sandbox: Sandbox, options: RunOptions, status: (line: object) => void): Promise<number> {
  const [file = "", ...args] = options.command;
  const pty = wantedPty();
  const { limits } = sandbox.policy;
  const child = sandbox.start(file, args, {
    stdin: "pipe",
    ...(pty === undefined ? {} : { pty }),
    ...(limits.wallTimeMs === undefined ? {} : { timeoutMs: limits.wallTimeMs }),
  });
  let printed = 0;
  const count = (bytes: number): void => {
    printed += bytes;
    if (limits.outputBytes !== undefined && printed > limits.outputBytes) child.killForLimit("output");
  };
  let relay: TerminalRelay | undefined;
  const release = forwardSignals(child);
  const pipes = relayPipes(child, count);
  try {
    await new Promise<void>((resolve, reject) => {
      child.once("error", reject);
      child.once("spawn", () => {
        status({ event: "started", pid: child.pid });
        if (child.ptyMaster !== null && pty !== undefined) relay = new TerminalRelay(child.ptyMaster, pty, count);
      });
      child.on("stopped", (signal: NodeJS.Signals) => stopWith(child, relay, signal));
      child.once("exit", () => resolve());
    });
    const ending: Ending = {
      exitCode: child.exitCode,
      signal: child.signalCode,
      limit: child.timedOut ? "wall-time" : child.limit,
      timedOut: child.timedOut,
      denials: sandbox.takeDenials(),
    };
    // Whatever it left running ends with it, and so do the pipes that those still hold.
    await sandbox.end();
    await Promise.all([...pipes, relay?.ended]);
    relay?.close();
    const code = exitStatus(ending);
    status({ event: "exited", status: code, ...ending });
    if (!options.quiet) reportEnding(ending, options);
    if (options.overlay) {
      const { finishOverlay } = await import("./overlay.ts");
      return await finishOverlay(sandbox, options, code);
    }
    return code;
  } finally {
    relay?.close();
    release();
    process.stdin.destroy();
  }
}

function exitStatus({ exitCode, signal, limit, timedOut }: Ending): number {
  if (timedOut) return timeoutStatus;
  if (limit !== null) return limitStatus;
  if (signal !== null) return 128 + constants.signals[signal];
  return exitCode ?? 125;
}

function relayPipes(child: ConfinedProcess, count: (bytes: number) => void): Promise<void>[] {
  const { stdin, stdout, stderr } = child;
  if (stdin !== null) {
    stdin.on("error", () => process.stdin.destroy());
    process.stdin.on("error", () => stdin.end());
    process.stdin.pipe(stdin);
  }
  const done: Promise<void>[] = [];
  for (const [from, to] of [
    [stdout, process.stdout],
    [stderr, process.stderr],
  ] as const) {
    if (from === null) continue;
    from.on("data", (chunk: Buffer) => {
      count(chunk.length);
      if (!to.write(chunk)) {
        from.pause();
        to.once("drain", () => from.resume());
      }
    });
    // Whoever read our output is gone: the command hears of it as it would in a plain pipeline.
    to.on("error", () => from.destroy());
    done.push(new Promise((resolve) => from.once("close", () => resolve())));
  }
  return done;
}

function forwardSignals(child: ConfinedProcess): () => void {
  let interrupts = 0;
  const handlers = forwarded.map((signal) => {
    const handler = (): void => {
      if (signal === "SIGINT" && ++interrupts > 1) child.kill("SIGKILL");
      else child.kill(signal);
    };
    process.on(signal, handler);
    return [signal, handler] as const;
  });
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}

/** The command was stopped (Ctrl-Z): so are we, for the shell that started us, and it goes on when we do. */
function stopWith(child: ConfinedProcess, relay: TerminalRelay | undefined, signal: NodeJS.Signals): void {
  if (signal !== "SIGTSTP" && signal !== "SIGTTIN" && signal !== "SIGTTOU") return;
  relay?.giveBack();
  process.once("SIGCONT", () => relay?.takeTerminal());
  process.kill(process.pid, "SIGSTOP");
  // Reached after SIGCONT.
  child.kill("SIGCONT");
}

function statusWriter(fd: number | undefined): (line: object) => void {
  if (fd === undefined) return () => {};
  return (line) => {
    try {
      writeSync(fd, `${JSON.stringify(line)}\n`);
    } catch {
      // Nobody reads it any more; the exit status still tells.
    }
  };
}

function reportEnding(ending: Ending, options: RunOptions): void {
  if (options.json) {
    process.stderr.write(`${JSON.stringify({ event: "exited", status: exitStatus(ending), ...ending })}\n`);
    return;
  }
  if (ending.limit !== null) {
    const flag = ending.timedOut ? "--timeout D" : `--limit ${ending.limit}=VALUE`;
    say(`${paint("yellow", `the limit ${ending.limit} was reached`)} and the command was ended; ${flag} sets it`);
  }
  for (const { kind, subject, count, grant } of ending.denials) {
    const times = count > 1 ? ` (${count} times)` : "";
    const what =
      kind === "syscall" ? `the system call ${subject}` : kind === "connect" ? `a connection to ${subject}` : subject;
    const how = grant ?? (kind === "syscall" ? "no flag grants it" : "");
    say(`${paint("yellow", "refused")} ${what}${times}${how === "" ? "" : `; ${how}`}`);
  }
}

function reportRefusedNames(names: readonly string[]): void {
  for (const name of names) {
    say(`${paint("yellow", "put aside")} ${name}: a protected name was made; it is now ${name}.refused-by-holdfast`);
  }
}
