/**
 * Files by descriptors. A path is never walked twice: each step goes from an open folder to a name in it, through
 * /proc/self/fd, without following links, so that a link that is put in meanwhile is met as the link that it is.
 *
 * Names are bytes, and are carried in strings of one character a byte ("latin1"), so that a name that is not UTF-8
 * can be opened as well.
 */
import {
  closeSync,
  constants,
  type Dirent,
  fstatSync,
  lstatSync,
  opendirSync,
  openSync,
  readdirSync,
  readlinkSync,
  type Stats,
} from "node:fs";

const { O_DIRECTORY, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** fcntl.h of x86-64 and arm64; not among Node's constants. */
const O_PATH = 0o10000000;
/** path_resolution(7): the kernel's own bound. */
const MAX_LINKS = 40;

export class Unresolved extends Error {
  readonly errno: string;

  constructor(errno: string) {
    super(errno);
    this.errno = errno;
  }
}

export function toBytes(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** Bad bytes become U+FFFD. */
export function toText(bytes: string): string {
  return Buffer.from(bytes, "latin1").toString("utf8");
}

export function join(folder: string, name: string): string {
  return folder.endsWith("/") ? folder + name : `${folder}/${name}`;
}

/** The path of a name in an open folder. */
export function at(folder: number, name: string): Buffer {
  return Buffer.from(`/proc/self/fd/${folder}/${name}`, "latin1");
}

export function openFolder(path: Buffer): number {
  return openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
}

/** Opens a regular file; null for anything else, which is not waited for, read, or made a controlling terminal. */
export function openFile(path: Buffer): number | null {
  const before = lstatSync(path);
  if (!before.isFile()) return null;
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  return null;
}

export interface Place {
  /** Free of links, absolute. */
  readonly path: string;
  /** What is there; null when nothing is. */
  readonly stats: Stats | null;
  /** The folder that holds it, for `at(parent, name)`; the caller closes it. */
  readonly parent: number;
  /** "." when the place is the folder itself. */
  readonly name: string;
}

/** One name of a path that has been followed: an open folder, or (null) something in which no name can be. */
interface Step {
  readonly name: string;
  readonly folder: number | null;
  readonly stats: Stats | null;
}

/**
 * Follows a path to its end, every link included. In what does not exist there are no links, so that the rest of such a
 * path is taken as it is.
 *
 * @param path Absolute.
 * @throws Unresolved
 */
export function resolve(path: string): Place {
  const rootFolder = openSync("/", O_PATH | O_DIRECTORY);
  const steps: Step[] = [{ name: "", folder: rootFolder, stats: fstatSync(rootFolder) }];
  const leave = (count: number): void => {
    for (const { folder } of steps.splice(count)) if (folder !== null) closeSync(folder);
  };
  const todo = path.split("/").reverse();
  let links = 0;

  try {
    for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
      if (name === "" || name === ".") continue;
      if (name === "..") {
        leave(Math.max(1, steps.length - 1));
        continue;
      }
      const folder = steps.at(-1)?.folder ?? null;
      const stats = folder === null ? null : lookUp(folder, name);
      if (folder !== null && stats?.isSymbolicLink()) {
        if (++links > MAX_LINKS) throw new Unresolved("ELOOP");
        const target = readlinkSync(at(folder, name), "latin1");
        if (target.startsWith("/")) leave(1);
        todo.push(...target.split("/").reverse());
      } else {
        const opened =
          folder !== null && stats?.isDirectory()
            ? openSync(at(folder, name), O_PATH | O_DIRECTORY | O_NOFOLLOW)
            : null;
        steps.push({ name, folder: opened, stats });
      }
    }
    return placeOf(steps);
  } catch (error) {
    leave(0);
    throw error instanceof Unresolved ? error : new Unresolved(errnoOf(error));
  }
}

/** Closes every folder but the one that the place is given by. */
function placeOf(steps: readonly Step[]): Place {
  const last = steps.at(-1);
  const parent = steps.findLast((step) => step.folder !== null)?.folder ?? -1;
  for (const { folder } of steps) if (folder !== null && folder !== parent) closeSync(folder);
  const path = `/${steps
    .map((step) => step.name)
    .slice(1)
    .join("/")}`;
  return { path, stats: last?.stats ?? null, parent, name: last?.folder === null ? last.name : "." };
}

function lookUp(folder: number, name: string): Stats | null {
  try {
    return lstatSync(at(folder, name));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === "ENOENT" || errno === "ENOTDIR") return null;
    throw error;
  }
}

export function errnoOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "EIO";
}

/** True when a path that is free of links is the root or below it. */
export function isWithin(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith("/") ? root : `${root}/`);
}

export interface Entry {
  readonly name: string;
  readonly kind: "folder" | "file" | "link" | "other";
}

/** Listed of one folder at most: a bound on memory. */
const MAX_LISTED = 500_000;

/** The entries of an open folder, in no order. */
export function entriesOf(folder: number): Entry[] {
  const path = `/proc/self/fd/${folder}`;
  try {
    return listedEntries(path);
  } catch {
    // A file system that does not tell types: Node then asks for each by name, which fails for names that are not ASCII.
    return readdirSync(path, "latin1").flatMap((name) => {
      const stats = lookUp(folder, name);
      return stats === null ? [] : [{ name, kind: kindOf(stats) }];
    });
  }
}

function listedEntries(path: string): Entry[] {
  const listing = opendirSync(path, { encoding: "latin1", bufferSize: 256 });
  try {
    const entries: Entry[] = [];
    for (let entry = listing.readSync(); entry !== null && entries.length < MAX_LISTED; entry = listing.readSync()) {
      entries.push({ name: entry.name, kind: kindOf(entry) });
    }
    return entries;
  } finally {
    listing.closeSync();
  }
}

function kindOf(entry: Stats | Dirent): Entry["kind"] {
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "folder";
  return entry.isSymbolicLink() ? "link" : "other";
}
