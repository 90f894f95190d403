import { chmodSync, closeSync, lchownSync, lstatSync, readFileSync, renameSync, symlinkSync } from "node:fs";
import { posix } from "node:path";
import { HoldfastError } from "../errors.ts";
import { isWithin } from "../host/paths.ts";
import type { Workspace } from "../plan/workspace.ts";
import {
  type BytePath,
  Directory,
  DirectoryChain,
  type Entry,
  errnoOf,
  joinPath,
  nameOf,
  parentOf,
  toBytes,
} from "./directory.ts";
import { displayPath } from "./display-path.ts";
import { isHarmlessGitConfig } from "./git-settings.ts";
import {
  absentIn,
  bytePath,
  findProjects,
  foldersAbove,
  kindOf,
  limitsAfter,
  namesIn,
  type Project,
  type ProtectedPaths,
  placeOf,
} from "./protected-paths.ts";

const suffix = ".refused-by-holdfast";
const mostSettings = 1024 * 1024;

/** How the workspace was when the session began. */
export interface Beginning {
  readonly found: ProtectedPaths;
  /** Protected names that were not there, absolute. */
  readonly missing: readonly string[];
  /** In nanoseconds since 1970. */
  readonly since: bigint;
  /** Which folder it was: another may stand under its name by now. */
  readonly folder: Pick<Entry, "device" | "inode">;
}

/** What became of names that were planted, relative to the workspace. */
export interface PutAside {
  readonly names: readonly string[];
  /** Those that stay where they are, with why. */
  readonly left: readonly string[];
}

/**
 * Puts aside what was planted under a protected name during the call, by renaming it: nothing is lost and nothing runs
 * it. A new repository is let be as far as it is what git itself makes. No link is followed: where one stands on the
 * way to a protected name, it is what was planted. Folders that the session has shut to their owner are opened meanwhile:
 * git runs a hook by its path, whoever may list its folder.
 *
 * @param workspace what the session could not write, which is as it was, and links that it could replace
 */
export function putAside(
  root: string,
  names: readonly string[],
  before: Beginning,
  { readOnly, protectedLinks = [] }: Pick<Workspace, "readOnly" | "protectedLinks">,
): PutAside {
  const { dev, ino } = lstatSync(root, { bigint: true });
  if (dev !== before.folder.device || ino !== before.folder.inode) return { names: [], left: [] };
  const { projects, opened } = findProjects(root, limitsAfter, before.since - clockGrainNs);
  using top = Directory.at(root);
  const { device, inode } = top.own();
  if (device !== before.folder.device || inode !== before.folder.inode) return { names: [], left: [] };
  using chain = new DirectoryChain(top);
  const place = bytePath(root);
  const kept = readOnly.map(bytePath);
  const refused = new Set<BytePath>();
  // Most sessions plant nothing.
  let planted: PlantedNames | undefined;
  const look = (): PlantedNames => (planted ??= new PlantedNames(place, before));
  const take = (path: BytePath): void => {
    if (refused.has(path) || kept.some((other) => isWithin(path, other))) return;
    rename(chain, path);
    refused.add(path);
  };
  const known = new Set(before.found.projects.map(keyOf));
  const left: string[] = [];
  for (const project of projects) {
    const isAbsent = absentIn(placeOf(place, project.folder));
    const isNew = !known.has(keyOf(project));
    const looked = namesIn(placeOf(place, project.folder), project, names, isAbsent, { limits: limitsAfter, isNew });
    for (const name of looked) {
      if (isAbsent(name)) continue;
      try {
        const found = findPlanted(chain, joinPath(project.folder, name));
        if (found === null || !look().isPlanted(chain, project, name) || isHarmless(chain, found, root)) continue;
        // An ordinary folder that was made a repository may have had a `config` of its own.
        take(project.bare && look().isNewProject(project) ? joinPath(project.folder, "HEAD") : found);
      } catch (error) {
        // Exchanged at this moment by another sandbox over the same folder, whose own end will look again.
        const path = joinPath(project.folder, name);
        if (exchanged.has(errnoOf(error) ?? "") || kindOf(`${place}/${path}`) === "missing") continue;
        left.push(`${displayPath(toBytes(path))} (${errnoOf(error) ?? String(error)})`);
      }
    }
  }
  for (const { path, target } of protectedLinks) {
    if (restoreLink(chain, path, target)) refused.add(bytePath(path));
  }
  shutAgain(chain, root, opened);
  return { names: [...refused].map((path) => toBytes(path).toString()), left };
}

/** @throws HoldfastError ERR_HOLDFAST_PUT_ASIDE where something stays where it was planted */
export function assertPutAside({ left }: PutAside): void {
  if (left.length === 0) return;
  throw new HoldfastError(`protected names were made that could not be put aside: ${left.join(", ")}`, {
    code: "ERR_HOLDFAST_PUT_ASIDE",
    step: "workspace",
    hint: "Remove them before you work in these folders: programs may run what they hold.",
  });
}

/** What a name that was looked at may come to when somebody else changes the folder. */
const exchanged: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ESTALE"]);

