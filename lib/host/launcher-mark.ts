import { readFileSync, statSync } from "node:fs";

function startTime(pid: number | "self"): string | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // proc_pid_stat(5): the name in parentheses may hold anything; field 22 is the start time.
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}

let mark: string | undefined;

/** Names this process beyond the reuse of its pid: what lies on disk carries it, so that a later start can tell whose it was. */
export function launcherMark(): string {
  mark ??= `${process.pid}.${startTime("self") ?? "0"}.${pidNamespace()}`;
  return mark;
}

function pidNamespace(): string {
  return String(statSync("/proc/self/ns/pid", { throwIfNoEntry: false })?.ino ?? 0);
}

/** What a mark looks like; the pid namespace was not always in it. */
export const markPattern = "\\d+\\.\\d+(?:\\.\\d+)?";

/**
 * Whether the process that a mark names still lives, as far as can be told: of one in another pid namespace, such as a
 * container that shares this home, it cannot.
 */
export function isAlive(marked: string): boolean {
  const [pid = "", start, namespace] = marked.split(".");
  if (namespace !== undefined && namespace !== pidNamespace()) return true;
  return startTime(Number(pid)) === start;
}
