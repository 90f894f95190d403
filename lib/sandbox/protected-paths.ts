import { lstatSync, readdirSync, readlinkSync, realpathSync } from "node:fs";
import { join, relative as relativePath } from "node:path";
import { isWithin } from "../host/paths.ts";

/** Where protected names lie in a workspace, relative to it. */
export interface ProtectedPaths {
  /** Folders above a protected name: made mount points, so that none can be renamed away (kernel-notes E1). */
  readonly pinned: readonly string[];
  readonly readOnly: readonly string[];
  /** Folders that were looked at: a name that is not there yet is looked for again when the call has ended. */
  readonly folders: readonly string[];
  /** Names, or folders above one, that are links: what they lead to in the workspace is read-only. */
  readonly links: readonly { readonly path: string; readonly target: string }[];
}

const deepest = 3;
const mostFolders = 512;
const skipped = new Set(["node_modules", ".git", "__pycache__", "target", "dist", "build", ".venv", "venv"]);

export function kindOf(path: string): "directory" | "file" | "missing" {
  try {
    const status = lstatSync(path, { throwIfNoEntry: false });
    if (status === undefined) return "missing";
    return status.isDirectory() ? "directory" : "file";
  } catch {
    return "missing"; // below a folder that is not ours to search
  }
}

function foldersIn(path: string): string[] {
  try {
    const entries = readdirSync(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch {
    return []; // not ours to read: not ours to be tricked by either
  }
}

/** The folders of a workspace that may hold a project of their own: itself and what lies up to three levels below. */
export function projectFolders(root: string): string[] {
  const found = [""];
  for (let at = 0; at < found.length && found.length < mostFolders; at++) {
    const folder = found[at] ?? "";
    if (folder.split("/").length > deepest) continue;
    for (const name of foldersIn(join(root, folder))) {
      if (skipped.has(name)) continue;
      if (found.length >= mostFolders) break;
      found.push(folder === "" ? name : `${folder}/${name}`);
    }
  }
  return found;
}

/**
 * Tells the names that are certainly not in a folder, by one look at its list: most of them never are, and asking for
 * each by itself is most of what finding them costs. Case is passed over, and a list with anything but ASCII in it
 * proves nothing: a folder may fold cases (ext4's casefold), and then the kernel finds what the list spells otherwise.
 */
export function absentIn(path: string): (name: string) => boolean {
  const listed = new Set<string>();
  try {
    for (const name of readdirSync(path)) {
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

/** How far inner repositories are looked for: before a session each costs mounts, afterwards only a look. */
export interface InnerLimits {
  readonly repositories: number;
  readonly folders: number;
}

const limitsBefore: InnerLimits = { repositories: 64, folders: 2_000 };
export const limitsAfter: InnerLimits = { repositories: 100_000, folders: 200_000 };

/**
 * The repositories inside a repository's own folder, relative to the project: submodules and worktrees have hooks and
 * settings of their own there, and git runs them from outside.
 */
function innerRepositories(project: string, limits: InnerLimits): readonly string[] {
  const found: string[] = [];
  const left = [...wholeFolders];
  for (let looked = 0; left.length > 0; looked++) {
    // More than can be looked after one by one.
    if (looked >= limits.folders || found.length >= limits.repositories) return wholeFolders;
    const at = left.pop() ?? "";
    const names = foldersIn(join(project, at));
    if (kindOf(join(project, at, "HEAD")) === "missing") {
      for (const name of names) left.push(`${at}/${name}`); // a submodule's name may have slashes
    } else {
      found.push(at);
      if (names.includes("modules")) left.push(`${at}/modules`);
    }
  }
  return found;
}

/** The names to look for in one project: those of the policy, and git's own once more for each inner repository. */
export function namesIn(
  project: string,
  names: readonly string[],
  isAbsent: (name: string) => boolean,
  limits: InnerLimits = limitsBefore,
): readonly string[] {
  if (isAbsent(gitFolder)) return names;
  const inner = innerRepositories(project, limits);
  if (inner === wholeFolders) return [...names, ...inner];
  const ofGit = names.filter((name) => name.startsWith(gitFolder)).map((name) => name.slice(gitFolder.length));
  return [...names, ...inner.flatMap((repository) => ofGit.map((name) => `${repository}/${name}`))];
}

/** Of a name in a project's folder the path relative to the workspace. */
export function inFolder(folder: string, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}

export function foldersAbove(relative: string): string[] {
  const parts = relative.split("/");
  return parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join("/"));
}

/** Whether a link or a file stands on the way to a name. */
function isTurned(project: string, name: string): boolean {
  return foldersAbove(name).some((path) => kindOf(join(project, path)) === "file");
}

/** Looks for the names in a workspace on the host. Below the top only repositories count, not every folder's dot files. */
export function findProtected(root: string, names: readonly string[]): ProtectedPaths {
  const pinned = new Set<string>();
  const readOnly = new Set<string>();
  const links = new Set<string>();
  const isLink = (relative: string): boolean => lstatSync(join(root, relative)).isSymbolicLink();
  const protect = (relative: string): void => {
    for (const path of foldersAbove(relative)) pinned.add(path);
    readOnly.add(relative);
  };
  const folders = projectFolders(root).filter(
    (folder) => folder === "" || kindOf(join(root, folder, ".git")) !== "missing",
  );
  for (const folder of folders) {
    const isAbsent = absentIn(join(root, folder));
    for (const name of namesIn(join(root, folder), names, isAbsent)) {
      if (isAbsent(name)) continue;
      const relative = inFolder(folder, name);
      const above = foldersAbove(relative);
      // A parent that is a file or a link (the .git of a worktree) is itself what leads elsewhere.
      const turned = above.find((path) => kindOf(join(root, path)) === "file");
      const link = [turned, relative].find(
        (path) => path !== undefined && kindOf(join(root, path)) === "file" && isLink(path),
      );
      if (link !== undefined) {
        // A link cannot be a mount point without following it: what it leads to is one, and it is looked at afterwards.
        links.add(link);
        const target = targetIn(root, relative);
        if (target !== null) protect(target);
        continue;
      }
      if (turned !== undefined) {
        readOnly.add(turned);
        continue;
      }
      if (kindOf(join(root, relative)) === "missing") {
        // Its parents stay where they are, so that the name cannot be made under another folder of that name.
        if (name.startsWith(gitFolder))
          for (const path of above) if (kindOf(join(root, path)) === "directory") pinned.add(path);
        continue;
      }
      protect(relative);
    }
  }
  return {
    pinned: [...pinned].sort(),
    readOnly: [...readOnly].sort(),
    folders,
    links: [...links].sort().map((path) => ({ path, target: readlinkSync(join(root, path)) })),
  };
}

/** Where a path with links in it leads, relative to the workspace; null when that is outside it, or nothing. */
function targetIn(root: string, path: string): string | null {
  try {
    const real = realpathSync(join(root, path));
    return isWithin(real, root) && real !== root ? relativePath(root, real) : null;
  } catch {
    return null;
  }
}

/** The protected names that are missing now, absolute: what a killed launcher's reaper puts aside if it appears. */
export function missingProtected(root: string, names: readonly string[], found: ProtectedPaths): string[] {
  return found.folders.flatMap((folder) => {
    const isAbsent = absentIn(join(root, folder));
    const prefix = folder === "" ? root : join(root, folder);
    return namesIn(prefix, names, isAbsent)
      .filter((name) => isAbsent(name) || (kindOf(join(prefix, name)) === "missing" && !isTurned(prefix, name)))
      .map((name) => join(prefix, name));
  });
}
