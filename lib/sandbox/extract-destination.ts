import {
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  realpathSync,
  renameSync,
  rmdirSync,
  unlinkSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { HoldfastError } from "../errors.ts";
import { isWithin } from "../host/paths.ts";
import { temporaryName } from "./content.ts";
import { type BytePath, Directory, DirectoryChain, errnoOf, nameOf, parentOf } from "./directory.ts";
import { forgetLeftover, registerLeftover } from "./reaper.ts";
import { removeTree } from "./remove-tree.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants;

/** A file that stands ready under a temporary name. */
export interface StagedFile {
  readonly staged: BytePath;
  readonly path: BytePath;
}

/**
 * A folder that files are put into. All are written to a folder of our own beside it and renamed into place when they
 * are complete: a destination that was not there appears with all of them at once, in one that was there each file is
 * whole or as it was, and what fails halfway is undone. Links in it are not followed.
 */
export class Destination {
  /** Where it really is. */
  readonly path: string;
  readonly #temporary: string;
  readonly #staging: Directory;
  /** The new folder, in the staging one; null where the destination was there. */
  readonly #fresh: string | null;
  readonly #root: Directory;
  readonly #chain: DirectoryChain;
  /** Folders above the destination that were not there, outermost first. */
  readonly #above: readonly string[];
  #isPublished = false;

  private constructor(path: string, temporary: string, isNew: boolean, above: readonly string[]) {
    this.path = path;
    this.#temporary = temporary;
    this.#above = above;
    this.#fresh = isNew ? join(temporary, "new") : null;
    if (this.#fresh !== null) mkdirSync(this.#fresh);
    this.#staging = Directory.at(temporary);
    this.#root = Directory.at(this.#fresh ?? path);
    this.#chain = new DirectoryChain(this.#root);
  }

  /** @throws HoldfastError ERR_HOLDFAST_EXTRACT where it cannot be made or lies in one of these folders */
  static async open(to: string, outside: readonly string[]): Promise<Destination> {
    const above: string[] = [];
    try {
      const { path, isNew } = locate(to);
      if (outside.some((folder) => isWithin(path, folder))) {
        throw refused(to, "it lies in the workspace, which the session may rearrange", "Name a folder outside it.");
      }
      const parent = isNew ? dirname(path) : path;
      for (let at = parent; lstatSync(at, { throwIfNoEntry: false }) === undefined; at = dirname(at)) above.unshift(at);
      for (const folder of above) mkdirSync(folder);
      const temporary = mkdtempSync(join(parent, ".holdfast-extract-"));
      await registerLeftover("tree", temporary);
      return new Destination(path, temporary, isNew, above);
    } catch (error) {
      removeEmpty(above);
      if (HoldfastError.is(error)) throw error;
      throw refused(
        to,
        `it cannot be made (${errnoOf(error) ?? String(error)})`,
        "Name a folder that you may write.",
        error,
      );
    }
  }

  /** A new file for one that is to be published. */
  stage(): { readonly fd: number; readonly name: BytePath } {
    const name = temporaryName();
    return { name, fd: openSync(this.#staging.at(name), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600) };
  }

  discard(name: BytePath): void {
    unlinkSync(this.#staging.at(name));
  }

  /**
   * Puts the files into their places.
   *
   * @param failed hears of a file that cannot be; what it throws undoes all
   */
  publish(files: readonly StagedFile[], failed: (path: BytePath, errno: string) => void): void {
    const undo: (() => void)[] = [];
    try {
      for (const { staged, path } of files) {
        try {
          this.#put(staged, path, undo);
        } catch (error) {
          const errno = errnoOf(error);
          if (errno === undefined) throw error;
          failed(path, errno);
        }
      }
      if (this.#fresh !== null) renameSync(this.#fresh, this.path);
      this.#isPublished = true;
    } catch (error) {
      for (const act of undo.reverse()) tryTo(act);
      if (HoldfastError.is(error)) throw error;
      const errno = errnoOf(error) ?? String(error);
      throw refused(this.path, `nothing was put there (${errno})`, "Look at the folder, and try again.", error);
    }
  }

  async close(): Promise<void> {
    this.#chain.close();
    this.#root.close();
    this.#staging.close();
    removeTree(this.#temporary);
    await forgetLeftover("tree", this.#temporary);
    if (!this.#isPublished) removeEmpty(this.#above);
  }

  #put(staged: BytePath, path: BytePath, undo: (() => void)[]): void {
    const folder = this.#reach(parentOf(path), undo);
    const place = folder.at(nameOf(path));
    // Reached anew: the chain keeps no folder open that it has left.
    const again = (): Buffer => this.#chain.reach(parentOf(path)).at(nameOf(path));
    const before = folder.entry(nameOf(path));
    if (before !== null && before.type !== "directory") {
      const kept = this.#staging.at(temporaryName());
      try {
        linkSync(place, kept);
      } catch {
        renameSync(place, kept); // another user's file (protected_hardlinks)
      }
      undo.push(() => renameSync(kept, again()));
    } else if (before === null) {
      undo.push(() => unlinkSync(again()));
    }
    renameSync(this.#staging.at(staged), place);
  }

  /** The folder at the destination, made where it is missing. @throws ELOOP or ENOTDIR where a link is in its place */
  #reach(path: BytePath, undo: (() => void)[]): Directory {
    const parts = path === "" ? [] : path.split("/");
    for (let depth = 1; depth <= parts.length; depth++) {
      const at = parts.slice(0, depth).join("/");
      const above = this.#chain.reach(parentOf(at));
      try {
        this.#chain.reach(at);
      } catch (error) {
        if (errnoOf(error) !== "ENOENT") throw error;
        mkdirSync(above.at(nameOf(at)));
        undo.push(() => rmdirSync(this.#chain.reach(parentOf(at)).at(nameOf(at))));
      }
    }
    return this.#chain.reach(path);
  }
}

/** Where a path that may not exist yet really leads. */
function locate(to: string): { path: string; isNew: boolean } {
  let existing = resolve(to);
  const rest: string[] = [];
  while (lstatSync(existing, { throwIfNoEntry: false }) === undefined) {
    rest.unshift(basename(existing));
    existing = dirname(existing);
  }
  return { path: join(realpathSync(existing), ...rest), isNew: rest.length > 0 };
}

function removeEmpty(folders: readonly string[]): void {
  for (const folder of folders.toReversed()) tryTo(() => rmdirSync(folder));
}

function tryTo(act: () => void): void {
  try {
    act();
  } catch {
    // Somebody else was there meanwhile: what is not ours stays.
  }
}

function refused(to: string, why: string, hint: string, cause?: unknown): HoldfastError {
  const errno = errnoOf(cause);
  return new HoldfastError(`files cannot be extracted to ${to}: ${why}`, {
    code: "ERR_HOLDFAST_EXTRACT",
    step: "workspace",
    path: to,
    hint,
    ...(errno === undefined ? {} : { errno }),
    cause,
  });
}
