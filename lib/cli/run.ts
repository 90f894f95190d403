import { readlinkSync, writeSync } from "node:fs";
import type { Writable } from "node:stream";
import { HoldfastError } from "../errors.ts";
import { currentFolder } from "../host/paths.ts";
import { displayPath } from "../sandbox/display-path.ts";
import type { ConfinedProcess } from "../sandbox/process.ts";
import { Sandbox } from "../sandbox/sandbox.ts";
import { type Ending, exitStatus, reportEnding } from "./ending.ts";
import { JobControl } from "./job-control.ts";
import { flushed, type Handing, hand, openOutput, outputsAreOne } from "./output.ts";
import { paint, reportError, say } from "./report.ts";
import { parseRunOptions, type RunOptions, runUsage } from "./run-options.ts";
import { runPolicy } from "./run-policy.ts";
import { TerminalRelay, wantedPty } from "./terminal.ts";

/** How long what a command printed before a limit ended it may wait for a reader that does not read. */
const lastWordsMs = 1000;

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
  let status: (line: object) => void = () => {};
  try {
    status = statusWriter(options.statusFd);
    const policy = await runPolicy(options);
    const sandbox = await Sandbox.create(
      { policy, workdir: options.workdir ?? currentFolder() },
      { traceOpens: options.traceDenials },
    );
    const { hostUid: uid, hostGid: gid, drop } = sandbox.plan.identity;
    const beginning = { event: "sandbox", name: sandbox.name, uid, gid, enforcement: sandbox.enforcement };
    status(beginning);
    if (!options.quiet && options.json) process.stderr.write(`${JSON.stringify(beginning)}\n`);
    else if (!options.quiet && drop && process.stderr.isTTY) say(`started by root: the sandbox runs as uid ${uid}`);
    try {
      return await follow(sandbox, options, status);
    } finally {
      await sandbox.dispose();
      if (sandbox.refusedNames.length > 0 && !options.quiet) reportRefusedNames(sandbox.refusedNames);
    }
  } catch (error) {
    status({
      event: "failed",
      status: HoldfastError.is(error) ? error.exitCode : 125,
      code: HoldfastError.is(error) ? error.code : "ERR_HOLDFAST_INTERNAL",
      message: error instanceof Error ? error.message : String(error),
    });
    return reportError(error, options.json);
  }
}

/** Counts what the command prints, and lets as much pass as the limit `output` says. */
class OutputBudget {
  readonly #child: ConfinedProcess;
  #left: number;

  constructor(child: ConfinedProcess, bytes: number | undefined) {
    this.#child = child;
    this.#left = bytes ?? Number.POSITIVE_INFINITY;
  }

  readonly admit = (chunk: Buffer): Buffer => {
    const passing = chunk.length <= this.#left ? chunk : chunk.subarray(0, this.#left);
    this.#left -= passing.length;
    if (passing.length < chunk.length) this.#child.killForLimit("output");
    return passing;
  };
}

async function follow(sandbox: Sandbox, options: RunOptions, status: (line: object) => void): Promise<number> {
  const [file = "", ...args] = options.command;
  const pty = wantedPty();
  const { limits } = sandbox.policy;
  const child = sandbox.start(file, args, {
    stdin: "pipe",
    mergeStderr: pty === undefined && outputsAreOne(),
    umask: process.umask(),
    ...(pty === undefined ? {} : { pty }),
    ...(limits.wallTimeMs === undefined ? {} : { timeoutMs: limits.wallTimeMs }),
  });
  const { admit } = new OutputBudget(child, limits.outputBytes);
  const jobs = new JobControl(child);
  const outputs: Writable[] = [];
  const ended: Promise<void>[] = [];
  relayInput(child);
  for (const place of [1, 2] as const) {
    const from = place === 1 ? child.stdout : child.stderr;
    if (from === null) continue;
    const to = openOutput(place);
    // Whoever read our output is gone: the command hears of it as it would in a plain pipeline.
    hand(from, to, { admit, failed: (error) => sayUnwritten(error, place, () => from.destroy()) });
    outputs.push(to);
    ended.push(new Promise((resolve) => from.once("close", () => resolve())));
  }
  try {
    await new Promise<void>((resolve, reject) => {
      child.once("error", reject);
      child.once("spawn", () => {
        status({ event: "started", pid: child.pid });
        if (child.ptyMaster === null || pty === undefined) return;
        const failed: Handing["failed"] = () => child.kill("SIGHUP");
        jobs.relay = new TerminalRelay(child.ptyMaster, pty, { admit, failed });
        outputs.push(jobs.relay.output);
        ended.push(jobs.relay.ended);
      });
      child.once("exit", () => resolve());
    });
    const ending: Ending = {
      exitCode: child.exitCode,
      signal: child.signalCode,
      limit: child.timedOut ? "wall-time" : child.limit,
      timedOut: child.timedOut,
      denials: sandbox.takeDenials(),
    };
    const code = exitStatus(ending);
    status({ event: "exited", status: code, ...ending });
    // Whatever it left running ends with it, and so do the pipes that those still hold.
    const lastWords = sandbox
      .end()
      .then(() => Promise.all(ended))
      .then(() => Promise.all(outputs.map(flushed)));
    await Promise.race([lastWords, jobs.dismissed, ...(ending.limit === null ? [] : [grace()])]);
    await sandbox.end();
    jobs.relay?.close();
    reportEnding(ending, options);
    if (options.overlay) {
      const { finishOverlay } = await import("./overlay.ts");
      return await finishOverlay(sandbox, options, code);
    }
    return code;
  } finally {
    jobs.relay?.close();
    jobs.close();
    for (const to of outputs) if (to !== process.stdout && to !== process.stderr) to.destroy();
    child.stdout?.destroy();
    child.stderr?.destroy();
    process.stdin.destroy();
  }
}

function grace(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, lastWordsMs).unref());
}

function relayInput({ stdin }: ConfinedProcess): void {
  if (stdin === null) return;
  stdin.on("error", () => process.stdin.destroy());
  process.stdin.on("error", () => stdin.end());
  process.stdin.pipe(stdin);
}

function sayUnwritten(error: NodeJS.ErrnoException, place: 1 | 2, then: () => void): void {
  if (error.code !== "EPIPE" && place === 1)
    say(`standard output could not be written (${error.code ?? error.message})`);
  then();
}

function statusWriter(fd: number | undefined): (line: object) => void {
  if (fd === undefined) return () => {};
  if (!isOpen(fd)) {
    throw new HoldfastError(`--status-fd ${fd}: the descriptor is not open`, {
      code: "ERR_HOLDFAST_USAGE",
      step: "usage",
      hint: `Open it for holdfast, for example --status-fd ${fd} ${fd}>status.json`,
    });
  }
  return (line) => {
    try {
      writeSync(fd, `${JSON.stringify(line)}\n`);
    } catch {
      // Nobody reads it any more; the exit status still tells.
    }
  };
}

/** Whether the caller gave us this descriptor: the runtime opens some of its own, which have no file behind them. */
function isOpen(fd: number): boolean {
  try {
    return !readlinkSync(`/proc/self/fd/${fd}`).startsWith("anon_inode:");
  } catch {
    return false;
  }
}

function reportRefusedNames(names: readonly string[]): void {
  for (const name of names) {
    const shown = displayPath(Buffer.from(name));
    say(`${paint("yellow", "put aside")} ${shown}: a protected name was made; it is now ${shown}.refused-by-holdfast`);
  }
}
