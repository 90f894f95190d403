import { styleText } from "node:util";
import { type DestinationStream, type Logger, pino } from "pino";
import type { Redactor } from "./credentials.ts";

/** Fields of one line: names and numbers, never inputs or results. */
export type LogFields = Readonly<Record<string, unknown>>;

/** What the worker says: one line for a claim, a call, a refusal, an end. */
export interface WorkerLog {
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

const styles = { info: "green", warn: "yellow", error: "red" } as const;

/** JSON lines (pino), or a line for people; every line passes the redactor. */
export function createLog(format: "text" | "json", redactor: Redactor): WorkerLog {
  if (format === "json") {
    const sink: DestinationStream = { write: (line) => void process.stdout.write(redactor.redact(line)) };
    const logger: Logger = pino({ base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, sink);
    return logger;
  }
  const line = (level: keyof typeof styles) => (fields: LogFields, message: string) => {
    const time = new Date().toISOString().slice(11, 19);
    const mark = styleText(styles[level], level === "info" ? "·" : "!", { stream: process.stdout });
    const rest = Object.entries(fields)
      .filter(([, value]) => value !== undefined && value !== null)
      .map(([name, value]) => `${name}=${showValue(value)}`)
      .join(" ");
    process.stdout.write(redactor.redact(`${time} ${mark} ${printable(message)}${rest === "" ? "" : `  ${rest}`}\n`));
  };
  return { info: line("info"), warn: line("warn"), error: line("error") };
}

/** Names and paths come from a session: what could steer a terminal or end a line is shown by its number. */
function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

function showValue(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "");
  return printable(typeof value === "string" && /[\s"]/.test(text) ? JSON.stringify(text) : text);
}
