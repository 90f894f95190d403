import { readdirSync, readFileSync } from "node:fs";

/** How long a count is good enough: it is of what changes, and there may be thousands to look at. */
const freshMs = 5000;

const counted = new Map<number, { readonly at: number; readonly tasks: number }>();

/** How many processes and threads a user has on this host, as RLIMIT_NPROC counts them: by the real user. */
export function userTasks(uid: number): number {
  const known = counted.get(uid);
  const now = performance.now();
  if (known !== undefined && now - known.at < freshMs) return known.tasks;
  let tasks = 0;
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const status = readFileSync(`/proc/${name}/status`, "latin1");
      if (Number(/^Uid:\t(\d+)/m.exec(status)?.[1]) === uid)
        tasks += Number(/^Threads:\t(\d+)/m.exec(status)?.[1] ?? 1);
    } catch {
      // It has ended meanwhile.
    }
  }
  counted.set(uid, { at: now, tasks });
  return tasks;
}
