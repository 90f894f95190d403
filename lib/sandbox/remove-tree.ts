import { chmodSync, renameSync, rmdirSync, unlinkSync } from "node:fs";
import { type BytePath, Directory, errnoOf } from "./directory.ts";

/** Folders below this many are brought up before they are emptied. */
const deepest = 32;

/**
 * Removes a tree that a sandbox could write. Node's own `rm` recurses as deep as the tree goes and stops at folders
 * without permissions; a session can nest a hundred thousand of them. No link is followed.
 *
 * @throws with the errno of what cannot be removed
 */
export function removeTree(folder: string): void {
  try {
    chmodSync(folder, 0o700);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return;
  }
  {
    using root = Directory.at(folder);
    new Removal(root).empty(root, 0);
  }
  rmdirSync(folder);
}

class Removal {
  readonly #root: Directory;
  #broughtUp = 0;

  constructor(root: Directory) {
    this.#root = root;
  }

  empty(folder: Directory, depth: number): void {
    // Folders that are brought up come to the root while it is read: until nothing is left, bounded by what there is.
    for (;;) {
      const names = folder.namesNow();
      if (names.length === 0) return;
      for (const name of names) this.#remove(folder, name, depth);
      if (depth > 0) return;
    }
  }

  #remove(folder: Directory, name: BytePath, depth: number): void {
    const entry = folder.entry(name);
    if (entry === null) return;
    if (entry.type !== "directory") {
      unlinkSync(folder.at(name));
      return;
    }
    if ((entry.mode & 0o700) !== 0o700) folder.changeMode(name, 0o700, entry);
    if (depth >= deepest) {
      renameSync(folder.at(name), this.#root.at(`.holdfast-removal-${process.pid}-${this.#broughtUp++}`));
      return;
    }
    {
      using inner = folder.open(name);
      this.empty(inner, depth + 1);
    }
    rmdirSync(folder.at(name));
  }
}
