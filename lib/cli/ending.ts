import { constants } from "node:os";
import { displayPath } from "../sandbox/display-path.ts";
import type { Denial, Unreached } from "../sandbox/types.ts";
import { paint } from "./report.ts";

/** How the command ended, as `--status-fd` and `--json` tell it. */
export interface Ending {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly limit: string | null;
  readonly timedOut: boolean;
  readonly denials: readonly Denial[];
  readonly unreached: readonly Unreached[];
}

const timeoutStatus = 124;
const limitStatus = 137;

/** Signals that end a command so commonly that a shell does not mention them either. */
const unmentioned: readonly NodeJS.Signals[] = ["SIGINT", "SIGPIPE", "SIGHUP"];

/** The status that `holdfast run` exits with. */
export function exitStatus({ exitCode, signal, limit, timedOut }: Ending): number {
  if (timedOut) return timeoutStatus;
  if (limit !== null) return limitStatus;
  if (signal !== null) return 128 + constants.signals[signal];
  return exitCode ?? 125;
}

function printable(text: string): string {
  return displayPath(Buffer.from(text));
}

function timesOf(count: number): string {
  return count > 1 ? ` (${count} times)` : "";
}

/** What a person is to know: nothing when the command ended by itself with a status that only it gives. */
export function endingLines(ending: Ending): string[] {
  const lines = ending.denials.map(({ kind, subject, count, grant, detail }) => {
    const times = timesOf(count);
    const name = printable(subject);
    const what = kind === "syscall" ? `the system call ${name}` : kind === "connect" ? `a connection to ${name}` : name;
    const advice =
      grant === undefined ? (detail === undefined ? "no flag grants it" : printable(detail)) : printable(grant);
    return `${paint("yellow", "refused")} ${what}${times}; ${advice}`;
  });
  // Whoever looks for what to grant is not to look here: it was granted.
  for (const { subject, count, detail } of ending.unreached)
    lines.push(`${paint("yellow", "not reached")} ${printable(subject)}${timesOf(count)}: ${printable(detail)}`);
  const last = lastLine(ending);
  return last === undefined ? lines : [...lines, last];
}

function lastLine({ exitCode, signal, limit, timedOut }: Ending): string | undefined {
  if (limit !== null) {
    const flag = timedOut ? "--timeout D" : `--limit ${limit}=VALUE`;
    return `${paint("yellow", `the limit ${limit} was reached`)} and the command was ended; ${flag} sets it`;
  }
  if (signal !== null) return unmentioned.includes(signal) ? undefined : `the command was ended by ${signal}`;
  // The same statuses are holdfast's own or a signal's: whose it was must be plain.
  if (exitCode !== null && exitCode >= timeoutStatus) return `the command itself exited with ${exitCode}`;
  return undefined;
}
