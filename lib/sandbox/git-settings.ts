import { posix } from "node:path";

/**
 * What `git init` and `git clone` write into a repository's own settings, and nothing else: a list of what is permitted,
 * since git-config(1) has dozens of keys that name a program and gets more. A file with any other line counts as
 * dangerous, whatever the line says.
 */
const settings: Readonly<Record<string, readonly string[]>> = {
  core: [
    "repositoryformatversion",
    "filemode",
    "bare",
    "logallrefupdates",
    "ignorecase",
    "precomposeunicode",
    "symlinks",
  ],
  remote: ["url", "fetch", "tagopt", "mirror", "promisor", "partialclonefilter"],
  branch: ["remote", "merge", "rebase"],
  submodule: ["url", "active"],
  extensions: ["objectformat", "partialclone", "refstorage", "compatobjectformat"],
  user: ["name", "email"],
  init: ["defaultbranch"],
};

const sectionLine = /^\s*\[\s*([A-Za-z0-9.-]+)(?:\s+"(?:[^"\\]|\\.)*")?\s*\]\s*$/;
const keyLine = /^\s*([A-Za-z][A-Za-z0-9-]*)\s*=\s*(.*)$/;
const longest = 256 * 1024;

/**
 * Whether a `.git/config` makes git run nothing and look nowhere else.
 *
 * @param folder where it lies, relative to the workspace (`lib/.git`): a submodule's repository names its working tree,
 * which has to be in the workspace too
 */
export function isHarmlessGitConfig(text: string, folder?: string): boolean {
  if (text.length > longest) return false;
  let section: string | undefined;
  for (const line of text.split("\n")) {
    if (/^\s*([#;].*)?$/.test(line)) continue;
    const opened = sectionLine.exec(line)?.[1];
    if (opened !== undefined) {
      section = opened.toLowerCase();
      continue;
    }
    const [, key = "", value = ""] = keyLine.exec(line) ?? [];
    if (section === "core" && key.toLowerCase() === "worktree" && isInside(folder, value)) continue;
    if (section === undefined || !Object.hasOwn(settings, section)) return false;
    if (!(settings[section] ?? []).includes(key.toLowerCase())) return false;
    // A backslash may join the next line to this one; `ext::` and its kin make an address a command (gitremote-helpers).
    if (value.includes("\\") || (key.toLowerCase() === "url" && (/^["'\s]*-/.test(value) || value.includes("::"))))
      return false;
  }
  return true;
}

/** Whether a working tree that is named from a repository's folder lies in the workspace, and not in a repository. */
function isInside(folder: string | undefined, value: string): boolean {
  if (folder === undefined || !/^(\.\.\/)+[A-Za-z0-9._/-]+$/.test(value)) return false;
  const parts = posix.join(folder, value).split("/");
  return parts[0] !== ".." && !parts.some((part) => part.toLowerCase() === ".git");
}
