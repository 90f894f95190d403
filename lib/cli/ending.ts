import { constants } from "node:os";
import { nameLookup, udp } from "../sandbox/denials.ts";
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

/** What is to be copied: in no quotes but its own. */
function copyable(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : printable(text);
}

function timesOf(count: number): string {
  return count > 1 ? ` (${count} times)` : "";
}

/**
 * C libraries look for names, and by UDP for the nearest of several addresses, on their way to what was granted, and do
 * without: these are told where a command failed, and nothing else says why.
 */
function isTold({ kind, subject }: Denial, { exitCode, denials, unreached }: Ending): boolean {
  const isAside = (name: string): boolean => name === udp || name === nameLookup;
  if (kind !== "connect" || !isAside(subject)) return true;
  if (exitCode === 0 || exitCode === null || unreached.length > 0) return false;
  const others = denials.filter((other) => other.kind === "connect" && other.subject !== udp);
  return others.every((other) => other.subject === nameLookup) && (subject !== udp || others.length === 0);
}

function whatOf({ kind, subject }: Denial): string {
  const name = printable(subject);
  if (kind === "syscall") return `the system call ${name}`;
  if (kind !== "connect") return name;
  if (subject === udp) return "UDP";
  const isRequest = /^[^ ]+ \/[^ ]* at /.test(subject);
  return `${isRequest ? "the request" : "a connection to"} ${name}`;
}

/** What a person is to know: nothing when the command ended by itself with a status that only it gives. */
export function endingLines(ending: Ending): string[] {
  const lines = ending.denials
    .filter((denial) => isTold(denial, ending))
    .map((denial) => {
      const { count, grant, detail } = denial;
      const times = timesOf(count);
      const what = whatOf(denial);
      const advice =
        grant === undefined ? (detail === undefined ? "no flag grants it" : printable(detail)) : copyable(grant);
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
