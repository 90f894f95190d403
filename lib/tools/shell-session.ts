import { randomUUID } from "node:crypto";
import { StringDecoder } from "node:string_decoder";
import type { Limits } from "../policy/policy.ts";
import type { SandboxLike, SandboxProcess } from "../sandbox/types.ts";
import { OutputTail } from "./output-tail.ts";
import { abortReason } from "./tool.ts";

/** Characters of output that are kept, the end marker's frame counted in. */
const OUTPUT_LIMIT = 102_400;
/** How long after the shell's exit its last output may still come, when a job it left holds the pipe open. */
const EXIT_DRAIN_MS = 200;
const CLOSE_LIMIT_MS = 5_000;
/** Two newlines and an exit status, around the marker. */
const FRAME_BYTES = 5;
// ECMA-48 control sequences: parameters, intermediates, final byte.
const ANSI_SEQUENCE = /\x1b\[[0-9;?]*[ -/]*[@-~]/g;

export interface CommandResult {
  /** Without control sequences and trailing newlines; the end of it, if it was long. */
  readonly output: string;
  readonly exitCode: number;
}

/** A command that did not come to its end; the message is its reason, for the model. */
export class ShellFailure extends Error {}

interface PendingCommand {
  readonly tail: OutputTail;
  /** Bytes that it may still print. */
  outputLeft: number;
  readonly resolve: (result: CommandResult) => void;
  readonly reject: (error: Error) => void;
}

/** One persistent bash in the sandbox. After a failed `run` it is in an unknown state and must be closed. */
export class ShellSession {
  readonly #process: SandboxProcess;
  readonly #limits: Limits;
  readonly #exited: Promise<void>;
  readonly #decoder = new StringDecoder("utf8");
  #pending: PendingCommand | null = null;
  #failure: Error | null = null;

  constructor(sandbox: SandboxLike) {
    const shell = sandbox.spawn("/bin/bash", ["--noprofile", "--norc"], {
      isSession: true,
      stdin: "pipe",
      mergeStderr: true,
      // Once it has gone it can no longer be told to end its jobs.
      killTreeOnExit: true,
      env: { TERM: "dumb", PS1: "", PS2: "" },
    });
    this.#process = shell;
    this.#limits = sandbox.limits;
    // Read on without a command too: a background job must not stall on a full pipe.
    shell.stdout?.on("data", (chunk: Buffer) => this.#receive(chunk));
    shell.stdout?.on("error", () => undefined);
    // A shell that is gone is noticed by its exit.
    shell.stdin?.on("error", () => undefined);
    this.#exited = new Promise((resolve) => {
      shell.once("exit", () => {
        setTimeout(() => this.#end(terminated(shell.limit)), EXIT_DRAIN_MS);
        resolve();
      });
      shell.once("error", (error: Error) => {
        this.#end(error);
        resolve();
      });
    });
    shell.once("close", () => this.#end(terminated(shell.limit)));
  }

  /**
   * Runs a command in the shell itself, its standard input from /dev/null, and waits for its end (not for jobs that it
   * leaves in the background).
   *
   * @throws ShellFailure when the time limit passes, the signal is aborted, or the shell goes away; what the sandbox
   * says when it cannot start a shell.
   */
  async run(command: string, timeoutMs: number, signal: AbortSignal): Promise<CommandResult> {
    if (this.#failure !== null) throw this.#failure;
    if (signal.aborted) throw new ShellFailure(abortReason(signal));
    const marker = `__HOLDFAST_${randomUUID()}_END__`;
    // The marker's frame is not the command's output.
    const outputLeft = (this.#limits.outputBytes ?? Number.POSITIVE_INFINITY) + marker.length + FRAME_BYTES;
    const result = new Promise<CommandResult>((resolve, reject) => {
      this.#pending = { tail: new OutputTail(OUTPUT_LIMIT, marker), outputLeft, resolve, reject };
    });
    const onAbort = (): void => this.#pending?.reject(new ShellFailure(abortReason(signal)));
    const which = timeoutMs === this.#limits.wallTimeMs ? ": the limit wall-time was reached" : "";
    const onTimeout = (): void =>
      this.#pending?.reject(new ShellFailure(`bash command timed out after ${timeoutMs}ms${which}`));
    signal.addEventListener("abort", onAbort, { once: true });
    const timer = setTimeout(onTimeout, timeoutMs);
    try {
      this.#process.stdin?.write(frame(command, marker));
      const ended = await result;
      // What the command went beyond ends its shell in a moment: that is for this call to tell, not for the next.
      const limit = this.#process.limitReached();
      if (limit !== null) throw new ShellFailure(`bash session terminated: the limit ${limit} was reached`);
      return ended;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      this.#pending = null;
    }
  }

  /** Kills the shell and everything that it started. */
  async close(): Promise<void> {
    this.#end(terminated(null));
    // Before its input ends: a shell that exits by itself leaves its jobs.
    this.#process.kill("SIGKILL");
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_LIMIT_MS);
    });
    // The output is nobody's any more; the input stays open until the kill is done, for the reason above.
    this.#process.stdout?.resume();
    await Promise.race([this.#exited, limit]);
    clearTimeout(timer);
    this.#process.stdin?.destroy();
    this.#process.stdout?.destroy();
  }

  #receive(chunk: Buffer): void {
    const text = this.#decoder.write(chunk);
    if (this.#pending === null) return;
    const { tail, reject, resolve } = this.#pending;
    this.#pending.outputLeft -= chunk.length;
    const end = tail.push(text);
    if (this.#pending.outputLeft < 0) {
      reject(terminated("output"));
      return;
    }
    if (end === null) return;
    const output = end.text.replace(ANSI_SEQUENCE, "").replace(/\n+$/, "");
    resolve({
      output: end.isCut ? `[output truncated]\n${output}` : output,
      exitCode: end.number,
    });
  }

  #end(failure: Error): void {
    this.#failure ??= failure;
    this.#pending?.reject(this.#failure);
  }
}

function terminated(limit: string | null): Error {
  return new ShellFailure(`bash session terminated${limit === null ? "" : `: the limit ${limit} was reached`}`);
}

/**
 * The lines that are fed to the shell. The brace group keeps the command in the shell itself; the newline before its
 * end lets the command end in a comment or a here-document. The marker is written in two parts, so that a shell that
 * echoes its input (`set -v`) does not print it whole, and its group's standard error is dropped, so that `set -x` does
 * not either. One line follows the command, as in the official tool: error messages of the shell count lines.
 */
function frame(command: string, marker: string): string {
  const split = `${marker.slice(0, 8)}''${marker.slice(8)}`;
  return `{ ${command}\n} </dev/null 2>&1; { builtin printf '\\n${split}%d\\n' $?; } 2>/dev/null\n`;
}
