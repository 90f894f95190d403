import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
} from "node:fs";
import { HoldfastError } from "../errors.ts";
import type { Change, ChangeSet } from "./changes.ts";
import { copyContent, discard, temporaryName } from "./content.ts";
import { type BytePath, Directory, DirectoryChain, type Entry, errnoOf, nameOf, parentOf, Walk } from "./directory.ts";
import { displayPath } from "./display-path.ts";
import { isHarmlessGitConfig } from "./git-settings.ts";
import { matchProtected } from "./protected-match.ts";

/** How changes are carried over. */
export interface ApplyOptions {
  /** The real folder; the change set's `lower` unless given (a workspace that began empty has none). */
  readonly to?: string;
  /** Names that are never written (`ungranted(policy, folder)`). */
  readonly protectedNames: readonly string[];
  /** Applied by root: who owns what is made, else this process's own ids. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** Applies also what was changed outside meanwhile, over it. */
  readonly overConflicts?: boolean;
}

/** Why a change was kept back. */
export type RefusalReason =
  /** Under a protected name, or it would lead one elsewhere. */
  | "protected"
  /** A device, fifo or socket. */
  | "special"
  /** The real one was changed outside since the session began, or since the changes were listed. */
  | "conflict"
  /** A folder that stays because something in it does. */
  | "not-empty";

/** What became of each change. */
export interface ApplyResult {
  /** What is done. */
  readonly applied: readonly Change[];
  /** Of the regular files among these, SHA-256 of what was written, in hexadecimal. */
  readonly hashes: ReadonlyMap<Change, string>;
  /** What was kept back by rule. */
  readonly refused: readonly { readonly change: Change; readonly reason: RefusalReason; readonly detail: string }[];
  /** What should have worked and did not; nothing of it was done. */
  readonly errors: readonly { readonly change: Change; readonly error: HoldfastError }[];
}

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;

class Refused extends Error {
  readonly reason: RefusalReason;
  constructor(reason: RefusalReason, detail: string) {
    super(detail);
    this.reason = reason;
  }
}

/**
 * Makes the changes in the real folder. Each file is written beside its place and renamed into it, so it is there whole
 * or not at all; no link is followed, on either side; set-id bits are dropped. A change that fails does not stop the
 * others. Hard links, access lists and extended attributes of replaced files are not kept.
 *
 * @param set from a sandbox that has ended
 * @throws HoldfastError ERR_HOLDFAST_APPLY when there is no folder to apply to
 */
export async function applyChanges(set: ChangeSet, options: ApplyOptions): Promise<ApplyResult> {
  const to = options.to ?? set.lower;
  if (to === null) {
    throw new HoldfastError("these changes have no folder to be applied to", {
      code: "ERR_HOLDFAST_APPLY",
      step: "workspace",
      hint: "Name the folder: applyChanges(set, { to, … }).",
    });
  }
  using upper = Directory.at(set.upper, { ours: true });
  using real = Directory.at(to);
  using application = new Application(upper, real, options);
  // Awaited here: `using` closes what it holds when the function returns.
  return await application.run(set.changes);
}

class Application {
  readonly #upper: DirectoryChain;
  readonly #real: DirectoryChain;
  readonly #options: ApplyOptions;
  readonly #walk = new Walk(Number.POSITIVE_INFINITY);
  readonly #applied: Change[] = [];
  readonly #hashes = new Map<Change, string>();
  readonly #refused: { change: Change; reason: RefusalReason; detail: string }[] = [];
  readonly #errors: { change: Change; error: HoldfastError }[] = [];
  /** Folders above something that was kept back: they cannot go. */
  readonly #kept = new Set<BytePath>();
  /** Modes of folders, set when all in them is done: a folder that may not be written must still be filled. */
  readonly #folderModes: { change: Change; path: BytePath }[] = [];

  constructor(upper: Directory, real: Directory, options: ApplyOptions) {
    this.#upper = new DirectoryChain(upper);
    this.#real = new DirectoryChain(real);
    this.#options = options;
  }

  [Symbol.dispose](): void {
    this.#upper.close();
    this.#real.close();
  }

  async run(changes: readonly Change[]): Promise<ApplyResult> {
    for (const change of changes) this.#letIn(change);
    // What goes, deepest first; then what comes, folders before what lies in them; folders' modes last, deepest first.
    for (const change of changes.toReversed()) {
      if (change.kind === "deleted") await this.#attempt(change, (path) => this.#delete(change, path));
    }
    for (const change of changes) {
      if (change.kind !== "deleted") await this.#attempt(change, (path) => this.#make(change, path));
    }
    for (const { change, path } of this.#folderModes.reverse()) {
      await this.#attempt(change, (at) => this.#setFolderMode(change, at), path);
    }
    return { applied: this.#applied, hashes: this.#hashes, refused: this.#refused, errors: this.#errors };
  }

  /** A folder that the session made writable is needed so from the start. */
  #letIn(change: Change): void {
    if (change.kind !== "mode-changed" || change.before?.type !== "directory" || change.after === null) return;
    if ((change.after.mode & ~change.before.mode & 0o700) === 0) return;
    const path = change.path.toString("latin1");
    try {
      this.#judge(change, path);
      const folder = this.#real.reach(parentOf(path));
      folder.changeMode(nameOf(path), change.before.mode | (change.after.mode & 0o700), change.before);
    } catch {
      // Said when its turn comes.
    }
  }

