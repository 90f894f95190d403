import { closeSync, lchownSync, readFileSync, renameSync, symlinkSync } from "node:fs";
import { join, posix } from "node:path";
import { isWithin } from "../host/paths.ts";
import type { Workspace } from "../plan/workspace.ts";
import { type BytePath, Directory, DirectoryChain, nameOf, parentOf } from "./directory.ts";
import { isHarmlessGitConfig } from "./git-settings.ts";
import { absentIn, foldersAbove, inFolder, kindOf, limitsAfter, namesIn, projectFolders } from "./protected-paths.ts";

const suffix = ".refused-by-holdfast";
const mostSettings = 1024 * 1024;

/**
 * Puts aside what was planted under a protected name during the call, by renaming it: nothing is lost and nothing runs
 * it. A new repository is let be as far as it is what git itself makes. No link is followed: where one stands on the
 * way to a protected name, it is what was planted.
 *
 * @param workspace what the session could not write, which is as it was, and links that it could replace
 * @returns the names, relative to the workspace
 */
export function putAside(
  root: string,
  names: readonly string[],
  missingBefore: readonly string[],
  { readOnly, protectedLinks = [] }: Pick<Workspace, "readOnly" | "protectedLinks">,
): string[] {
  using top = Directory.at(root);
  using chain = new DirectoryChain(top);
  const before = new Set(missingBefore);
  const refused = new Set<string>();
  for (const folder of projectFolders(root)) {
    const project = join(root, folder);
    if (folder !== "" && kindOf(join(project, ".git")) === "missing") continue;
    const isAbsent = absentIn(project);
    for (const name of namesIn(project, names, isAbsent, limitsAfter)) {
      if (isAbsent(name)) continue;
      const relative = inFolder(folder, name);
      if (!before.has(join(root, relative)) && !isNew(root, folder, name, missingBefore)) continue;
      try {
        const planted = findPlanted(chain, relative);
        if (planted === null || refused.has(planted) || readOnly.some((path) => isWithin(planted, path))) continue;
        if (isHarmless(chain, planted, root)) continue;
        rename(chain, planted);
        refused.add(planted);
      } catch {
        // Exchanged at this moment by another sandbox over the same folder, whose own end will look again.
      }
    }
  }
  for (const { path, target } of protectedLinks) {
    if (restoreLink(chain, path, target)) refused.add(path);
  }
  return [...refused];
}

/** Puts a link back that was replaced or removed; returns whether it was. */
function restoreLink(chain: DirectoryChain, relative: string, target: string): boolean {
  const path = bytePath(relative);
  try {
    const folder = chain.reach(parentOf(path));
    const entry = folder.entry(nameOf(path));
    if (entry?.type === "link" && folder.readLink(nameOf(path)).toString() === target) return false;
    if (entry !== null) rename(chain, relative);
    const { uid, gid } = folder.own();
    symlinkSync(target, folder.at(nameOf(path)));
    if (process.geteuid?.() === 0) lchownSync(folder.at(nameOf(path)), uid, gid);
    return true;
  } catch {
    return false; // the folder above it is gone
  }
}

/** What stands under the name: itself, or the first thing on the way that is no folder. Null when nothing does. */
function findPlanted(chain: DirectoryChain, relative: string): string | null {
  for (const path of [...foldersAbove(relative), relative]) {
    const bytes = bytePath(path);
    const entry = chain.reach(parentOf(bytes)).entry(nameOf(bytes));
    if (entry === null) return null;
    if (path === relative || entry.type !== "directory") return path;
  }
  return null;
}

function bytePath(path: string): BytePath {
  return Buffer.from(path).toString("latin1");
}

function rename(chain: DirectoryChain, relative: string): void {
  const path = bytePath(relative);
  const folder = chain.reach(parentOf(path));
  for (let n = 0; n < 100; n++) {
    const aside = `${nameOf(path)}${suffix}${n === 0 ? "" : `-${n}`}`;
    if (folder.entry(aside) !== null) continue;
    renameSync(folder.at(nameOf(path)), folder.at(aside));
    return;
  }
}

/** What `git init`, `git clone` and `git worktree add` make: sample hooks, and settings that run nothing. */
function isHarmless(chain: DirectoryChain, relative: string, root: string): boolean {
  const path = bytePath(relative);
  const folder = chain.reach(parentOf(path));
  const type = folder.entry(nameOf(path))?.type;
  switch (nameOf(path)) {
    case "hooks": {
      if (type !== "directory") return false;
      using hooks = folder.open(nameOf(path));
      return hooks.namesNow().every((name) => name.endsWith(".sample") && hooks.entry(name)?.type === "file");
    }
    case "config":
      return isHarmlessGitConfig(textOf(folder, nameOf(path)) ?? "[", posix.dirname(relative));
    case "commondir":
      // A worktree's way to its repository, two folders up.
      return /\.git\/worktrees\/[^/]+\/commondir$/.test(relative) && textOf(folder, nameOf(path)) === "../..\n";
    case ".git": {
      // A worktree's or submodule's way to its repository, which is looked at by itself.
      const [, to = ""] = /^gitdir: ([^\n]+)\n$/.exec(textOf(folder, nameOf(path)) ?? "") ?? [];
      const target = posix.resolve(root, posix.dirname(relative), to);
      return to !== "" && isWithin(target, root) && /\/\.git\/(modules|worktrees)\/./.test(target.slice(root.length));
    }
    default:
      return false;
  }
}

/** Null for what is no regular file, or too big. */
function textOf(folder: Directory, name: BytePath): string | null {
  const entry = folder.entry(name);
  if (entry?.type !== "file" || entry.size > mostSettings) return null;
  const { fd } = folder.openFile(name);
  try {
    return readFileSync(fd, "latin1");
  } finally {
    closeSync(fd);
  }
}

/** Whether the repository that the name belongs to was none when the call began: none of its names was looked for then. */
function isNew(root: string, folder: string, name: string, missingBefore: readonly string[]): boolean {
  if (name === ".git/modules" || name === ".git/worktrees") return true; // more than can be looked at
  const [, inner = ""] = /^(\.git\/(?:modules|worktrees)\/.+)\/[^/]+$/.exec(name) ?? [];
  if (inner !== "") {
    const prefix = `${join(root, folder, inner)}/`;
    return !missingBefore.some((path) => path.startsWith(prefix));
  }
  const prefix = `${join(root, folder)}/`;
  return (
    folder !== "" &&
    !missingBefore.some((path) => path.startsWith(prefix) && !path.slice(prefix.length).includes("/.git/"))
  );
}
