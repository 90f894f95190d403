import { closeSync } from "node:fs";
import { native } from "../native.ts";
import { readFully } from "./content.ts";
import {
  type BytePath,
  Directory,
  deepestFolder,
  type Entry,
  errnoOf,
  joinPath,
  toBytes,
  treeTooBig,
  Walk,
} from "./directory.ts";

/** What a session made of one path. */
export interface Change {
  /** Relative to the workspace, in bytes: a name need not be UTF-8. `displayPath` makes text of it. */
  readonly path: Buffer;
  /** What was done to it. */
  readonly kind: "added" | "modified" | "deleted" | "type-changed" | "mode-changed";
  /** As it is in the real folder; null for what was added. */
  readonly before: Entry | null;
  /** As it is in the session's view; null for what was deleted. */
  readonly after: Entry | null;
  /** The real one was changed from outside while the session had its own view of it: applying would undo that. */
  readonly conflict: boolean;
}

/** Something that could not be compared, and why. It is not applied. */
export interface ChangeProblem {
  /** Relative to the workspace, in bytes. */
  readonly path: Buffer;
  /** For people. */
  readonly reason: string;
}

/** The difference between a real folder and a session's view of it. Sorted by path: folders before what lies in them. */
export interface ChangeSet {
  /** The real folder; null for a session that began with an empty one. */
  readonly lower: string | null;
  /** Where the session's files lie: an overlay's upper layer, a copy, or a folder that began empty. */
  readonly upper: string;
  /** Folders before what lies in them. */
  readonly changes: readonly Change[];
  /** What could not be compared. */
  readonly problems: readonly ChangeProblem[];
}

export interface CompareOptions {
  /** When the session's view was made, in nanoseconds since 1970: what the real folder saw later is a conflict. */
  readonly since?: bigint;
}

const whiteoutAttribute = "user.overlay.whiteout";
const opaqueAttribute = "user.overlay.opaque";
/** Layouts that `userxattr` mounts never make (overlayfs.rst): whoever made them, their files are not what they seem. */
const foreignAttributes = ["user.overlay.redirect", "user.overlay.metacopy"];

/** Called for each change with the open folder that holds what there is now; null for what was deleted. */
export type ChangeVisitor = (change: Change, path: BytePath, folder: Directory | null) => void | Promise<void>;

/** How the session's files lie. */
export interface Layers extends CompareOptions {
  readonly lower: string | null;
  readonly upper: string;
  /** The upper folder is an overlay's layer, not a whole tree. */
  readonly overlay: boolean;
  /** For copies: the copy's own clock when it was complete; what is older was not touched by the session. */
  readonly copiedAt?: bigint;
  /** For copies: the inode of each folder by its path. One that is somewhere else was moved there with all that is in it. */
  readonly copiedFolders?: ReadonlyMap<BytePath, bigint>;
}

/** What is known of a folder that bears on all below it. */
interface Above {
  /** It was deleted by the session and changed outside. */
  readonly inConflict: boolean;
  /** In a copy: it is not where it was copied to, so the times of what lies in it say nothing. */
  readonly isMoved: boolean;
}

interface Comparison extends Omit<Layers, "lower" | "upper"> {
  readonly device: bigint | undefined;
  readonly walk: Walk;
  readonly visit: ChangeVisitor;
  readonly enter: (path: BytePath) => boolean;
  readonly problems: ChangeProblem[];
  /** Folders that count only when something in them does, outermost first. */
  readonly pending: { readonly change: Change; readonly path: BytePath; readonly folder: Directory | null }[];
}

/** A list is held in memory: beyond this many changes it is refused. */
const mostChanges = 500_000;

/**
 * What an overlay's upper layer (mounted with `userxattr`) makes of its lower one. The overlay must not be mounted any
 * more. Ownership, times and extended attributes do not count as changes.
 *
 * @param lower the real folder; null for none
 */
export function listChanges(lower: string | null, upper: string, options: CompareOptions = {}): Promise<ChangeSet> {
  return collectChanges({ ...options, lower, upper, overlay: lower !== null });
}

/**
 * The difference between a folder and a copy of it that was worked on.
 *
 * @param copiedAt the change time of a file made in the copy's file system when the copy was complete (`copyTree`);
 * without it every file is read
 */
export function listChangesBetween(
  lower: string,
  copy: string,
  options: CompareOptions & Pick<Layers, "copiedAt" | "copiedFolders"> = {},
): Promise<ChangeSet> {
  return collectChanges({ ...options, lower, upper: copy, overlay: false });
}

