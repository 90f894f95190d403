import { lstatSync, readdirSync, readlinkSync, realpathSync } from "node:fs";
import { join, posix, relative as relativePath } from "node:path";
import { isWithin } from "../host/paths.ts";
import { native } from "../native.ts";
import { type BytePath, joinPath, toBytes } from "./directory.ts";
import { programsOfGit } from "./git-programs.ts";

/** Where protected names lie in a workspace, relative to it. */
export interface ProtectedPaths {
  /** Folders above a protected name: made mount points, so that none can be renamed away (kernel-notes E1). */
  readonly pinned: readonly string[];
  readonly readOnly: readonly string[];
  /** Projects that were looked at: a name that is not there yet is looked for again when the call has ended. */
  readonly projects: readonly Project[];
  /** Whether those are all that there are. */
  readonly complete: boolean;
  /** Names, or folders above one, that are links: what they lead to in the workspace is read-only. */
  readonly links: readonly { readonly path: string; readonly target: string }[];
}

/** A folder that git, or whoever opens it, takes for a project: the workspace itself, and every repository in it. */
export interface Project {
  readonly folder: BytePath;
  /** A repository without a `.git`: hooks and settings lie in the folder itself. */
  readonly bare: boolean;
}

/** How far is looked: before a session each repository costs mounts, afterwards only a look. */
export interface LookLimits {
  readonly folders: number;
  readonly projects: number;
  readonly innerRepositories: number;
  readonly innerFolders: number;
}

export const limitsBefore: LookLimits = {
  folders: 4096,
  projects: 256,
  innerRepositories: 64,
  innerFolders: 2_000,
};
export const limitsAfter: LookLimits = {
  folders: 100_000,
  projects: 100_000,
  innerRepositories: 100_000,
  innerFolders: 200_000,
};

/** Most paths are ASCII, the same in both spellings, and there are many. */
const isAscii = (path: string): boolean => !/[^\0-\x7f]/.test(path);

/** What it is called for system calls. */
export function bytePath(text: string): BytePath {
  return isAscii(text) ? text : Buffer.from(text).toString("latin1");
}

/** Null where the name is no UTF-8: such a one can be looked at, and cannot be in a plan. */
function textPath(path: BytePath): string | null {
  if (isAscii(path)) return path;
  const text = toBytes(path).toString();
  return bytePath(text) === path ? text : null;
}

/** Where a folder of the workspace lies. */
export function placeOf(root: BytePath, folder: BytePath): BytePath {
  return folder === "" ? root : `${root}/${folder}`;
}

export function kindOf(path: BytePath): "directory" | "file" | "missing" {
  try {
    const status = lstatSync(toBytes(path), { throwIfNoEntry: false });
    if (status === undefined) return "missing";
    return status.isDirectory() ? "directory" : "file";
  } catch {
    return "missing"; // below a folder that is not ours to search
  }
}

function foldersIn(path: BytePath): BytePath[] {
  try {
    const entries = readdirSync(toBytes(path), { withFileTypes: true, encoding: "buffer" });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name.toString("latin1"));
  } catch {
    return []; // not ours to read: not ours to be tricked by either
  }
}

/**
 * The projects of a workspace, itself first, at any depth.
 *
 * @param openedSince folders that were shut to their owner since then are opened, and are the caller's to shut again
 */
export function findProjects(
  root: string,
  limits: LookLimits,
  openedSince = -1n,
): {
  readonly projects: readonly Project[];
  readonly complete: boolean;
  readonly opened: readonly { readonly path: BytePath; readonly mode: number }[];
} {
  const { found, complete, opened } = native().findRepositories(root, limits.folders, openedSince);
  const repositories = found.map(({ path, bare }) => ({ folder: path.toString("latin1"), bare }));
  const projects = [{ folder: "", bare: false }, ...repositories.filter(({ folder, bare }) => folder !== "" || bare)];
  return {
    projects: projects.slice(0, limits.projects),
    complete: complete && projects.length <= limits.projects,
    opened: opened.map(({ path, mode }) => ({ path: path.toString("latin1"), mode })),
  };
}

/**
 * Tells the names that are certainly not in a folder, by one look at its list: most of them never are, and asking for
 * each by itself is most of what finding them costs. Case is passed over, and a list with anything but ASCII in it
 * proves nothing: a folder may fold cases (ext4's casefold), and then the kernel finds what the list spells otherwise.
 */
