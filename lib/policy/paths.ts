import { quote } from "./problem.ts";
import type { Reader } from "./reader.ts";
import { text } from "./reader.ts";

/** The longest path, in bytes (PATH_MAX of Linux, and OpenShell's own bound). */
const longestPath = 4096;

/** Collapses `//` and `/./`, takes a trailing `/` off. Lexical: links are the kernel's business. */
export function normalise(path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  return `/${parts.join("/")}`;
}

/** An absolute path without `..`, normalised. Never looked up on the disk. */
export const absolutePath: Reader<string> = {
  schema: { type: "string", pattern: "^/(?!(.*/)?\\.\\.(/|$))" },
  read(node, what, context) {
    const path = text.read(node, what, context);
    if (path === undefined) return undefined;
    const { problems } = context;
    if (path.includes("\0")) problems.error(node.at, `${what} holds a NUL`);
    else if (path === "") problems.error(node.at, `${what} is empty`, "write an absolute path");
    else if (Buffer.byteLength(path) > longestPath) {
      problems.error(node.at, `${what} is longer than ${longestPath} bytes: ${quote(path)}`);
    } else if (!path.startsWith("/")) {
      const home = path === "~" || path.startsWith("~/");
      const hint = home ? "write your home folder out; ~ is not expanded" : `write it from the root: /…/${path}`;
      problems.error(node.at, `${what} must be an absolute path, not ${quote(path)}`, hint);
    } else if (path.split("/").includes("..")) {
      problems.error(node.at, `${what} must not contain "..": ${quote(path)}`, "write the path that it leads to");
    } else return normalise(path);
    return undefined;
  },
};

/** Why a path cannot be relative to the workspace, or undefined when it can. */
export function relativeFault(path: string): string | undefined {
  if (path === "") return "is empty";
  if (path.includes("\0")) return "holds a NUL";
  if (Buffer.byteLength(path) > longestPath) return `is longer than ${longestPath} bytes`;
  if (path.startsWith("/")) return `must be relative to the workspace, not ${quote(path)}`;
  const parts = path.split("/");
  if (parts.includes("..")) return `must not contain "..": ${quote(path)}`;
  if (parts.includes(".") || parts.includes("")) return `must not contain empty or "." parts: ${quote(path)}`;
  return undefined;
}

/** What a sandbox is made of: a workspace mounted there would take it away from every program inside. */
const occupied = [
  ...["/proc", "/dev", "/sys", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"],
  "/.holdfast",
];

/** What of the sandbox's own would be hidden by a mount at a normalised path, or undefined when nothing would. */
export function hiddenBy(path: string): string | undefined {
  if (path === "/") return path;
  return occupied.find((folder) => `${path}/`.startsWith(`${folder}/`) || folder.startsWith(`${path}/`));
}

/** Why a workspace cannot appear at a path, or undefined when it can. */
export function mountPointFault(path: string): string | undefined {
  if (!path.startsWith("/")) return "is not absolute";
  if (path.includes("\0")) return "holds a NUL";
  if (Buffer.byteLength(path) > longestPath) return `is longer than ${longestPath} bytes`;
  if (path.split("/").includes("..")) return 'must not contain ".."';
  const hidden = hiddenBy(normalise(path));
  return hidden === undefined ? undefined : `would hide ${hidden}, which the sandbox needs`;
}
