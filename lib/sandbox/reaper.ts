import { native } from "../native.ts";

/**
 * What a launcher that is killed would leave behind, and how it is cleared (native/init/reaper.cc):
 * a tree, a file, a cgroup, a protected name that was planted, a folder if it is empty.
 */
export type Leftover = "tree" | "file" | "cgroup" | "planted" | "folder";

const letters: Readonly<Record<Leftover, string>> = { tree: "t", file: "f", cgroup: "g", planted: "q", folder: "r" };

let control: Promise<number> | undefined;

/** A packet must fit the socket's send buffer and the reaper's. */
const packetSize = 64 * 1024;

async function send(sign: "+" | "-", kind: Leftover, paths: readonly string[]): Promise<void> {
  control ??= native().startReaper();
  const to = await control;
  let packet = "";
  for (const path of paths) {
    packet += `${sign}${letters[kind]}${path}\0`;
    if (packet.length < packetSize / 4) continue;
    native().request(to, Buffer.from(packet), null);
    packet = "";
  }
  if (packet !== "") native().request(to, Buffer.from(packet), null);
}

/**
 * Hands things on disk to the reaper before they are made. The reaper is a small process of its own session that holds
 * this process's pidfd; it is started with the first thing.
 */
export function registerLeftover(kind: Leftover, ...paths: readonly string[]): Promise<void> {
  return send("+", kind, paths);
}

/** Takes them back, once they are cleared away properly. */
export async function forgetLeftover(kind: Leftover, ...paths: readonly string[]): Promise<void> {
  if (control !== undefined) await send("-", kind, paths);
}
