import { createHash } from "node:crypto";
import { closeSync } from "node:fs";
import { deflateSync } from "node:zlib";
import type { Change, ChangeSet } from "./changes.ts";
import { readFully } from "./content.ts";
import { type BytePath, Directory, DirectoryChain, type Entry, nameOf, parentOf } from "./directory.ts";
import { patchPath } from "./display-path.ts";
import { type Difference, diffLines, splitLines } from "./line-diff.ts";

/** Files beyond this are named, not compared: both sides are held in memory. */
const mostBytes = 16 * 1024 * 1024;
const contextLines = 3;

interface Side {
  readonly entry: Entry;
  /** Null where the file is too big. */
  readonly content: Buffer | null;
}

/**
 * The changes as a unified diff with git's headers, piece by piece, for `git apply` and `patch -p1`. Folders, devices,
 * fifos and sockets have no form in it and are left out; so is what could not be read. Bytes, not text: file contents
 * pass as they are, so show it on a terminal only through a filter for control characters.
 *
 * @param set from a sandbox that has ended
 */
export async function* renderDiff(set: ChangeSet): AsyncGenerator<Buffer, void, undefined> {
  using upperRoot = Directory.at(set.upper, { ours: true });
  using upper = new DirectoryChain(upperRoot);
  using lowerRoot = set.lower === null ? null : Directory.at(set.lower);
  using lower = lowerRoot === null ? null : new DirectoryChain(lowerRoot);
  for (const change of set.changes) {
    const path = change.path.toString("latin1");
    const before = lower === null ? null : sideOf(lower, path, change.before);
    const after = sideOf(upper, path, change.after);
    if (before === null && after === null) continue;
    // As git has it: what became something else was deleted and made anew.
    if (before !== null && after !== null && before.entry.type !== after.entry.type) {
      yield renderOne(change.path, before, null);
      yield renderOne(change.path, null, after);
    } else {
      yield renderOne(change.path, before, after);
    }
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** What a patch can hold of one side: a regular file or a link. */
function sideOf(chain: DirectoryChain, path: BytePath, entry: Change["before"]): Side | null {
  if (entry === null || (entry.type !== "file" && entry.type !== "link")) return null;
  try {
    const folder = chain.reach(parentOf(path));
    if (entry.type === "link") return { entry, content: folder.readLink(nameOf(path)) };
    const { fd, entry: opened } = folder.openFile(nameOf(path));
    try {
      if (opened.size > mostBytes) return { entry, content: null };
      const content = Buffer.allocUnsafe(opened.size);
      return { entry, content: content.subarray(0, readFully(fd, content)) };
    } finally {
      closeSync(fd);
    }
  } catch {
    return null; // gone or unreadable by now: applying will say so
  }
}

function gitMode(entry: Entry): string {
  if (entry.type === "link") return "120000";
  return (entry.mode & 0o100) === 0 ? "100644" : "100755";
}

function isTooBig(side: Side | null): boolean {
  return side !== null && side.content === null;
}

/** As git judges it: a NUL among the first 8,000 bytes. */
function isBinary(side: Side | null): boolean {
  return side?.content?.subarray(0, 8000).includes(0) ?? false;
}

/** As `git diff --binary` has it: both hashes in full, and both contents, so that it can be undone too. */
function binary(before: Side | null, after: Side | null): Buffer {
  const [one, other] = [before?.content ?? null, after?.content ?? null];
  if (one !== null && other !== null && one.equals(other)) return Buffer.alloc(0); // a mode alone
  const head = `index ${blobName(one)}..${blobName(other)}\nGIT binary patch\n`;
  return Buffer.concat([Buffer.from(head), literal(other), literal(one)]);
}

/** git's name for a content: its object id. */
function blobName(content: Buffer | null): string {
  if (content === null) return "0".repeat(40);
  return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
}

const bytesALine = 52;
const digits = Buffer.from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~");

/** git's base85.c: of each line the number of bytes as a letter (A to Z, a to z), then five digits for four bytes. */
function literal(content: Buffer | null): Buffer {
  const packed = deflateSync(content ?? Buffer.alloc(0));
  const lines = Math.ceil(packed.length / bytesALine);
  const out = Buffer.alloc(lines * 2 + Math.ceil(packed.length / 4) * 5);
  let end = 0;
  for (let from = 0; from < packed.length; from += bytesALine) {
    const line = packed.subarray(from, from + bytesALine);
    out[end++] = line.length <= 26 ? 0x40 + line.length : 0x60 + line.length - 26;
    for (let at = 0; at < line.length; at += 4) {
      let value = 0;
      for (let byte = at; byte < at + 4; byte++) value = value * 256 + (line[byte] ?? 0);
      for (let place = end + 4; place >= end; place--) {
        out[place] = digits[value % 85] ?? 0;
        value = Math.floor(value / 85);
      }
      end += 5;
    }
    out[end++] = 0x0a;
  }
  return Buffer.concat([Buffer.from(`literal ${content?.length ?? 0}\n`), out, Buffer.from("\n")]);
}

function renderOne(path: Buffer, before: Side | null, after: Side | null): Buffer {
  const oldName = patchPath(Buffer.concat([Buffer.from("a/"), path]));
  const newName = patchPath(Buffer.concat([Buffer.from("b/"), path]));
  const head = [`diff --git ${oldName} ${newName}`];
  if (before === null && after !== null) head.push(`new file mode ${gitMode(after.entry)}`);
  if (before !== null && after === null) head.push(`deleted file mode ${gitMode(before.entry)}`);
  if (before !== null && after !== null && gitMode(before.entry) !== gitMode(after.entry)) {
    head.push(`old mode ${gitMode(before.entry)}`, `new mode ${gitMode(after.entry)}`);
  }
  const from = before === null ? "/dev/null" : oldName;
  const to = after === null ? "/dev/null" : newName;
  if (isTooBig(before) || isTooBig(after)) {
    // Not by a header of git's: git would refuse the whole patch for a file whose content is not in it.
    return Buffer.from(`# ${newName} has more than ${mostBytes} bytes: it is not in this patch\n`);
  }
  if (isBinary(before) || isBinary(after))
    return Buffer.concat([Buffer.from(`${head.join("\n")}\n`), binary(before, after)]);
  const oldLines = splitLines(before?.content ?? Buffer.alloc(0));
  const newLines = splitLines(after?.content ?? Buffer.alloc(0));
  const differences = diffLines(oldLines, newLines);
  if (differences.length === 0) {
    // A mode alone, nothing at all, or an empty file that came or went.
    return head.length === 1 ? Buffer.alloc(0) : Buffer.from(`${head.join("\n")}\n`);
  }
  // A name with a space ends with a tab, so that patch(1) does not take the rest of the line for a date.
  const ended = (name: string): string => (name.includes(" ") && !name.startsWith('"') ? `${name}\t` : name);
  head.push(`--- ${ended(from)}`, `+++ ${ended(to)}`);
  return Buffer.concat([Buffer.from(`${head.join("\n")}\n`), ...renderHunks(differences, oldLines, newLines)]);
}

function renderHunks(
  differences: readonly Difference[],
  oldLines: readonly Buffer[],
  newLines: readonly Buffer[],
): Buffer[] {
  const pieces: Buffer[] = [];
  for (let first = 0; first < differences.length; ) {
    let last = first;
    // Differences whose contexts touch share a hunk.
    while (last + 1 < differences.length && gapAfter(differences, last) <= 2 * contextLines) last++;
    for (const piece of renderHunk(differences.slice(first, last + 1), oldLines, newLines)) pieces.push(piece);
    first = last + 1;
  }
  return pieces;
}

function gapAfter(differences: readonly Difference[], index: number): number {
  const one = differences[index];
  const next = differences[index + 1];
  return one === undefined || next === undefined ? 0 : next.oldStart - one.oldStart - one.removed;
}

function renderHunk(
  differences: readonly Difference[],
  oldLines: readonly Buffer[],
  newLines: readonly Buffer[],
): Buffer[] {
  const first = differences[0];
  const last = differences.at(-1);
  if (first === undefined || last === undefined) return [];
  const lead = Math.min(contextLines, first.oldStart);
  const tail = Math.min(contextLines, oldLines.length - last.oldStart - last.removed);
  const oldStart = first.oldStart - lead;
  const newStart = first.newStart - lead;
  const oldCount = last.oldStart + last.removed + tail - oldStart;
  const newCount = last.newStart + last.added + tail - newStart;
  const pieces: Buffer[] = [Buffer.from(`@@ -${range(oldStart, oldCount)} +${range(newStart, newCount)} @@\n`)];
  const put = (sign: string, lines: readonly Buffer[], from: number, count: number): void => {
    for (const line of lines.slice(from, from + count)) {
      pieces.push(Buffer.from(sign), line);
      if (line.at(-1) !== 0x0a) pieces.push(Buffer.from("\n\\ No newline at end of file\n"));
    }
  };
  let at = oldStart;
  for (const { oldStart: start, removed, newStart: starts, added } of differences) {
    put(" ", oldLines, at, start - at);
    put("-", oldLines, start, removed);
    put("+", newLines, starts, added);
    at = start + removed;
  }
  put(" ", oldLines, at, tail);
  return pieces;
}

/** Lines are counted from 1; an empty range names the line before it (POSIX diff, unified format). */
function range(start: number, count: number): string {
  const from = count === 0 ? start : start + 1;
  return count === 1 ? `${from}` : `${from},${count}`;
}
