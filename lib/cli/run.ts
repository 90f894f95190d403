import type { KeyObject } from "node:crypto";
import { readlinkSync, writeSync } from "node:fs";
import type { Writable } from "node:stream";
import { HoldfastError } from "../errors.ts";
import { currentFolder } from "../host/paths.ts";
import { displayPath } from "../sandbox/display-path.ts";
import { killNetworks } from "../sandbox/network.ts";
import type { ConfinedProcess } from "../sandbox/process.ts";
import { Sandbox } from "../sandbox/sandbox.ts";
import type { Mode } from "../sandbox/types.ts";
import { type Ending, endingLines, exitStatus } from "./ending.ts";
import { JobControl } from "./job-control.ts";
import type { NetDraft } from "./net-draft.ts";
import { flushed, type Handing, hand, openOutput, outputsAreOne } from "./output.ts";
import { paint, reportError, say, type Tell } from "./report.ts";
import { ResultFile } from "./result-file.ts";
import { noRunOptions, parseRunOptions, type RunOptions, runUsage } from "./run-options.ts";
import { runPolicy } from "./run-policy.ts";
import { TerminalRelay, wantedPty } from "./terminal.ts";
import { usageError } from "./usage.ts";

/** How long what a command printed before a limit ended it may wait for a reader that does not read. */
const lastWordsMs = 1000;

/** `holdfast run`: returns the exit status. */
export async function run(args: readonly string[]): Promise<number> {
  const options = noRunOptions();
  let status: (line: object) => void = () => {};
  let patch: ResultFile | undefined;
  let draft: NetDraft | undefined;
  let receipt: ResultFile | undefined;
  try {
    try {
      parseRunOptions(args, options);
    } finally {
      status = statusWriter(options.statusFd);
    }
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
    const tell = teller(options);
    // Where there is a network; the command's own otherwise.
    let cutsOff = true;
    process.on("SIGUSR1", () => {
      if (!cutsOff) return;
      const killed = { event: "network-killed", connections: killNetworks() };
      status(killed);
      tell(killed, `${paint("red", "the network was killed")} (SIGUSR1): ${killed.connections} connections reset`);
    });
    const policy = await runPolicy(options);
    if (options.diff !== undefined)
      patch = await ResultFile.open(options.diff, (await import("./overlay.ts")).patchFile);
    if (policy.networkMode === "log") draft = await (await import("./net-draft.ts")).NetDraft.begin(options, policy);
    const workdir = options.workdir ?? currentFolder();
    let receiptKey: KeyObject | undefined;
    if (options.receipt !== undefined) {
      const keys = await import("./receipt-key.ts");
      receiptKey = keys.receiptKey(options.receiptKey, workdir, policy);
      receipt = await ResultFile.open(options.receipt, keys.receiptFile);
    }
    const sandbox = await Sandbox.create(
      {
        policy,
        workdir,
        ...(receiptKey === undefined ? {} : { receiptKey }),
        proxyEnv: options.proxyEnv,
        ...(options.name === undefined ? {} : { name: options.name }),
        ...askedMode(options.mode),
      },
      { traceOpens: options.traceDenials },
    );
    cutsOff = hasNetwork(sandbox, options);
    const { hostUid: uid, hostGid: gid, drop } = sandbox.plan.identity;
    const dropped = drop && process.stderr.isTTY ? [`started by root: the sandbox runs as uid ${uid}`] : [];
    const { name, mode, enforcement } = sandbox;
    const chosen =
      mode === "landlock" && options.mode === undefined
        ? ["this host refuses user namespaces: Landlock, the filter and the broker hold it alone (docs/hosts.md)"]
        : [];
    const beginning = { event: "sandbox", name, mode, uid, gid, enforcement };
    status(beginning);
    const logged = draft === undefined ? [] : ["every connection is permitted, and kept for a policy (--net log)"];
    tell(beginning, ...chosen, ...dropped, ...logged);
    try {
      if (options.publish.length > 0) {
        await (await import("./run-publish.ts")).publish(sandbox, options.publish, { status, tell });
      }
      const code = await follow(sandbox, options, { status, tell, patch });
      await draft?.finish(sandbox, { status, tell });
      return code;
    } finally {
      try {
        await sandbox.dispose();
      } finally {
        for (const name of sandbox.refusedNames) {
          const path = displayPath(Buffer.from(name));
          const now = `${path}.refused-by-holdfast`;
          const record = { event: "put-aside", path, now };
          status(record);
          tell(record, `${paint("yellow", "put aside")} ${path}: a protected name was made; it is now ${now}`);
        }
        if (sandbox.receipt !== null) await receipt?.write([`${JSON.stringify(sandbox.receipt)}\n`]);
      }
    }
  } catch (error) {
    const known = HoldfastError.is(error);
    status({
      event: "failed",
      status: known ? error.exitCode : 125,
      code: known ? error.code : "ERR_HOLDFAST_INTERNAL",
      message: error instanceof Error ? error.message : String(error),
    });
    return reportError(error, options.json);
  } finally {
    await patch?.close();
    await draft?.close();
    await receipt?.close();
  }
}

