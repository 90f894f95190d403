import {
  type BigIntStats,
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  opendirSync,
  openSync,
  readdirSync,
  readlinkSync,
} from "node:fs";
import { HoldfastError } from "../errors.ts";

/** linux/fcntl.h; the same number on every architecture that we run on. Node does not export it. */
const O_PATH = 0o10000000;
const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY, O_RDONLY } = constants;

/** What a name stands for. */
export type EntryType = "file" | "directory" | "link" | "fifo" | "socket" | "device";

/** What lstat(2) says of a name. */
export interface Entry {
  /** What it is. */
  readonly type: EntryType;
  /** Permission bits with set-id and sticky, 0 to 0o7777. */
  readonly mode: number;
  /** Its owner on disk. */
  readonly uid: number;
  /** Its group on disk. */
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
  /** When its content was changed, in nanoseconds since 1970. */
  readonly mtimeNs: bigint;
  /** When anything of it was changed. */
  readonly ctimeNs: bigint;
  /** The file system it lies on. */
  readonly device: bigint;
  /** Its number there. */
  readonly inode: bigint;
  /** How many names the inode has. */
  readonly names: number;
  /** Which device a device node stands for. */
  readonly deviceNumber: bigint;
}

/** Folders deeper than this are refused: every level that is being looked at costs descriptors. */
export const deepestFolder = 256;

function typeOf(status: BigIntStats): EntryType {
  if (status.isFile()) return "file";
  if (status.isDirectory()) return "directory";
  if (status.isSymbolicLink()) return "link";
  if (status.isFIFO()) return "fifo";
  if (status.isSocket()) return "socket";
  return "device";
}

export function entryOf(status: BigIntStats): Entry {
  return {
    type: typeOf(status),
    mode: Number(status.mode) & 0o7777,
    uid: Number(status.uid),
    gid: Number(status.gid),
    size: Number(status.size),
    mtimeNs: status.mtimeNs,
    ctimeNs: status.ctimeNs,
    device: status.dev,
    inode: status.ino,
    names: Number(status.nlink),
    deviceNumber: status.rdev,
  };
}

/** The errno's name of a failed call of node:fs. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/**
 * A path as one character per byte (latin1), which keeps every name that the kernel permits, UTF-8 or not, and sorts
 * like its bytes. Used inside; the outside gets Buffers.
 */
export type BytePath = string;

export function toBytes(path: BytePath): Buffer {
  return Buffer.from(path, "latin1");
}

export function joinPath(folder: BytePath, name: BytePath): BytePath {
  return folder === "" ? name : `${folder}/${name}`;
}

/** Not what lstat(2) had seen: somebody put something else in its place. */
function exchanged(): Error {
  return Object.assign(new Error("exchanged while it was looked at"), { code: "ELOOP" });
}

export function treeTooBig(most: number): HoldfastError {
  return new HoldfastError(`there are more than ${most} files and folders to look at`, {
    code: "ERR_HOLDFAST_TREE_TOO_BIG",
    step: "workspace",
    hint: "Name a smaller workspace with --workdir.",
  });
}

/**
 * Lets others have the event loop in between, and bounds how much is looked at: a session can make millions of names.
 */
export class Walk {
  readonly #most: number;
  #seen = 0;
  #since = performance.now();

  constructor(mostEntries = 2_000_000) {
    this.#most = mostEntries;
  }

