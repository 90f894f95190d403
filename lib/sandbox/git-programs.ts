import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { isWithin } from "../host/paths.ts";
import { type BytePath, toBytes } from "./directory.ts";

/** One setting of git: section and key in lower case, the subsection as it stands. */
interface Setting {
  readonly section: string;
  readonly key: string;
  readonly value: string;
}

/** Keys, in any section, whose values are commands that git runs by itself (git-config(1)). An alias is asked for by name. */
const commands: ReadonlySet<string> = new Set([
  "fsmonitor",
  "sshcommand",
  "editor",
  "pager",
  "askpass",
  "gitproxy",
  "external",
  "command",
  "cmd",
  "textconv",
  "clean",
  "smudge",
  "process",
  "driver",
  "program",
  "helper",
  "difffilter",
  "update",
  "uploadpack",
  "receivepack",
]);

const longest = 1024 * 1024;
/** Of one project: words that are looked at. Where nothing makes settings read-only a session can write what it likes. */
const mostLooked = 512;
/** As git has it (MAX_INCLUDE_DEPTH). */
const deepest = 10;

const sectionStart = /^\s*\[\s*([A-Za-z0-9.-]+)(?:\s+"(?:[^"\\]|\\.)*")?\s*\]/;
const keyStart = /^\s*([A-Za-z][A-Za-z0-9-]*)\s*=\s*(.*)$/s;

/** The settings of a file that git takes, in order; what it would complain about is passed over. */
function settingsOf(text: string): Setting[] {
  const found: Setting[] = [];
  let section = "";
  for (const line of text.replaceAll("\r\n", "\n").replace(/\\\n/g, "").split("\n")) {
    const opened = sectionStart.exec(line);
    if (opened !== null) section = (opened[1] ?? "").toLowerCase();
    const [, key, value = ""] = keyStart.exec(opened === null ? line : line.slice(opened[0].length)) ?? [];
    if (key !== undefined) found.push({ section, key: key.toLowerCase(), value: plainValue(value) });
  }
  return found;
}

/** Without its quotes, escapes and comment. */
function plainValue(text: string): string {
  let value = "";
  let isQuoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? "";
    if (character === '"') isQuoted = !isQuoted;
    else if (character === "\\") value += text[++at] ?? "";
    else if (!isQuoted && (character === "#" || character === ";")) break;
    else value += character;
  }
  return value.trim();
}

/**
 * What git takes programs and settings from, in a project's own folder, since its settings say so: the folder of
 * `core.hooksPath`, files that are included, and scripts that commands name. None leads out of the project.
 *
 * @param project where it lies on the host
 * @param settings its files of settings, relative to it
 * @returns paths relative to it, there or not
 */
export function programsOfGit(project: BytePath, settings: readonly BytePath[]): readonly BytePath[] {
  const names = new Set<BytePath>();
  const resolved = (base: BytePath, value: string): BytePath | null => {
    const path = posix.normalize(value.startsWith("/") ? value : posix.join(project, base, value)).replace(/\/$/, "");
    const name = path.slice(project.length + 1);
    // A repository's own folder is written by every commit.
    return path !== project && isWithin(path, project) && !isWithin(".git", name) ? name : null;
  };
  let looked = 0;
  const look = (file: BytePath, depth: number): void => {
    const text = looked++ < mostLooked && depth <= deepest ? textOf(`${project}/${file}`) : null;
    if (text === null) return;
    for (const { section, key, value } of settingsOf(text)) {
      if (section === "core" && key === "hookspath") {
        const name = looked++ < mostLooked ? resolved("", value) : null;
        if (name !== null) names.add(name);
      } else if ((section === "include" || section === "includeif") && key === "path") {
        const name = resolved(posix.dirname(file), value);
        if (name === null || names.has(name) || looked++ >= mostLooked) continue;
        names.add(name);
        look(name, depth + 1);
      } else if (commands.has(key)) {
        for (const word of value.split(/[\s"'!;|&()<>]+/)) {
          const name = word.includes("/") && looked++ < mostLooked ? resolved("", word) : null;
          if (name !== null && isFile(`${project}/${name}`)) names.add(name);
        }
      }
    }
  };
  for (const file of settings) look(file, 0);
  return [...names];
}

function isFile(path: BytePath): boolean {
  try {
    return lstatSync(toBytes(path), { throwIfNoEntry: false })?.isDirectory() === false;
  } catch {
    return false;
  }
}

/** Null for what is no regular file, or too big. */
function textOf(path: BytePath): string | null {
  let fd: number;
  try {
    fd = openSync(toBytes(path), constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return null;
  }
  try {
    const status = fstatSync(fd);
    return status.isFile() && status.size <= longest ? readFileSync(fd, "latin1") : null;
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}