/** @throws HoldfastError ERR_HOLDFAST_TREE_TOO_BIG beyond so many changes */
export async function collectChanges(layers: Layers, most: number = mostChanges): Promise<ChangeSet> {
  const changes: Change[] = [];
  const problems = await visitChanges(layers, (change) => {
    if (changes.length >= most) throw treeTooBig(most);
    changes.push(change);
  });
  return { lower: layers.lower, upper: layers.upper, changes, problems };
}

/**
 * As `listChanges`, one at a time.
 *
 * @param enter whether to look into a folder of this path
 * @returns what could not be compared
 */
export async function visitChanges(
  layers: Layers,
  visit: ChangeVisitor,
  enter: (path: BytePath) => boolean = () => true,
): Promise<ChangeProblem[]> {
  const { lower, upper, ...rest } = layers;
  using after = Directory.at(upper, { ours: true });
  using before = lower === null ? null : Directory.at(lower);
  const problems: ChangeProblem[] = [];
  const device = before?.own().device;
  const comparison: Comparison = { ...rest, device, walk: new Walk(), visit, enter, problems, pending: [] };
  await compareFolders(before, after, "", 0, comparison, { inConflict: false, isMoved: false });
  return problems;
}

/**
 * Whether an upper layer's entry says that the lower one's is gone: a 0:0 character device, or an empty file with an
 * attribute (overlayfs.rst, "whiteouts and opaque directories").
 */
export function isWhiteout(folder: Directory, name: BytePath, entry: Entry): boolean {
  if (entry.type === "device") return entry.deviceNumber === 0n;
  return entry.type === "file" && entry.size === 0 && native().getXattr(folder.at(name), whiteoutAttribute) !== null;
}

/** Whether an upper layer's folder hides everything in the lower one. `x` only says that whiteouts are attributes. */
export function isOpaque(folder: Directory): boolean {
  return native().getXattr(folder.self, opaqueAttribute)?.toString("latin1") === "y";
}

/** An upper layer's entry whose content lies elsewhere. */
export function isForeign(folder: Directory, name: BytePath, entry: Entry): boolean {
  if (entry.type !== "file" && entry.type !== "directory") return false;
  return foreignAttributes.some((attribute) => native().getXattr(folder.at(name), attribute) !== null);
}

async function compareFolders(
  before: Directory | null,
  after: Directory | null,
  path: BytePath,
  depth: number,
  comparison: Comparison,
  above: Above,
): Promise<void> {
  const names = new Set<BytePath>(after === null ? [] : await after.names(comparison.walk));
  // In an overlay a name that only the lower layer has is unchanged.
  if (before !== null && (after === null || !comparison.overlay || isOpaque(after))) {
    for (const name of await before.names(comparison.walk)) names.add(name);
  }
  for (const name of [...names].sort()) {
    const below = joinPath(path, name);
    try {
      await compareEntry(before, after, name, below, depth, comparison, above);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === undefined || errno.startsWith("ERR_")) throw error;
      comparison.problems.push({ path: toBytes(below), reason: reasonOf(errno) });
    }
  }
}

function reasonOf(errno: string): string {
  if (errno === "EACCES" || errno === "EPERM") return "it cannot be read";
  if (errno === "ELOOP" || errno === "ENOTDIR" || errno === "ENOENT") return "it was exchanged while it was looked at";
  return `it could not be looked at (${errno})`;
}

