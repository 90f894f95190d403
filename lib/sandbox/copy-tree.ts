import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  lchownSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  promises,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { HoldfastError } from "../errors.ts";
import { type BytePath, Directory, deepestFolder, type Entry, errnoOf, joinPath, toBytes, Walk } from "./directory.ts";
import { displayPath } from "./display-path.ts";

/** How owners on disk become owners in the copy; for root only, an ordinary user's copy is his own. */
export interface OwnerMap {
  readonly from: { readonly uid: number; readonly gid: number };
  readonly to: { readonly uid: number; readonly gid: number };
}

/** Nobody's (kernel: overflowuid): whoever has the sandbox's own id on the host is not the sandbox. */
const overflowId = 65_534;

/** Bigger files are copied on Node's threads, so that nothing waits for them. */
const smallFile = 1024 * 1024;

const { COPYFILE_EXCL, COPYFILE_FICLONE } = constants;

/**
 * Copies a tree into an empty folder of our own: by reference where the file system can (FICLONE), else byte by byte.
 * Files, folders and links, with modes, times and, under root, owners; set-id bits, devices, fifos, sockets and other
 * file systems mounted in it are left out. No link is followed. What may not be read is there, empty and closed, as it
 * would be there and closed in an overlay.
 *
 * @param leftOut paths relative to the tree
 * @returns the inode of each folder of the copy by its path
 * @throws HoldfastError ERR_HOLDFAST_COPY when it cannot be completed
 */
export async function copyTree(
  from: string,
  to: string,
  owners: OwnerMap | null,
  leftOut: readonly string[] = [],
): Promise<ReadonlyMap<BytePath, bigint>> {
  using source = Directory.at(from);
  using target = Directory.at(to);
  const copy = new TreeCopy(owners, source.own().device, leftOut);
  await copy.copyFolder(source, target, "", 0);
  return copy.folders;
}

class TreeCopy {
  readonly folders = new Map<BytePath, bigint>();
  readonly #owners: OwnerMap | null;
  readonly #device: bigint;
  readonly #leftOut: ReadonlySet<BytePath>;
  readonly #walk = new Walk();

  constructor(owners: OwnerMap | null, device: bigint, leftOut: readonly string[]) {
    this.#owners = owners;
    this.#device = device;
    this.#leftOut = new Set(leftOut.map((path) => Buffer.from(path).toString("latin1")));
  }

  async copyFolder(source: Directory, target: Directory, path: BytePath, depth: number): Promise<void> {
    for (const name of await source.names(this.#walk)) {
      const entry = source.entry(name);
      if (entry === null) continue;
      const below = joinPath(path, name);
      if (this.#leftOut.has(below)) continue;
      try {
        await this.#copyEntry(source, target, name, entry, below, depth);
      } catch (error) {
        const errno = errnoOf(error);
        if (error instanceof HoldfastError || errno === undefined) throw error;
        throw copyError(below, errno, error);
      }
    }
  }

  async #copyEntry(
    source: Directory,
    target: Directory,
    name: BytePath,
    entry: Entry,
    path: BytePath,
    depth: number,
  ): Promise<void> {
    const place = target.at(name);
    let isOpen = true;
    if (entry.type === "file") {
      isOpen = await this.#copyFile(source, name, entry, place);
    } else if (entry.type === "link") {
      symlinkSync(source.readLink(name), place);
    } else if (entry.type === "directory") {
      if (depth >= deepestFolder) throw copyError(path, "ENAMETOOLONG", undefined);
      mkdirSync(place, 0o700);
      this.folders.set(path, lstatSync(place, { bigint: true }).ino);
      if (entry.device === this.#device) isOpen = await this.#copyInner(source, target, name, path, depth);
    } else {
      return;
    }
    this.#setOwner(place, entry);
    if (entry.type !== "link") chmodSync(place, isOpen ? entry.mode & 0o1777 : 0);
    lutimesSync(place, Number(entry.mtimeNs / 1000n) / 1e6, Number(entry.mtimeNs / 1000n) / 1e6);
  }

  /** False when it may not be read. */
  async #copyInner(
    source: Directory,
    target: Directory,
    name: BytePath,
    path: BytePath,
    depth: number,
  ): Promise<boolean> {
    let inner: Directory;
    try {
      inner = source.open(name);
    } catch (error) {
      if (errnoOf(error) === "EACCES") return false;
      throw error;
    }
    try {
      using made = target.open(name);
      await this.copyFolder(inner, made, path, depth + 1);
      return true;
    } finally {
      inner.close();
    }
  }

  async #copyFile(source: Directory, name: BytePath, entry: Entry, place: Buffer): Promise<boolean> {
    let fd: number;
    try {
      fd = source.openFile(name).fd;
    } catch (error) {
      if (errnoOf(error) !== "EACCES") throw error;
      closeSync(openSync(place, "wx", 0));
      return false;
    }
    try {
      // By the descriptor: its name may be a link by now.
      const opened = `/proc/self/fd/${fd}`;
      if (entry.size === 0) writeFileSync(place, "", { flag: "wx", mode: 0o600 });
      else if (entry.size <= smallFile) copyFileSync(opened, place, COPYFILE_EXCL | COPYFILE_FICLONE);
      else await promises.copyFile(opened, place, COPYFILE_EXCL | COPYFILE_FICLONE);
      return true;
    } finally {
      closeSync(fd);
    }
  }

  #setOwner(place: Buffer, entry: Entry): void {
    if (this.#owners === null) return;
    const { from, to } = this.#owners;
    const map = (id: number, one: number, other: number): number =>
      id === one ? other : id === other ? overflowId : id;
    lchownSync(place, map(entry.uid, from.uid, to.uid), map(entry.gid, from.gid, to.gid));
  }
}

function copyError(path: BytePath, errno: string, cause: unknown): HoldfastError {
  const shown = displayPath(toBytes(path));
  return new HoldfastError(`the workspace could not be copied: ${shown} (${errno})`, {
    code: "ERR_HOLDFAST_COPY",
    step: "workspace",
    path: shown,
    errno,
    hint:
      errno === "ENOSPC" || errno === "EDQUOT"
        ? "This host refuses overlay mounts, so the workspace is copied: make room in XDG_STATE_HOME, or work with --workspace direct."
        : "This host refuses overlay mounts, so the workspace is copied. Work with --workspace direct, or leave out what cannot be copied.",
    cause,
  });
}