/** As the session left them, but for what was put aside; the deepest first. */
function shutAgain(
  chain: DirectoryChain,
  root: string,
  opened: readonly { readonly path: BytePath; readonly mode: number }[],
): void {
  for (const { path, mode } of opened.toReversed()) {
    try {
      if (path === "") chmodSync(root, mode);
      else chain.reach(parentOf(path)).changeMode(nameOf(path), mode);
    } catch {
      // It is gone, or its owner's to open again.
    }
  }
}

/** Tells what a session has put under a protected name from what was there before. */
class PlantedNames {
  readonly #root: BytePath;
  readonly #before: Beginning;
  readonly #missing: ReadonlySet<BytePath>;
  readonly #known: ReadonlySet<BytePath>;

  constructor(root: BytePath, before: Beginning) {
    this.#root = root;
    this.#before = before;
    this.#missing = new Set(before.missing.map(bytePath));
    this.#known = new Set(before.found.projects.map(keyOf));
  }

  isNewProject(project: Project): boolean {
    return !this.#known.has(keyOf(project));
  }

  isPlanted(chain: DirectoryChain, project: Project, name: BytePath): boolean {
    const place = placeOf(this.#root, project.folder);
    if (this.#missing.has(`${place}/${name}`)) return true;
    if (name === ".git/modules" || name === ".git/worktrees") return true; // more than can be looked at
    if (this.isNewProject(project)) {
      // Else it may have been there, among more than could be looked at.
      return this.#before.found.complete || this.#hasChanged(chain, project, name);
    }
    const [, inner = ""] = /^(\.git\/(?:modules|worktrees)\/.+)\/[^/]+$/.exec(name) ?? [];
    return inner !== "" && !this.#before.missing.some((path) => bytePath(path).startsWith(`${place}/${inner}/`));
  }

  /** The kernel's own mark of any change, which nobody can set back: a rename leaves it too. */
  #hasChanged(chain: DirectoryChain, { folder, bare }: Project, name: BytePath): boolean {
    const isLate = ({ ctimeNs }: Entry): boolean => ctimeNs >= this.#before.since - clockGrainNs;
    const entryAt = (path: BytePath): Entry | null => chain.reach(parentOf(path)).entry(nameOf(path));
    const path = joinPath(folder, name);
    const above = bare ? folder : joinPath(folder, ".git");
    for (const at of [path, above]) {
      const entry = at === "" ? chain.reach("").own() : entryAt(at);
      if (entry !== null && isLate(entry)) return true;
    }
    if (entryAt(path)?.type !== "directory") return false;
    const inside = chain.reach(path);
    return inside.namesNow().some((each) => {
      const entry = inside.entry(each);
      return entry !== null && isLate(entry);
    });
  }
}

/** A change may be marked with the time of the clock's last tick. */
const clockGrainNs = 20_000_000n;

function keyOf({ folder, bare }: Project): string {
  return `${bare ? "bare" : "git"} ${folder}`;
}

/** Puts a link back that was replaced or removed; returns whether it was. */
function restoreLink(chain: DirectoryChain, relative: string, target: string): boolean {
  const path = bytePath(relative);
  try {
    const folder = chain.reach(parentOf(path));
    const entry = folder.entry(nameOf(path));
    if (entry?.type === "link" && folder.readLink(nameOf(path)).toString() === target) return false;
    if (entry !== null) rename(chain, path);
    const { uid, gid } = folder.own();
    symlinkSync(target, folder.at(nameOf(path)));
    if (process.geteuid?.() === 0) lchownSync(folder.at(nameOf(path)), uid, gid);
    return true;
  } catch {
    return false; // the folder above it is gone
  }
}

/** What stands under the name: itself, or the first thing on the way that is no folder. Null when nothing does. */
function findPlanted(chain: DirectoryChain, relative: BytePath): BytePath | null {
  for (const path of [...foldersAbove(relative), relative]) {
    const entry = chain.reach(parentOf(path)).entry(nameOf(path));
    if (entry === null) return null;
    if (path === relative || entry.type !== "directory") return path;
  }
  return null;
}

function rename(chain: DirectoryChain, path: BytePath): void {
  const folder = chain.reach(parentOf(path));
  for (let n = 0; n < 100; n++) {
    const aside = `${nameOf(path)}${suffix}${n === 0 ? "" : `-${n}`}`;
    if (folder.entry(aside) !== null) continue;
    renameSync(folder.at(nameOf(path)), folder.at(aside));
    return;
  }
}

/** What `git init`, `git clone` and `git worktree add` make: sample hooks, and settings that run nothing. */
function isHarmless(chain: DirectoryChain, path: BytePath, root: string): boolean {
  const relative = toBytes(path).toString();
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
  let fd: number;
  try {
    ({ fd } = folder.openFile(name));
  } catch (error) {
    if (errnoOf(error) === "EACCES") return null;
    throw error;
  }
  try {
    return readFileSync(fd, "latin1");
  } finally {
    closeSync(fd);
  }
}
