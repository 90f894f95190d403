import { crc32, inflateRawSync } from "node:zlib";
import { ArchiveBudget, ArchiveError, type ArchiveLimits, type ArchiveMember, decodeName } from "./members.ts";

// PKWARE's APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory entry), 4.3.16 (end of the directory).
const localSignature = 0x04034b50;
const entrySignature = 0x02014b50;
const endSignature = 0x06054b50;
const endLength = 22;
const longestComment = 65_535;
const encryptedFlags = 0x2041;
const typeMask = 0o170000;
const regularType = 0o100000;
const folderType = 0o040000;

export function isZip(archive: Uint8Array): boolean {
  return archive.length >= 4 && Buffer.from(archive.buffer, archive.byteOffset, 4).readUInt32LE(0) === localSignature;
}

/**
 * The regular files and folders of a zip archive, by its central directory. Stored and deflated members only; no zip64,
 * no encryption, no second disk. The directory and the local headers must agree, members may not overlap, and sizes and
 * checksums are checked: what another program would read differently is refused.
 *
 * @throws ArchiveError
 */
export function readZip(bytes: Uint8Array, limits: ArchiveLimits): ArchiveMember[] {
  const archive = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = findEnd(archive);
  const count = archive.readUInt16LE(end + 10);
  const size = archive.readUInt32LE(end + 12);
  const start = archive.readUInt32LE(end + 16);
  if (archive.readUInt16LE(end + 4) !== 0 || archive.readUInt16LE(end + 6) !== 0) throw odd("has several disks");
  if (archive.readUInt16LE(end + 8) !== count) throw odd("has a directory that does not agree with itself");
  if (count === 0xffff || size === 0xffffffff || start === 0xffffffff) throw odd("is a zip64 archive");
  if (start + size !== end) throw odd("has bytes around its directory");
  const budget = new ArchiveBudget(limits);
  const members: ArchiveMember[] = [];
  const spans: { from: number; to: number }[] = [];
  let at = start;
  for (let index = 0; index < count; index += 1) {
    if (at + 46 > end || archive.readUInt32LE(at) !== entrySignature) throw odd("has a broken directory");
    const nameLength = archive.readUInt16LE(at + 28);
    const next = at + 46 + nameLength + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
    if (next > end) throw odd("has a broken directory");
    budget.countMember(nameLength);
    const name = archive.subarray(at + 46, at + 46 + nameLength);
    const entry: Entry = {
      name,
      madeBy: archive.readUInt16LE(at + 4) >>> 8,
      flags: archive.readUInt16LE(at + 8),
      method: archive.readUInt16LE(at + 10),
      checksum: archive.readUInt32LE(at + 16),
      packed: archive.readUInt32LE(at + 20),
      size: archive.readUInt32LE(at + 24),
      mode: archive.readUInt32LE(at + 38) >>> 16,
      offset: archive.readUInt32LE(at + 42),
    };
    at = next;
    const member = readMember(archive, entry, start, budget, spans);
    if (member !== undefined) members.push(member);
  }
  if (at !== end) throw odd("has bytes after its directory");
  spans.sort((left, right) => left.from - right.from);
  for (const [index, span] of spans.entries()) {
    const before = spans[index - 1];
    if (before !== undefined && before.to > span.from) throw odd("has members that overlap");
  }
  return members;
}

interface Entry {
  readonly name: Buffer;
  readonly madeBy: number;
  readonly flags: number;
  readonly method: number;
  readonly checksum: number;
  readonly packed: number;
  readonly size: number;
  readonly mode: number;
  readonly offset: number;
}

function odd(what: string): ArchiveError {
  return new ArchiveError(`the zip archive ${what}`);
}

function findEnd(archive: Buffer): number {
  const first = Math.max(0, archive.length - endLength - longestComment);
  for (let at = archive.length - endLength; at >= first; at -= 1) {
    if (archive.readUInt32LE(at) !== endSignature) continue;
    if (at + endLength + archive.readUInt16LE(at + 20) === archive.length) return at;
  }
  throw odd("has no directory");
}

function readMember(
  archive: Buffer,
  entry: Entry,
  directory: number,
  budget: ArchiveBudget,
  spans: { from: number; to: number }[],
): ArchiveMember | undefined {
  const { offset } = entry;
  if ((entry.flags & encryptedFlags) !== 0) throw odd("is encrypted");
  if (entry.packed === 0xffffffff || entry.size === 0xffffffff || offset === 0xffffffff)
    throw odd("is a zip64 archive");
  if (offset + 30 > directory || archive.readUInt32LE(offset) !== localSignature) throw odd("has a broken member");
  const nameLength = archive.readUInt16LE(offset + 26);
  const from = offset + 30 + nameLength + archive.readUInt16LE(offset + 28);
  const to = from + entry.packed;
  if (to > directory) throw odd("has a broken member");
  const localName = archive.subarray(offset + 30, offset + 30 + nameLength);
  if (!localName.equals(entry.name) || archive.readUInt16LE(offset + 8) !== entry.method) {
    throw odd("has a directory that does not agree with its members");
  }
  spans.push({ from: offset, to });
  const name = decodeName(entry.name);
  const isFolder = name.endsWith("/");
  // The upper half holds a Unix mode only where a Unix or macOS program wrote it (4.4.2).
  const mode = entry.madeBy === 3 || entry.madeBy === 19 ? entry.mode : 0;
  const type = mode & typeMask;
  if (type !== 0 && type !== regularType && type !== folderType) return undefined;
  if ((type === folderType) !== isFolder && type !== 0) throw odd("has a folder that is a file");
  if (isFolder) {
    if (entry.size !== 0) throw odd("has a folder with content");
    return { name, isFolder, executable: false, data: new Uint8Array() };
  }
  budget.countBytes(entry.size);
  const data = unpack(archive.subarray(from, to), entry);
  if (data.length !== entry.size || crc32(data) !== entry.checksum) throw odd("has a damaged member");
  return { name, isFolder, executable: (mode & 0o111) !== 0, data };
}

function unpack(packed: Buffer, entry: Entry): Uint8Array {
  if (entry.method === 0) return packed;
  if (entry.method !== 8) throw odd(`has a member packed by method ${entry.method}`);
  try {
    // One byte above what it says it has: enough to see that it has more.
    return inflateRawSync(packed, { maxOutputLength: entry.size + 1 });
  } catch {
    throw odd("has a damaged member");
  }
}
