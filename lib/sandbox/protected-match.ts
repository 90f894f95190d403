import type { BytePath } from "./directory.ts";

/** How a path meets the protected names. */
export type ProtectedMatch =
  /** It is such a name, or lies below one. */
  | { readonly kind: "inside"; readonly name: string /** What follows the name. */; readonly below: string }
  /** It would be the folder above one, such as `.git`: a link or a file there leads elsewhere. */
  | { readonly kind: "above"; readonly name: string };

/**
 * Whether a path, relative to the workspace, meets a protected name in any folder of it. Capitals do not count: some
 * file systems, and git on them, take `.GIT` for `.git`.
 *
 * @param names relative to any folder (`.git/hooks`, `.vscode`), as in `policy.protectedNames.names`
 */
export function matchProtected(path: BytePath, names: readonly string[]): ProtectedMatch | null {
  const parts = path.split("/");
  const lower = parts.map((part) => part.toLowerCase());
  let above: ProtectedMatch | null = null;
  for (const name of names) {
    const wanted = Buffer.from(name.toLowerCase()).toString("latin1").split("/");
    for (let from = 0; from < lower.length; from++) {
      const inner = wanted[0] === ".git" && lower[from] === ".git" ? findInner(lower, from, wanted.slice(1)) : -1;
      if (inner >= 0) return { kind: "inside", name, below: parts.slice(inner).join("/") };
      const length = Math.min(wanted.length, lower.length - from);
      if (!wanted.slice(0, length).every((part, i) => part === lower[from + i])) continue;
      if (length === wanted.length) return { kind: "inside", name, below: parts.slice(from + length).join("/") };
      above ??= { kind: "above", name };
    }
  }
  return above;
}

/** Repositories of submodules and worktrees lie in the main one's folder, with hooks and settings of their own. */
function findInner(parts: readonly string[], git: number, wanted: readonly string[]): number {
  if (wanted.length === 0 || (parts[git + 1] !== "modules" && parts[git + 1] !== "worktrees")) return -1;
  for (let from = git + 2; from + wanted.length <= parts.length; from++) {
    if (wanted.every((part, i) => part === parts[from + i])) return from + wanted.length;
  }
  return -1;
}
