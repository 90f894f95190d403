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

/** Says that something happened: its record where `--json` asks for one, else the lines for people; neither with `--quiet`. */
export type Tell = (record: object, ...lines: readonly string[]) => void;

/** What failed, on what, why, and what to do. Returns the exit status. */
export function reportError(error: unknown, json = false): number {
  const known = HoldfastError.is(error);
  const message =
    known || !(error instanceof Error) ? String(known ? error.message : error) : (error.stack ?? error.message);
  if (json) {
    const { code, step, hint, errno } = known ? error : { ...internal, errno: undefined };
    process.stderr.write(`${JSON.stringify({ error: { code, step, message, hint, errno } })}\n`);
  } else {
    const advice = known ? `\n  ${error.hint} ${paint("dim", `[${error.code}]`)}` : "";
    process.stderr.write(`${paint("red", "holdfast:")} ${message}${advice}\n`);
  }
  return known ? error.exitCode : 125;
}

const internal = { code: "ERR_HOLDFAST_INTERNAL", step: "exec", hint: "This should not happen: please report it." };