  async #attempt(change: Change, act: (path: BytePath) => Promise<boolean> | boolean, known?: BytePath): Promise<void> {
    const path = known ?? change.path.toString("latin1");
    await this.#walk.step();
    try {
      if (await act(path)) this.#applied.push(change);
    } catch (error) {
      for (let at = parentOf(path); at !== "" && !this.#kept.has(at); at = parentOf(at)) this.#kept.add(at);
      if (error instanceof Refused) {
        this.#refused.push({ change, reason: error.reason, detail: error.message });
      } else {
        this.#errors.push({ change, error: applyError(error, change) });
      }
    }
  }

  /** @throws Refused when a rule keeps the change back */
  #judge(change: Change, path: BytePath): void {
    const type = change.after?.type;
    const match = matchProtected(path, this.#options.protectedNames);
    if (match?.kind === "inside" && !this.#isHarmless(change, path, match.name, match.below)) {
      throw new Refused("protected", `${match.name} is protected`);
    }
    if (match?.kind === "above" && type !== undefined && type !== "directory") {
      throw new Refused("protected", `a ${type} there would lead ${match.name}, which is protected, elsewhere`);
    }
    if (type === "device" || type === "fifo" || type === "socket")
      throw new Refused("special", `a ${type} is not applied`);
    if (change.conflict && !this.#options.overConflicts) {
      throw new Refused("conflict", "it was changed outside while the session ran");
    }
  }