async function compareEntry(
  beforeFolder: Directory | null,
  afterFolder: Directory | null,
  name: BytePath,
  path: BytePath,
  depth: number,
  comparison: Comparison,
  above: Above,
): Promise<void> {
  const { overlay, since, copiedAt, copiedFolders, device, problems, pending } = comparison;
  const problem = (reason: string): void => void problems.push({ path: toBytes(path), reason });
  const before = beforeFolder?.entry(name) ?? null;
  let after = afterFolder?.entry(name) ?? null;
  if (overlay && after !== null && afterFolder !== null) {
    if (isForeign(afterFolder, name, after)) return problem("the overlay keeps it in a form that is not understood");
    if (isWhiteout(afterFolder, name, after)) after = null;
  }
  if (before === null && after === null) return;
  if (before?.type === "directory" && before.device !== device) return problem("another file system is mounted there");
  const isMoved =
    above.isMoved ||
    (copiedFolders !== undefined && after?.type === "directory" && copiedFolders.get(path) !== after.inode);
  const isUntouched = !overlay && !isMoved && copiedAt !== undefined && after !== null && after.ctimeNs < copiedAt;
  if (isUntouched && after?.type !== "directory") return; // as it was copied: what differs was done outside
  const changedOutside = before !== null && since !== undefined && before.ctimeNs > since;
  if (!overlay && before !== null && after === null) {
    // A copy has no whiteouts: what came into the real folder later was not deleted by the session.
    if (changedOutside && copiedAt !== undefined) return;
    // Left out of the copy: holdfast's own folders.
    if (before.type === "directory" && copiedFolders?.has(path) === false) return;
    if (before.type === "device" || before.type === "fifo" || before.type === "socket") return; // never copied
  }
  const conflict = above.inConflict || changedOutside;
  const kind = await kindOfChange(beforeFolder, before, afterFolder, after, name, isUntouched, comparison.walk);
  // A folder's change time also moves with what is made in it, which is no reason to keep its new mode back.
  const isOwnConflict = kind === "mode-changed" && before?.type === "directory" ? above.inConflict : conflict;
  const change = kind && { path: toBytes(path), kind, before, after, conflict: isOwnConflict };
  // A folder that was deleted outside since it was copied: a change only where the session did something in it.
  const waits = change !== null && before === null && isUntouched;
  if (change !== null) {
    pending.push({ change, path, folder: after === null ? null : afterFolder });
    if (!waits) await flush(comparison);
  }
  const beforeIsFolder = before?.type === "directory";
  const afterIsFolder = after?.type === "directory";
  if ((!beforeIsFolder && !afterIsFolder) || !comparison.enter(path)) return;
  if (depth >= deepestFolder) return problem(`it lies more than ${deepestFolder} folders deep`);
  let inner: Directory | undefined;
  try {
    if (beforeIsFolder) inner = beforeFolder?.open(name);
  } catch (error) {
    // Closed to us when it was copied, and closed in the copy ever since.
    if (isUntouched && errnoOf(error) === "EACCES") return;
    throw error;
  }
  try {
    const outer = afterIsFolder ? afterFolder?.open(name) : undefined;
    try {
      const below = { inConflict: conflict && after === null, isMoved };
      await compareFolders(inner ?? null, outer ?? null, path, depth + 1, comparison, below);
    } finally {
      outer?.close();
    }
  } finally {
    inner?.close();
  }
  if (waits && pending.at(-1)?.change === change) pending.pop();
}

/** Hands over what waited, and the change on top of it. */
async function flush({ pending, visit }: Comparison): Promise<void> {
  for (const { change, path, folder } of pending.splice(0)) await visit(change, path, folder);
}

async function kindOfChange(
  beforeFolder: Directory | null,
  before: Entry | null,
  afterFolder: Directory | null,
  after: Entry | null,
  name: BytePath,
  isUntouched: boolean,
  walk: Walk,
): Promise<Change["kind"] | null> {
  if (before === null || beforeFolder === null) return "added";
  if (after === null || afterFolder === null) return "deleted";
  if (before.type !== after.type) return "type-changed";
  switch (before.type) {
    case "link":
      return beforeFolder.readLink(name).equals(afterFolder.readLink(name)) ? null : "modified";
    case "file":
      if (before.size !== after.size || !(await sameContent(beforeFolder, afterFolder, name, walk))) {
        return "modified";
      }
      break;
    case "directory":
      if (isUntouched) return null;
      break;
    default:
      return before.deviceNumber === after.deviceNumber ? null : "modified";
  }
  return (before.mode & 0o777) === (after.mode & 0o777) ? null : "mode-changed";
}

const chunkBytes = 128 * 1024;

async function sameContent(before: Directory, after: Directory, name: BytePath, walk: Walk): Promise<boolean> {
  const one = before.openFile(name);
  try {
    const other = after.openFile(name);
    try {
      const left = Buffer.allocUnsafe(chunkBytes);
      const right = Buffer.allocUnsafe(chunkBytes);
      for (;;) {
        const read = readFully(one.fd, left);
        if (read !== readFully(other.fd, right)) return false;
        if (!left.subarray(0, read).equals(right.subarray(0, read))) return false;
        if (read < chunkBytes) return true;
        await walk.breathe();
      }
    } finally {
      closeSync(other.fd);
    }
  } finally {
    closeSync(one.fd);
  }
}
