import { initFile, native } from "../native.ts";

/**
 * What a launcher that is killed would leave behind, and how it is cleared (native/init/reaper.cc):
 * a tree, a file, a cgroup, a protected name that was planted, a folder if it is empty.
 */
export type Leftover = "tree" | "file" | "cgroup" | "planted" | "folder";

const letters: Readonly<Record<Leftover, string>> = { tree: "t", file: "f", cgroup: "g", planted: "q", folder: "r" };
const unused = "-";

/** Record of native/init/reaper.cc: size, kind, padding. */
const headerSize = 8;
const kindAt = 4;
/** Records are as long as a multiple of this, so that a place fits again. */
const grain = 256;

interface Place {
  readonly at: number;
  readonly size: number;
}

let list: Promise<number> | undefined;
/** Where the next record goes when no place is free. */
let end = 0;
const places = new Map<string, Place[]>();
/** Places not in use, by size: the list is as long as the most that was registered at once. */
const free = new Map<number, number[]>();

function keyOf(kind: Leftover, paths: readonly string[]): string {
  return `${letters[kind]}${paths.join("\0")}`;
}

function takePlace(size: number): Place {
  const known = free.get(size)?.pop();
  if (known !== undefined) return { at: known, size };
  const at = end;
  end += size;
  return { at, size };
}

/**
 * Puts things on disk on the reaper's list before they are made. The reaper is a small process of its own session that
 * holds this process's pidfd, and reads the list when this process is gone; it is started with the first thing.
 */
export async function registerLeftover(kind: Leftover, ...paths: readonly string[]): Promise<void> {
  list ??= native().startReaper(initFile());
  const fd = await list;
  const key = keyOf(kind, paths);
  const text = `${paths.join("\0")}\0`;
  const size = Math.ceil((headerSize + Buffer.byteLength(text)) / grain) * grain;
  const place = takePlace(size);
  const record = Buffer.alloc(size);
  record.writeUInt32LE(size, 0);
  record.write(unused, kindAt, "latin1");
  record.write(text, headerSize);
  native().write(fd, record, place.at);
  // Only now: a kill between two pages of the write above leaves a record that is not in use.
  native().write(fd, Buffer.from(letters[kind]), place.at + kindAt);
  places.set(key, [...(places.get(key) ?? []), place]);
}

/** Takes them off, once they are cleared away properly: the same things that were put on it together. */
export async function forgetLeftover(kind: Leftover, ...paths: readonly string[]): Promise<void> {
  if (list === undefined) return;
  const fd = await list;
  const key = keyOf(kind, paths);
  const known = places.get(key) ?? [];
  const place = known.pop();
  if (known.length === 0) places.delete(key);
  if (place === undefined) return;
  native().write(fd, Buffer.from(unused), place.at + kindAt);
  const others = free.get(place.size);
  if (others === undefined) free.set(place.size, [place.at]);
  else others.push(place.at);
}