  /** What git itself makes in a new repository. */
  #isHarmless(change: Change, path: BytePath, name: string, below: string): boolean {
    if (change.kind !== "added") return false;
    if (name === ".git/hooks") {
      if (below === "") return change.after?.type === "directory";
      return change.after?.type === "file" && !below.includes("/") && below.endsWith(".sample");
    }
    if (name !== ".git/config" || below !== "" || change.after?.type !== "file") return false;
    const { fd, entry } = this.#upper.reach(parentOf(path)).openFile(nameOf(path));
    try {
      return entry.size < 1024 * 1024 && isHarmlessGitConfig(readFileSync(fd, "latin1"), parentOf(path));
    } finally {
      closeSync(fd);
    }
  }

  /** The real folder's entry now. @throws Refused when it is not what the change was made from */
  #expect(folder: Directory, change: Change, path: BytePath): Entry | null {
    const now = folder.entry(nameOf(path));
    const { before } = change;
    if (this.#options.overConflicts) return now;
    const isSame =
      now === null || before === null
        ? now === before
        : now.type === before.type &&
          now.inode === before.inode &&
          (now.type === "directory" || (now.mtimeNs === before.mtimeNs && now.size === before.size));
    if (!isSame) throw new Refused("conflict", "it was changed outside since the changes were listed");
    return now;
  }

  #delete(change: Change, path: BytePath): boolean {
    this.#judge(change, path);
    const folder = this.#real.reach(parentOf(path));
    const now = this.#expect(folder, change, path);
    if (now === null) return true;
    if (now.type !== "directory") {
      unlinkSync(folder.at(nameOf(path)));
      return true;
    }
    if (this.#kept.has(path)) throw new Refused("not-empty", "something in it stays");
    rmdirSync(folder.at(nameOf(path)));
    return true;
  }

  async #make(change: Change, path: BytePath): Promise<boolean> {
    this.#judge(change, path);
    const { after } = change;
    if (after === null) return false;
    const folder = this.#real.reach(parentOf(path));
    const now = this.#expect(folder, change, path);
    if (now?.type === "directory" && after.type !== "directory" && this.#kept.has(path)) {
      throw new Refused("not-empty", "something in it stays");
    }
    switch (after.type) {
      case "directory":
        if (change.kind !== "mode-changed") this.#makeFolder(folder, change, path, now);
        this.#folderModes.push({ change, path });
        return false; // counted when its mode is set
      case "link":
        this.#makeLink(folder, change, path, now);
        return true;
      default:
        if (change.kind === "mode-changed") folder.changeMode(nameOf(path), after.mode & 0o777, now ?? undefined);
        else await this.#makeFile(folder, change, path, now);
        return true;
    }
  }

  #setFolderMode(change: Change, path: BytePath): boolean {
    const folder = this.#real.reach(parentOf(path));
    const now = folder.entry(nameOf(path));
    if (now?.type !== "directory" || change.after === null) throw new Refused("conflict", "it is no folder any more");
    // Set-id bits that are there stay, none is added. The sticky bit gives nobody anything.
    folder.changeMode(nameOf(path), (now.mode & 0o6000) | (change.after.mode & 0o1777), now);
    return true;
  }

  #makeFolder(folder: Directory, change: Change, path: BytePath, now: Entry | null): void {
    if (now?.type === "directory") return;
    const temporary = temporaryName();
    mkdirSync(folder.at(temporary), 0o700);
    try {
      const owner = this.#ownerIn(folder, null);
      if (owner !== null) {
        using made = folder.open(temporary);
        // chown(2) drops a set-group-id bit that was inherited from the parent.
        const { mode } = made.own();
        fchownSync(made.fd, owner.uid, owner.gid);
        fchmodSync(made.fd, mode);
      }
      this.#rename(folder, temporary, change, path);
    } catch (error) {
      rmdirSync(folder.at(temporary));
      throw error;
    }
  }

  #makeLink(folder: Directory, change: Change, path: BytePath, now: Entry | null): void {
    const target = this.#upper.reach(parentOf(path)).readLink(nameOf(path));
    const temporary = temporaryName();
    symlinkSync(target, folder.at(temporary));
    try {
      const owner = this.#ownerIn(folder, now);
      if (owner !== null) lchownSync(folder.at(temporary), owner.uid, owner.gid);
      this.#rename(folder, temporary, change, path);
    } catch (error) {
      discard(folder, temporary);
      throw error;
    }
  }

  async #makeFile(folder: Directory, change: Change, path: BytePath, now: Entry | null): Promise<void> {
    const source = this.#upper.reach(parentOf(path)).openFile(nameOf(path));
    try {
      if (source.entry.inode !== change.after?.inode || source.entry.mtimeNs !== change.after.mtimeNs) {
        throw new Refused("conflict", "the session's file changed since the changes were listed");
      }
      const temporary = temporaryName();
      const fd = openSync(folder.at(temporary), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
      try {
        try {
          const hash = createHash("sha256");
          await copyContent(source.fd, fd, this.#walk, { onChunk: (chunk) => hash.update(chunk) });
          this.#hashes.set(change, hash.digest("hex"));
          const owner = this.#ownerIn(folder, now);
          if (owner !== null) fchownSync(fd, owner.uid, owner.gid);
          else if (now !== null) keepGroup(fd, now.gid);
          fchmodSync(fd, change.after.mode & 0o777);
          // A build that looks at times finds its results newer than what they were made from.
          futimesSync(fd, Date.now() / 1000, Number(change.after.mtimeNs / 1000n) / 1e6);
        } finally {
          closeSync(fd);
        }
        this.#rename(folder, temporary, change, path);
      } catch (error) {
        discard(folder, temporary);
        throw error;
      }
    } finally {
      closeSync(source.fd);
    }
  }

  #rename(folder: Directory, temporary: BytePath, change: Change, path: BytePath): void {
    const now = this.#expect(folder, change, path);
    const place = folder.at(nameOf(path));
    const comesFolder = change.after?.type === "directory";
    // rename(2) replaces like with like; what lay in the folder is gone by now.
    if (now?.type === "directory" && !comesFolder) rmdirSync(place);
    if (now !== null && now.type !== "directory" && comesFolder) unlinkSync(place);
    renameSync(folder.at(temporary), place);
  }

  /** Root's choice of owner: who had the file, else the workspace's owner, with the group of a set-group-id folder. */
  #ownerIn(folder: Directory, now: Entry | null): { uid: number; gid: number } | null {
    if (this.#options.owner === undefined) return null;
    if (now !== null) return { uid: now.uid, gid: now.gid };
    const { mode, gid } = folder.own();
    return { uid: this.#options.owner.uid, gid: (mode & 0o2000) === 0 ? this.#options.owner.gid : gid };
  }
}

/** An ordinary user may give a file of his to a group that he is in. */
function keepGroup(fd: number, gid: number): void {
  try {
    fchownSync(fd, process.geteuid?.() ?? -1, gid);
  } catch {
    // Not a member: it stays with the user's own group.
  }
}

function applyError(cause: unknown, change: Change): HoldfastError {
  const errno = errnoOf(cause);
  const path = displayPath(change.path);
  const hints: Readonly<Record<string, string>> = {
    EACCES: "Give yourself the right to write in that folder, and apply again.",
    EPERM: "Give yourself the right to write in that folder, and apply again.",
    EROFS: "The file system is mounted read-only.",
    ENOSPC: "Make room on the disk, and apply again.",
    EDQUOT: "Make room in your quota, and apply again.",
    ELOOP: "A folder on the way is a link now; links are not followed.",
    ENOTDIR: "A folder on the way is a link or a file now; links are not followed.",
    ENOENT: "A folder on the way is not there; it was kept back or removed.",
    ENOTEMPTY: "Something that the session did not see lies in the folder.",
  };
  return new HoldfastError(
    `${path} could not be ${change.kind === "deleted" ? "deleted" : "written"} (${errno ?? String(cause)})`,
    {
      code: "ERR_HOLDFAST_APPLY",
      step: "workspace",
      path,
      hint: hints[errno ?? ""] ?? "The real file is as it was. Look at the folder, and apply again.",
      ...(errno === undefined ? {} : { errno }),
      cause,
    },
  );
}
