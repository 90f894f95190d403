import { styleText } from "node:util";
import { HoldfastError } from "../errors.ts";

/** Whether words on standard error may be coloured (NO_COLOR, FORCE_COLOR and the terminal decide). */
export function paint(style: "red" | "yellow" | "green" | "dim" | "bold", text: string): string {
  return styleText(style, text, { stream: process.stderr });
}

/** One line of holdfast's own: everything it says goes to standard error, standard output is the program's. */
export function say(text: string): void {
  process.stderr.write(`${paint("dim", "holdfast:")} ${text}\n`);
}

/** What failed, on what, why, and what to do. Returns the exit status. */
export function reportError(error: unknown, json = false): number {
  if (HoldfastError.is(error)) {
    if (json) {
      process.stderr.write(
        `${JSON.stringify({ error: { code: error.code, step: error.step, message: error.message, hint: error.hint, errno: error.errno } })}\n`,
      );
    } else {
      process.stderr.write(
        `${paint("red", "holdfast:")} ${error.message}\n  ${error.hint} ${paint("dim", `[${error.code}]`)}\n`,
      );
    }
    return error.exitCode;
  }
  process.stderr.write(
    `${paint("red", "holdfast:")} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return 125;
}
