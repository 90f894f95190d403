import { native } from "../native.ts";

/**
 * What a launcher that is killed would leave behind, and how it is cleared (native/init/reaper.cc):
 * a tree, a file, a cgroup, a protected name that was planted, a folder if it is empty.
 */
export type Leftover = "tree" | "file" | "cgroup" | "planted" | "folder";

const letters: Readonly<Record<Leftover, string>> = { tree: "t", file: "f", cgroup: "g", planted: "q", folder: "r" };

let control: Promise<number> | undefined;

/**
 * Hands something on disk to the reaper before it is made. The reaper is a small process of its own session that holds
 * this process's pidfd; it is started with the first thing.
 */
export async function registerLeftover(kind: Leftover, path: string): Promise<void> {
  control ??= native().startReaper();
  native().request(await control, Buffer.from(`+${letters[kind]}${path}`), null);
}

/** Takes it back, once it is cleared away properly. */
export async function forgetLeftover(kind: Leftover, path: string): Promise<void> {
  if (control === undefined) return;
  native().request(await control, Buffer.from(`-${letters[kind]}${path}`), null);
}