export function absentIn(path: BytePath): (name: string) => boolean {
  const listed = new Set<string>();
  try {
    for (const name of readdirSync(toBytes(path), "latin1")) {
      if (/[^ -~]/.test(name)) return () => false;
      listed.add(name.toLowerCase());
    }
  } catch {
    return () => false; // a folder that may be searched but not listed
  }
  return (name) => {
    const [first = ""] = name.split("/", 1);
    return first !== "" && first !== "." && first !== ".." && !listed.has(first.toLowerCase());
  };
}

const gitFolder = ".git/";
const wholeFolders: readonly string[] = [".git/modules", ".git/worktrees"];

/**
 * The repositories inside a repository's own folder, relative to the project: submodules and worktrees have hooks and
 * settings of their own there, and git runs them from outside.
 */
function innerRepositories(project: BytePath, limits: LookLimits): readonly BytePath[] {
  const found: BytePath[] = [];
  const left = [...wholeFolders];
  for (let looked = 0; left.length > 0; looked++) {
    // More than can be looked after one by one.
    if (looked >= limits.innerFolders || found.length >= limits.innerRepositories) return wholeFolders;
    const at = left.pop() ?? "";
    const names = foldersIn(`${project}/${at}`);
    if (kindOf(`${project}/${at}/HEAD`) === "missing") {
      for (const name of names) left.push(`${at}/${name}`); // a submodule's name may have slashes
    } else {
      found.push(at);
      if (names.includes("modules")) left.push(`${at}/modules`);
    }
  }
  return found;
}

/** Git's own names of a list, as they are called in a repository's own folder. */
export function namesOfGit(names: readonly string[]): readonly string[] {
  return names.filter((name) => name.startsWith(gitFolder)).map((name) => name.slice(gitFolder.length));
}

/**
 * The names to look for in one project: those of the policy, git's own once more for each inner repository, and what git
 * takes programs from by the project's settings. Where the policy lets a session write the settings, these say nothing.
 *
 * @param isNew the session made it: settings of its own that say such things are put aside themselves
 */
export function namesIn(
  project: BytePath,
  { bare }: Pick<Project, "bare">,
  names: readonly string[],
  isAbsent: (name: string) => boolean,
  { limits = limitsBefore, isNew = false }: { readonly limits?: LookLimits; readonly isNew?: boolean } = {},
): readonly BytePath[] {
  const configured = names.includes(gitSettings) && !isNew ? configuredIn(project, bare, names) : [];
  if (bare) return [...namesOfGit(names), ...configured];
  if (isAbsent(gitFolder)) return names;
  const inner = innerRepositories(project, limits);
  const all = [...names, ...configured];
  if (inner === wholeFolders) return [...all, ...inner];
  return [...all, ...inner.flatMap((repository) => namesOfGit(names).map((name) => `${repository}/${name}`))];
}

const gitSettings = ".git/config";

function configuredIn(project: BytePath, bare: boolean, names: readonly string[]): readonly BytePath[] {
  const settings = [gitSettings, `${gitSettings}.worktree`].map((name) => (bare ? name.slice(gitFolder.length) : name));
  return programsOfGit(project, settings).filter((name) => !names.includes(name));
}

/** What git takes programs from by the settings of a workspace's repositories, relative to the workspace. */
export function configuredNames(root: string, names: readonly string[]): string[] {
  if (!names.includes(gitSettings)) return [];
  const top = bytePath(root);
  return findProjects(root, limitsBefore).projects.flatMap(({ folder, bare }) =>
    configuredIn(placeOf(top, folder), bare, names).flatMap((name) => textPath(joinPath(folder, name)) ?? []),
  );
}

export function foldersAbove(relative: BytePath): BytePath[] {
  const parts = relative.split("/");
  return parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join("/"));
}

/** Whether a link or a file stands on the way to a name. */
function isTurned(project: BytePath, name: BytePath): boolean {
  return foldersAbove(name).some((path) => kindOf(`${project}/${path}`) === "file");
}

/**
 * Looks for the names in a workspace on the host. Below the top only repositories count, not every folder's dot files.
 * A folder whose name is no UTF-8 is left to the look afterwards.
 */