  /** One name more. @throws HoldfastError ERR_HOLDFAST_TREE_TOO_BIG */
  async step(): Promise<void> {
    this.#seen++;
    if (this.#seen > this.#most) throw treeTooBig(this.#most);
    if (this.#seen % 64 === 0) await this.breathe();
  }

  async breathe(): Promise<void> {
    if (performance.now() - this.#since < 8) return;
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#since = performance.now();
  }
}

/**
 * An open folder. Its names are reached through its descriptor (/proc/self/fd), so no component above can be exchanged
 * meanwhile, and no link is ever followed. What calls these functions may race with a sandbox that writes the tree.
 */
export class Directory {
  readonly fd: number;
  /** Files and folders whose mode keeps their owner out are opened all the same: set for trees of our own. */
  readonly #ours: boolean;
  #closed = false;
  #modeToRestore: number | undefined;

  private constructor(fd: number, ours: boolean, modeToRestore?: number) {
    this.fd = fd;
    this.#ours = ours;
    this.#modeToRestore = modeToRestore;
  }

  /** Opens a folder of the host by a path that is trusted, links above it included; itself it may not be a link. */
  static at(path: string, { ours = false }: { ours?: boolean } = {}): Directory {
    const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    const itself = openSync(path, O_PATH | O_DIRECTORY | O_NOFOLLOW);
    try {
      const link = `/proc/self/fd/${itself}`;
      const mode = Number(fstatSync(itself).mode) & 0o7777;
      const isShut = ours && (mode & 0o500) !== 0o500 && process.geteuid?.() !== 0;
      if (isShut) chmodSync(link, mode | 0o700);
      return new Directory(openSync(link, flags & ~O_NOFOLLOW), ours, isShut ? mode : undefined);
    } finally {
      closeSync(itself);
    }
  }

  /** The name for another call: resolved by the kernel from this descriptor. */
  at(name: BytePath): Buffer {
    if (name === "" || name === "." || name === ".." || name.includes("/") || name.includes("\0")) {
      throw new TypeError(`not the name of an entry: ${JSON.stringify(name)}`);
    }
    return Buffer.concat([Buffer.from(`/proc/self/fd/${this.fd}/`), toBytes(name)]);
  }

  /** A text path of the folder itself, for calls that take no Buffer. */
  get self(): string {
    return `/proc/self/fd/${this.fd}/.`;
  }

  /** What is there under this name; null when nothing is. */
  entry(name: BytePath): Entry | null {
    const status = lstatSync(this.at(name), { bigint: true, throwIfNoEntry: false });
    return status === undefined ? null : entryOf(status);
  }

  /** This folder's own entry. */
  own(): Entry {
    const own = entryOf(fstatSync(this.fd, { bigint: true }));
    return this.#modeToRestore === undefined ? own : { ...own, mode: this.#modeToRestore };
  }

  /** All names in it, in the order of their bytes. */
  async names(walk: Walk): Promise<BytePath[]> {
    const found: BytePath[] = [];
    // The types know no Buffer names for a stream of entries, Node does.
    const options = { encoding: "buffer" as BufferEncoding, bufferSize: 256 };
    const stream = opendirSync(`/proc/self/fd/${this.fd}`, options);
    try {
      for (let next = stream.readSync(); next !== null; next = stream.readSync()) {
        await walk.step();
        found.push((next.name as unknown as Buffer).toString("latin1"));
      }
    } finally {
      stream.closeSync();
    }
    return found.sort();
  }

  /** As `names`, at once and without a bound: for what is to be removed whatever it is. */
  namesNow(): BytePath[] {
    return readdirSync(`/proc/self/fd/${this.fd}`, { encoding: "buffer" }).map((name) => name.toString("latin1"));
  }

  /** The folder of this name. @throws ENOTDIR or ELOOP for anything else */
  open(name: BytePath): Directory {
    const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
    try {
      return new Directory(openSync(this.at(name), flags), this.#ours);
    } catch (error) {
      if (!this.#ours || errnoOf(error) !== "EACCES") throw error;
    }
    // Names below are looked up through this descriptor, so the mode stays until it is closed.
    const mode = this.#letIn(name, 0o700);
    return new Directory(openSync(this.at(name), flags), this.#ours, mode);
  }

  /**
   * Opens a regular file for reading.
   * @throws with the errno of open(2); ELOOP when it is something else by now
   */
  openFile(name: BytePath): { fd: number; entry: Entry } {
    // O_NONBLOCK: a fifo that took the file's place must not hold us up.
    const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    let fd: number;
    let modeBefore: number | undefined;
    try {
      fd = openSync(this.at(name), flags);
    } catch (error) {
      if (!this.#ours || errnoOf(error) !== "EACCES") throw error;
      modeBefore = this.#letIn(name, 0o600);
      fd = openSync(this.at(name), flags);
      fchmodSync(fd, modeBefore);
    }
    const entry = entryOf(fstatSync(fd, { bigint: true }));
    if (entry.type !== "file") {
      closeSync(fd);
      throw exchanged();
    }
    return { fd, entry };
  }

  readLink(name: BytePath): Buffer {
    return readlinkSync(this.at(name), { encoding: "buffer" });
  }

  /** Changes permission bits without following a link; needs no right to read. */
  changeMode(name: BytePath, mode: number, expected?: Entry): void {
    const fd = openSync(this.at(name), O_PATH | O_NOFOLLOW);
    try {
      const entry = entryOf(fstatSync(fd, { bigint: true }));
      if (entry.type === "link" || (expected !== undefined && entry.inode !== expected.inode)) {
        throw exchanged();
      }
      chmodSync(`/proc/self/fd/${fd}`, mode);
    } finally {
      closeSync(fd);
    }
  }

  /** Gives the owner a way in; returns the mode that was. */
  #letIn(name: BytePath, bits: number): number {
    const entry = this.entry(name);
    if (entry === null || (entry.type !== "file" && entry.type !== "directory")) {
      throw exchanged();
    }
    this.changeMode(name, (entry.mode & 0o777) | bits, entry);
    return entry.mode;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      if (this.#modeToRestore !== undefined) fchmodSync(this.fd, this.#modeToRestore);
    } finally {
      closeSync(this.fd);
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * The folders on the way to one path, kept open for the next: sorted paths share most of them. `reach` opens them one
 * by one, no link followed.
 */
export class DirectoryChain {
  readonly #root: Directory;
  #parts: BytePath[] = [];
  #open: Directory[] = [];

  constructor(root: Directory) {
    this.#root = root;
  }

  /** The folder at this path relative to the root; it stays the chain's to close. */
  reach(path: BytePath): Directory {
    const parts = path === "" ? [] : path.split("/");
    if (parts.length > deepestFolder) {
      throw Object.assign(new Error(`more than ${deepestFolder} folders deep`), { code: "ENAMETOOLONG" });
    }
    let shared = 0;
    while (shared < parts.length && shared < this.#parts.length && parts[shared] === this.#parts[shared]) shared++;
    this.#cut(shared);
    let at = this.#open.at(-1) ?? this.#root;
    for (const part of parts.slice(shared)) {
      at = at.open(part);
      this.#parts.push(part);
      this.#open.push(at);
    }
    return at;
  }

  #cut(length: number): void {
    while (this.#open.length > length) {
      this.#parts.pop();
      this.#open.pop()?.close();
    }
  }

  /** Forgets what is open: a folder may have been exchanged by the caller itself. */
  close(): void {
    this.#cut(0);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export function parentOf(path: BytePath): BytePath {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

export function nameOf(path: BytePath): BytePath {
  return path.slice(path.lastIndexOf("/") + 1);
}
