import { readlinkSync } from "node:fs";
import { native } from "../native.ts";

/** How old a folder may get: it has copies of the host's files, which may change. */
const mostAgeMs = 10_000;
const mostKept = 8;

export interface HandedFolder {
  readonly fd: number;
  /** When it was made, in milliseconds of the process's clock. */
  readonly since: number;
}

const kept = new Map<string, HandedFolder>();
let isWatched = false;
let canBeTaken = true;
let isMain: boolean | undefined;

/** What a sandbox with this key handed on last, for one that is made now; null where there is none. */
export function takeHanded(key: string): HandedFolder | null {
  const folder = kept.get(key);
  if (folder === undefined) return null;
  kept.delete(key);
  if (performance.now() - folder.since <= mostAgeMs) return folder;
  native().close(folder.fd);
  return null;
}

/** Keeps what a sandbox handed on. A thread may end at any moment, and what it keeps with it would stay open. */
export function keepHanded(key: string, folder: HandedFolder): void {
  isMain ??= isMainThread();
  if (!isMain || !canBeTaken || kept.has(key) || kept.size >= mostKept) {
    native().close(folder.fd);
    return;
  }
  kept.set(key, folder);
  watch();
}

/** On a kernel that does not let one sandbox have another's: each makes its own from now on. */
export function stopHanding(): void {
  canBeTaken = false;
}

/** As node:worker_threads says, which a short run does not load. */
function isMainThread(): boolean {
  try {
    return readlinkSync("/proc/thread-self") === `${process.pid}/task/${process.pid}`;
  } catch {
    return false;
  }
}

function watch(): void {
  if (isWatched) return;
  isWatched = true;
  setTimeout(expire, mostAgeMs).unref();
}

function expire(): void {
  isWatched = false;
  const now = performance.now();
  for (const [key, { fd, since }] of kept) {
    if (now - since < mostAgeMs) continue;
    kept.delete(key);
    native().close(fd);
  }
  if (kept.size > 0) watch();
}