export function findProtected(root: string, names: readonly string[]): ProtectedPaths {
  const top = bytePath(root);
  const pinned = new Set<string>();
  const readOnly = new Set<string>();
  const links = new Set<string>();
  const { projects: all, complete } = findProjects(root, limitsBefore);
  const projects = all.filter(({ folder }) => textPath(folder) !== null);
  const isLink = (relative: BytePath): boolean => lstatSync(toBytes(`${top}/${relative}`)).isSymbolicLink();
  const add = (to: Set<string>, path: BytePath): void => {
    const text = textPath(path);
    if (text !== null) to.add(text);
  };
  const protect = (relative: BytePath): void => {
    for (const path of foldersAbove(relative)) add(pinned, path);
    add(readOnly, relative);
  };
  for (const project of projects) {
    const { folder, bare } = project;
    const place = placeOf(top, folder);
    const isAbsent = absentIn(place);
    for (const name of namesIn(place, project, names, isAbsent)) {
      if (isAbsent(name)) continue;
      const relative = joinPath(folder, name);
      const above = foldersAbove(relative);
      // A parent that is a file or a link (the .git of a worktree) is itself what leads elsewhere.
      const turned = above.find((at) => kindOf(`${top}/${at}`) === "file");
      const link = [turned, relative].find((at) => at !== undefined && kindOf(`${top}/${at}`) === "file" && isLink(at));
      if (link !== undefined) {
        // A link cannot be a mount point without following it: what it leads to is one, and it is looked at afterwards.
        add(links, link);
        const target = targetIn(root, relative);
        if (target !== null) protect(target);
        continue;
      }
      if (turned !== undefined) {
        add(readOnly, turned);
        continue;
      }
      if (kindOf(`${top}/${relative}`) === "missing") {
        // Its parents stay where they are, so that the name cannot be made under another folder of that name.
        if (bare || name.startsWith(gitFolder))
          for (const at of above) if (kindOf(`${top}/${at}`) === "directory") add(pinned, at);
        continue;
      }
      protect(relative);
    }
  }
  for (const path of otherNames(root, [...readOnly])) readOnly.add(path);
  return {
    pinned: [...pinned].sort(),
    readOnly: [...readOnly].sort(),
    projects,
    complete: complete && projects.length === all.length,
    links: [...links].sort().map((path) => ({ path, target: readlinkSync(join(root, path)) })),
  };
}

/** More files than this below protected names are not asked for their other names. */
const mostLinked = 4096;

/** Other names in the workspace of what is protected: what is written by one of them is written under all. */
function otherNames(root: string, readOnly: readonly string[]): string[] {
  const inodes = new Map<bigint, bigint>();
  const left = readOnly.map((path) => join(root, path));
  for (let looked = 0; left.length > 0 && looked < mostLinked; looked++) {
    const path = left.pop() ?? "";
    try {
      const status = lstatSync(path, { bigint: true });
      if (status.isDirectory()) left.push(...readdirSync(path).map((name) => join(path, name)));
      else if (status.isFile() && status.nlink > 1n) inodes.set(status.ino, status.dev);
    } catch {
      // Gone, or not ours to see.
    }
  }
  if (inodes.size === 0) return [];
  const found = native().findNames(root, [...inodes.keys()], limitsAfter.folders);
  return found.flatMap((bytes) => {
    const name = textPath(bytes.toString("latin1"));
    if (name === null || readOnly.some((path) => isWithin(name, path))) return [];
    const status = lstatSync(join(root, name), { bigint: true, throwIfNoEntry: false });
    return status !== undefined && inodes.get(status.ino) === status.dev ? [name] : [];
  });
}

/** Where a path with links in it leads, relative to the workspace; null when that is outside it, or nothing. */
function targetIn(root: string, path: BytePath): BytePath | null {
  try {
    const real = realpathSync(toBytes(posix.join(bytePath(root), path)), "utf8");
    return isWithin(real, root) && real !== root ? bytePath(relativePath(root, real)) : null;
  } catch {
    return null;
  }
}

/** The protected names that are missing now, absolute: what a killed launcher's reaper puts aside if it appears. */
export function missingProtected(root: string, names: readonly string[], found: ProtectedPaths): string[] {
  const top = bytePath(root);
  return found.projects.flatMap((project) => {
    const place = placeOf(top, project.folder);
    const isAbsent = absentIn(place);
    return namesIn(place, project, names, isAbsent)
      .filter((name) => isAbsent(name) || (kindOf(`${place}/${name}`) === "missing" && !isTurned(place, name)))
      .flatMap((name) => textPath(`${place}/${name}`) ?? []);
  });
}
