import { constants } from "node:os";
import { HoldfastError } from "../errors.ts";
import { displayPath } from "./display-path.ts";
import type { ExecResult } from "./types.ts";

/** What `exec` with `reject` rejects with when the program failed: its message says how, `result` has all of it. */
export class ExecError extends HoldfastError {
  /** How the program ended, as `exec` resolves with it. */
  readonly result: ExecResult;

  constructor(file: string, result: ExecResult) {
    const { exitCode, signal, cause } = result;
    super(`${displayPath(Buffer.from(file))} ${ending(result)}`, {
      code: "ERR_HOLDFAST_COMMAND_FAILED",
      step: "exec",
      exitCode: exitCode ?? (signal === null ? 125 : 128 + constants.signals[signal]),
      hint: "See result.stderr; result.denials has what was refused meanwhile.",
      ...(cause === undefined ? {} : { cause }),
    });
    this.result = result;
  }
}

function ending({ exitCode, signal, limit, timedOut, isCanceled }: ExecResult): string {
  if (limit !== null) return `reached the limit ${limit}`;
  if (timedOut) return "took longer than its timeout";
  if (isCanceled) return "was canceled";
  return signal === null ? `ended with status ${exitCode}` : `was ended by ${signal}`;
}
