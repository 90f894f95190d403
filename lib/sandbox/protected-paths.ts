import { lstatSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";

/** Where protected names lie in a workspace, relative to it. */
export interface ProtectedPaths {
  /** Folders above a protected name: made mount points, so that none can be renamed away (kernel-notes E1). */
  readonly pinned: readonly string[];
  readonly readOnly: readonly string[];
  /** Folders that were looked at: a name that is not there yet is looked for again when the call has ended. */
  readonly folders: readonly string[];
}

const deepest = 3;
const mostFolders = 512;
const skipped = new Set(["node_modules", ".git", "__pycache__", "target", "dist", "build", ".venv", "venv"]);

function kindOf(path: string): "directory" | "file" | "missing" {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined) return "missing";
  return status.isDirectory() ? "directory" : "file";
}

/** The folders of a workspace that may hold a project of their own: itself and what lies up to three levels below. */
function projectFolders(root: string): string[] {
  const found = [""];
  for (let at = 0; at < found.length && found.length < mostFolders; at++) {
    const folder = found[at] ?? "";
    if (folder.split("/").length > deepest) continue;
    let entries: import("node:fs").Dirent[];
    try {
      entries = readdirSync(join(root, folder), { withFileTypes: true });
    } catch {
      continue; // not ours to read: not ours to be tricked by either
    }
    for (const entry of entries) {
      if (!entry.isDirectory() || skipped.has(entry.name)) continue;
      if (found.length >= mostFolders) break;
      found.push(folder === "" ? entry.name : `${folder}/${entry.name}`);
    }
  }
  return found;
}

/**
 * Tells the names that are certainly not in a folder, by one look at its list: most of them never are, and asking for
 * each by itself is most of what finding them costs. Case is passed over, and a list with anything but ASCII in it
 * proves nothing: a folder may fold cases (ext4's casefold), and then the kernel finds what the list spells otherwise.
 */
function absentIn(path: string): (name: string) => boolean {
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

/** Looks for the names in a workspace on the host. Below the top only repositories count, not every folder's dot files. */
export function findProtected(root: string, names: readonly string[]): ProtectedPaths {
  const pinned = new Set<string>();
  const readOnly = new Set<string>();
  const folders = projectFolders(root).filter(
    (folder) => folder === "" || kindOf(join(root, folder, ".git")) !== "missing",
  );
  for (const folder of folders) {
    const isAbsent = absentIn(join(root, folder));
    for (const name of names) {
      if (isAbsent(name)) continue;
      const relative = folder === "" ? name : `${folder}/${name}`;
      const parts = relative.split("/");
      const above = parts.slice(0, -1).map((_, i) => parts.slice(0, i + 1).join("/"));
      // A parent that is a file or a link (the .git of a worktree) is itself what leads elsewhere.
      const turned = above.find((path) => kindOf(join(root, path)) === "file");
      if (turned !== undefined) {
        readOnly.add(turned);
        continue;
      }
      if (kindOf(join(root, relative)) === "missing") {
        // Its parents stay where they are, so that the name cannot be made under another folder of that name.
        if (name.startsWith(".git/"))
          for (const path of above) if (kindOf(join(root, path)) === "directory") pinned.add(path);
        continue;
      }
      for (const path of above) pinned.add(path);
      readOnly.add(relative);
    }
  }
  const isLink = (relative: string): boolean => lstatSync(join(root, relative)).isSymbolicLink();
  // A link cannot be a mount point without following it; the folder above holds it only as long as it is not replaced,
  // so it is checked afterwards like a name that is not there.
  return {
    pinned: [...pinned].sort(),
    readOnly: [...readOnly].filter((relative) => !isLink(relative)).sort(),
    folders,
  };
}

/** The protected names that are missing now, absolute: what a killed launcher's reaper puts aside if it appears. */
export function missingProtected(root: string, names: readonly string[], found: ProtectedPaths): string[] {
  return found.folders.flatMap((folder) => {
    const isAbsent = absentIn(join(root, folder));
    const prefix = folder === "" ? root : join(root, folder);
    return names
      .filter((name) => isAbsent(name) || kindOf(join(prefix, name)) === "missing")
      .map((name) => join(prefix, name));
  });
}

const suffix = ".refused-by-holdfast";

// Keys by which git runs a program or takes further settings (git-config(1)).
const dangerousKey =
  /^\s*(fsmonitor|hookspath|sshcommand|gitproxy|pager|editor|askpass|external|textconv|driver|clean|smudge|process|helper|program|command|cmd|path|sequenceeditor|uploadpack|receivepack|alternaterefscommand)\s*=|^\s*[\w-]+\s*=\s*!/im;

function isHarmless(root: string, relative: string): boolean {
  const path = join(root, relative);
  try {
    // What `git init` and `git clone` make: sample hooks, and settings that run nothing.
    if (relative.endsWith(".git/hooks")) return readdirSync(path).every((name) => name.endsWith(".sample"));
    if (relative.endsWith(".git/config")) {
      const text = readFileSync(path, "utf8");
      return !dangerousKey.test(text) && !/^\s*\[\s*include/im.test(text);
    }
  } catch {
    return false;
  }
  return false;
}

/**
 * Puts aside what was planted under a protected name during the call, by renaming it: nothing is lost and nothing runs
 * it. A new repository is let be as far as it is what git itself makes.
 *
 * @returns the names, relative to the workspace
 */
export function putAside(root: string, names: readonly string[], missingBefore: readonly string[]): string[] {
  const before = new Set(missingBefore);
  const refused: string[] = [];
  for (const folder of projectFolders(root)) {
    const isRepository = folder === "" || kindOf(join(root, folder, ".git")) !== "missing";
    if (!isRepository) continue;
    const isAbsent = absentIn(join(root, folder));
    for (const name of names) {
      if (isAbsent(name)) continue;
      const relative = folder === "" ? name : `${folder}/${name}`;
      const path = join(root, relative);
      if (kindOf(path) === "missing" || isHarmless(root, relative)) continue;
      if (!before.has(path) && !isNew(root, folder, missingBefore)) continue;
      for (let n = 0; n < 100; n++) {
        const aside = `${path}${suffix}${n === 0 ? "" : `-${n}`}`;
        if (kindOf(aside) !== "missing") continue;
        renameSync(path, aside);
        refused.push(relative);
        break;
      }
    }
  }
  return refused;
}

/** Whether the folder was no repository when the call began: none of its names was looked for then. */
function isNew(root: string, folder: string, missingBefore: readonly string[]): boolean {
  const prefix = `${join(root, folder)}/`;
  return (
    folder !== "" &&
    !missingBefore.some((path) => path.startsWith(prefix) && !path.slice(prefix.length).includes("/.git/"))
  );
}
