import type { PathRules } from "../sandbox/types.ts";
import { ToolError } from "./tool.ts";

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  EACCES: "permission denied",
  EPERM: "permission denied",
  ENOTDIR: "not a directory",
  EISDIR: "is a directory",
  ELOOP: "too many levels of symbolic links",
  ENAMETOOLONG: "file name too long",
  ENOSPC: "no space left on device",
  EMFILE: "too many open files",
  ENFILE: "too many open files",
  // No file system here has a bound below what fits into a call's input: it is the policy's.
  EFBIG: "the limit file-size was reached",
};

/** The words for an errno. The kernel's own text is not used: it differs between systems and may name a path. */
export function reasonOf(errno: string): string {
  return REASONS[errno] ?? `i/o error (${errno})`;
}

/** The text for a path that leads out of the folders that the tools may touch. */
export function outsideText(path: string, rules: PathRules): string {
  const permitted =
    rules.roots.length > 1
      ? "the session's working directory and its other permitted directories"
      : "the session's working directory";
  return `path ${JSON.stringify(path)} is outside ${permitted}`;
}

/** The text for a path that could not be followed to its end. */
export function unresolvedText(path: string, errno: string): string {
  return `path ${JSON.stringify(path)}: ${reasonOf(errno)}`;
}

/** The text for a failure on the file itself, after its path was followed. */
export function fileErrorText(tool: string, path: string, errno: string): string {
  return `${tool}: ${path}: ${reasonOf(errno)}`;
}

/** No system call can take a path with a NUL in it: refused here, in the words of the official tool. */
export function refuseNul(path: string): void {
  if (path.includes("\0")) throw new ToolError(unresolvedText(path, "ERR_INVALID_ARG_VALUE"));
}

/** The errno of a failed file operation on a descriptor; such errors name no path. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** The first of the roots that holds a path which is already free of links. */
export function rootHolding(path: string, roots: readonly string[]): string | undefined {
  return roots.find((root) => path === root || path.startsWith(root.endsWith("/") ? root : `${root}/`));
}
