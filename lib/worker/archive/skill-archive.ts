import { gunzipSync } from "node:zlib";
import { ArchiveError, type ArchiveLimits, type ArchiveMember, defaultLimits } from "./members.ts";
import { readTar } from "./tar.ts";
import { isZip, readZip } from "./zip.ts";

/** A file to be put below a skill's folder. */
export interface SkillFile {
  /** Relative, `/` between components, none of them empty, `.` or `..`. */
  readonly path: string;
  readonly executable: boolean;
  readonly data: Uint8Array;
}

const longestComponent = 255;
const longestPath = 1024;

/**
 * The files of a skill's archive (protocol section 12): zip, tar or gzipped tar. A single top folder shared by all
 * members is stripped. It is only read: nothing is written anywhere.
 *
 * @throws ArchiveError when it is damaged, too large, or has a name that would lead outside
 */
export function readSkillArchive(archive: Uint8Array, limits: ArchiveLimits = defaultLimits): SkillFile[] {
  const members = isZip(archive) ? readZip(archive, limits) : readTar(unzipped(archive, limits), limits);
  const named = members
    .map((member) => ({ member, parts: componentsOf(member.name) }))
    .filter(({ parts }) => parts.length > 0);
  const top = sharedTop(named);
  const files = new Map<string, SkillFile>();
  const folders = new Set<string>();
  for (const { member, parts } of named) {
    const inside = top ? parts.slice(1) : parts;
    for (let depth = 1; depth < inside.length; depth += 1) folders.add(inside.slice(0, depth).join("/"));
    const path = inside.join("/");
    if (path === "") continue;
    if (path.length > longestPath) throw new ArchiveError("a member's path is too long");
    if (member.isFolder) folders.add(path);
    else if (files.has(path)) throw new ArchiveError(`it has two members ${JSON.stringify(path)}`);
    else files.set(path, { path, executable: member.executable, data: member.data });
  }
  for (const path of files.keys()) {
    if (folders.has(path)) throw new ArchiveError(`${JSON.stringify(path)} is both a file and a folder`);
  }
  return [...files.values()];
}

function unzipped(archive: Uint8Array, limits: ArchiveLimits): Uint8Array {
  if (archive[0] !== 0x1f || archive[1] !== 0x8b) return archive;
  try {
    // Headers and padding come on top of the files.
    return gunzipSync(archive, { maxOutputLength: limits.bytes + limits.members * 1024 + limits.nameBytes });
  } catch {
    throw new ArchiveError("the gzip stream is damaged, or unpacks to too much");
  }
}

/** A name's components, `.` and empty ones left out. */
function componentsOf(name: string): string[] {
  if (name.startsWith("/") || /^[A-Za-z]:/.test(name)) throw outside(name);
  const all = name.split("/");
  // A backslash is a separator to some programs that read the same archive.
  if (all.includes("..") || name.split(/[\\/]/).includes("..")) throw outside(name);
  const parts = all.filter((part) => part !== "" && part !== ".");
  for (const part of parts) {
    if (Buffer.byteLength(part) > longestComponent) throw new ArchiveError("a member's name is too long");
    if (part.includes("\0")) throw new ArchiveError("a member's name holds a NUL");
  }
  return parts;
}

function outside(name: string): ArchiveError {
  return new ArchiveError(`the member ${JSON.stringify(name.slice(0, 200))} would lead outside`);
}

function sharedTop(named: readonly { member: ArchiveMember; parts: readonly string[] }[]): boolean {
  const first = named[0]?.parts[0];
  return (
    named.every(({ parts, member }) => parts[0] === first && (parts.length > 1 || member.isFolder)) &&
    named.some(({ parts }) => parts.length > 1)
  );
}
