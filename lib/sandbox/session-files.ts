import { isForeign, isOpaque, isWhiteout, type Layers, visitChanges } from "./changes.ts";
import { type BytePath, Directory, deepestFolder, type Entry, joinPath, Walk } from "./directory.ts";

/** Where a session's files lie. */
export type SessionSource =
  /** Over a real folder: an overlay's upper layer, or a copy. */
  | ({ readonly kind: "layers" } & Layers)
  /** The workspace itself: in direct mode the real folder, in fresh mode the session's own. */
  | {
      readonly kind: "folder";
      readonly folder: string /** Nobody but the session could make links in it. */;
      readonly isPrivate: boolean;
    };

/** Something that is not a folder, in an open folder. */
export interface SessionFile {
  readonly folder: Directory;
  readonly name: BytePath;
  readonly path: BytePath;
  readonly entry: Entry;
  /** It lies where nobody but the session could have given it further names. */
  readonly isPrivate: boolean;
}

export type FileVisitor = (file: SessionFile) => void | Promise<void>;

/** Visits the files that a session added or changed; in a folder without a real one below it that is every file. */
export async function visitChangedFiles(
  source: SessionSource,
  visit: FileVisitor,
  enter: (path: BytePath) => boolean,
): Promise<void> {
  if (source.kind === "folder") return visitAllFiles(source, visit, enter);
  await visitChanges(
    source,
    (change, path, folder) => {
      if (folder === null || change.after === null || change.after.type === "directory") return;
      if (change.kind === "mode-changed") return;
      const name = path.slice(path.lastIndexOf("/") + 1);
      return visit({ folder, name, path, entry: change.after, isPrivate: true });
    },
    enter,
  );
}

/** Visits every file of the session's view. */
export async function visitAllFiles(
  source: SessionSource,
  visit: FileVisitor,
  enter: (path: BytePath) => boolean,
): Promise<void> {
  const walk = new Walk();
  if (source.kind === "folder") {
    using folder = Directory.at(source.folder, { ours: source.isPrivate });
    await visitFolder(
      { upper: folder, lower: null, isOverlay: false, isPrivate: source.isPrivate },
      "",
      0,
      walk,
      visit,
      enter,
    );
    return;
  }
  using upper = Directory.at(source.upper, { ours: true });
  using lower = source.overlay && source.lower !== null ? Directory.at(source.lower) : null;
  await visitFolder({ upper, lower, isOverlay: source.overlay, isPrivate: true }, "", 0, walk, visit, enter);
}

/** One folder of the view: what the upper one has, and what it lets through of the lower one. */
interface View {
  readonly upper: Directory | null;
  readonly lower: Directory | null;
  readonly isOverlay: boolean;
  readonly isPrivate: boolean;
}

async function visitFolder(
  view: View,
  path: BytePath,
  depth: number,
  walk: Walk,
  visit: FileVisitor,
  enter: (path: BytePath) => boolean,
): Promise<void> {
  const { upper, isOverlay, isPrivate } = view;
  const lower = isOverlay && upper !== null && isOpaque(upper) ? null : view.lower;
  const upperNames = new Set(upper === null ? [] : await upper.names(walk));
  const names = new Set([...upperNames, ...(lower === null ? [] : await lower.names(walk))]);
  for (const name of [...names].sort()) {
    const isUpper = upperNames.has(name);
    const folder = isUpper ? upper : lower;
    const entry = folder?.entry(name) ?? null;
    if (folder === null || entry === null) continue;
    if (isOverlay && isUpper && (isWhiteout(folder, name, entry) || isForeign(folder, name, entry))) continue;
    const below = joinPath(path, name);
    if (entry.type !== "directory") {
      await visit({ folder, name, path: below, entry, isPrivate: isPrivate && isUpper });
      continue;
    }
    if (depth >= deepestFolder || !enter(below)) continue;
    using inner = isUpper ? openIfThere(upper, name) : null;
    // The two are one folder only where the lower one has a folder there as well.
    using under = lower?.entry(name)?.type === "directory" ? openIfThere(lower, name) : null;
    if (inner === null && under === null) continue;
    await visitFolder({ ...view, upper: inner, lower: under }, below, depth + 1, walk, visit, enter);
  }
}

/** Null for a folder that may not be read, or that is none any more. */
function openIfThere(folder: Directory | null, name: BytePath): Directory | null {
  try {
    return folder?.open(name) ?? null;
  } catch {
    return null;
  }
}