function askedMode(mode: string | undefined): { mode?: Mode } {
  if (mode === undefined || mode === "namespaces" || mode === "landlock") return mode === undefined ? {} : { mode };
  throw usageError(`--mode ${mode}: there is no such mode`, "Write --mode namespaces or --mode landlock.");
}

/** Whether there is something that SIGUSR1 can cut off. */
function hasNetwork({ plan }: Sandbox, { publish }: RunOptions): boolean {
  return plan.egress !== null || publish.length > 0;
}

function teller({ quiet, json }: RunOptions): Tell {
  return (record, ...lines) => {
    if (quiet) return;
    if (json) process.stderr.write(`${JSON.stringify(record)}\n`);
    else for (const line of lines) say(line);
  };
}

/** To whom it is told what happens: `--status-fd`, people or `--json`, `--diff`. */
export interface Told {
  readonly status: (line: object) => void;
  readonly tell: Tell;
  readonly patch: ResultFile | undefined;
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

async function follow(sandbox: Sandbox, options: RunOptions, told: Told): Promise<number> {
  const { status, tell } = told;
  const [file = "", ...args] = options.command;
  const pty = wantedPty();
  const { limits } = sandbox.policy;
  const child = sandbox.start(file, args, {
    stdin: "pipe",
    mergeStderr: pty === undefined && outputsAreOne(),
    umask: process.umask(),
    ...(pty === undefined ? {} : { pty }),
    wallTimeMs: limits.wallTimeMs,
  });
  const { admit } = new OutputBudget(child, limits.outputBytes);
  const jobs = new JobControl(child, hasNetwork(sandbox, options));
  const outputs: Writable[] = [];
  const ended: Promise<void>[] = [];
  const readOn: (() => void)[] = [];
  let unwritten: { readonly place: 1 | 2; readonly errno: string } | undefined;
  relayInput(child);
  for (const place of [1, 2] as const) {
    const from = place === 1 ? child.stdout : child.stderr;
    if (from === null) continue;
    const to = openOutput(place);
    const failed: Handing["failed"] = (error) => {
      // Whoever read our output is gone: the command hears of it as it would in a plain pipeline.
      from.destroy();
      if (error.code !== "EPIPE") unwritten ??= { place, errno: error.code ?? error.message };
    };
    readOn.push(hand(from, to, { admit, failed }));
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
        readOn.push(jobs.relay.readOn);
      });
      child.once("exit", () => resolve());
    });
    const denials = sandbox.takeDenials();
    const unreached = sandbox.takeUnreached();
    // Whatever it left running ends with it. What it printed last counts for the limit `output`, so it is read now.
    const allRead = sandbox.end().then(() => {
      for (const read of readOn) read();
      return Promise.all(ended);
    });
    await Promise.race([allRead, jobs.dismissed]);
    const { exitCode, signalCode: signal, timedOut } = child;
    const ending: Ending = { exitCode, signal, limit: child.limit, timedOut, denials, unreached };
    const code = (): number => {
      const own = exitStatus(ending);
      return own === 0 && unwritten !== undefined ? 125 : own;
    };
    const record = (): object => ({ event: "exited", status: code(), ...ending });
    status(record());
    const lastWords = allRead.then(() => Promise.all(outputs.map(flushed)));
    await Promise.race([lastWords, jobs.dismissed, ...(ending.limit === null ? [] : [grace()])]);
    await sandbox.end();
    jobs.relay?.close();
    if (unwritten !== undefined) {
      const { place, errno } = unwritten;
      const lost = { event: "output-lost", descriptor: place, errno };
      status(lost);
      tell(lost, `standard ${place === 1 ? "output" : "error"} could not be written (${errno})`);
    }
    tell(record(), ...endingLines(ending));
    if (!options.overlay) return code();
    const { finishOverlay } = await import("./overlay.ts");
    return await finishOverlay(sandbox, options, code(), told, jobs.dismissed);
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
