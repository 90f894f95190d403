import { ArchiveBudget, ArchiveError, type ArchiveLimits, type ArchiveMember, decodeName } from "./members.ts";

// POSIX.1-2024, pax, "ustar Interchange Format" and "pax Extended Header"; GNU tar's manual, "Basic Tar Format".
const blockSize = 512;
const mostHeaderBytes = 1024 * 1024;

/**
 * The regular files and folders of a tar archive: old, ustar, pax and GNU long names. Links, devices and fifos are left
 * out; sparse files, multi-volume parts and types that are not known are refused.
 *
 * @throws ArchiveError
 */
export function readTar(bytes: Uint8Array, limits: ArchiveLimits): ArchiveMember[] {
  const archive = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const budget = new ArchiveBudget(limits);
  const members: ArchiveMember[] = [];
  let longName: Buffer | undefined;
  let pax: ReadonlyMap<string, Buffer> = new Map();
  let globalPath = false;
  for (let at = 0; ; ) {
    if (at + blockSize > archive.length) throw odd("is cut off");
    const header = archive.subarray(at, at + blockSize);
    if (header.every((byte) => byte === 0)) return members;
    checkSum(header);
    const type = String.fromCharCode(header[156] ?? 0);
    const paxSize = pax.get("size");
    const size = paxSize === undefined ? readNumber(header.subarray(124, 136)) : readDecimal(paxSize);
    // A hard link may or may not be followed by the file's bytes, as its writer liked: readers differ.
    if (type === "1" && size > 0) throw odd("has a link with content");
    const hasContent = !["1", "2", "3", "4", "5", "6"].includes(type);
    const from = at + blockSize;
    const to = from + (hasContent ? size : 0);
    if (to > archive.length) throw odd("is cut off");
    at = from + Math.ceil((to - from) / blockSize) * blockSize;
    const content = archive.subarray(from, to);
    switch (type) {
      case "L":
        longName = untilNul(extension(content));
        continue;
      case "K":
        extension(content);
        continue;
      case "x":
        pax = readPax(extension(content));
        continue;
      case "g":
        globalPath ||= readPax(extension(content)).has("path");
        if (globalPath) throw odd("names all its members alike");
        continue;
    }
    const rawName = pax.get("path") ?? longName ?? shortName(header);
    if ([...pax.keys()].some((key) => key.startsWith("GNU.sparse"))) throw odd("has a sparse file");
    longName = undefined;
    pax = new Map();
    budget.countMember(rawName.length);
    const name = decodeName(rawName);
    if (name.includes("\0")) throw odd("has a name with a NUL");
    const mode = readNumber(header.subarray(100, 108));
    switch (type) {
      case "0":
      case "7":
      case "\0": {
        // Before ustar a folder was a file whose name ends in a slash.
        const isFolder = name.endsWith("/");
        if (isFolder && size > 0) throw odd("has a folder with content");
        budget.countBytes(content.length);
        members.push({ name, isFolder, executable: !isFolder && (mode & 0o111) !== 0, data: content });
        break;
      }
      case "5":
        members.push({ name, isFolder: true, executable: false, data: new Uint8Array() });
        break;
      case "1":
      case "2":
      case "3":
      case "4":
      case "6":
        // Links, devices and fifos: not taken, and not a reason to refuse the rest.
        break;
      default:
        throw odd(`has a member of type ${JSON.stringify(type)}`);
    }
  }
}

function odd(what: string): ArchiveError {
  return new ArchiveError(`the tar archive ${what}`);
}

/** The sum of a header's bytes, its own eight counted as spaces. */
function checkSum(header: Buffer): void {
  let sum = 8 * 0x20;
  for (const [index, byte] of header.entries()) if (index < 148 || index >= 156) sum += byte;
  if (readNumber(header.subarray(148, 156)) !== sum) throw odd("is damaged, or is no tar archive");
}

/** Octal digits in a field, or GNU's base 256 when the first bit is set. */
function readNumber(field: Buffer): number {
  const first = field[0] ?? 0;
  if ((first & 0x80) !== 0) {
    if (first !== 0x80) throw odd("has a number out of range");
    let value = 0n;
    for (const byte of field.subarray(1)) value = value * 256n + BigInt(byte);
    return safe(Number(value));
  }
  const text = untilNul(field).toString("latin1").trim();
  if (!/^[0-7]*$/.test(text)) throw odd("has a number that is none");
  return text === "" ? 0 : safe(Number.parseInt(text, 8));
}

function readDecimal(field: Buffer): number {
  const text = field.toString("latin1");
  if (!/^\d{1,16}$/.test(text)) throw odd("has a number that is none");
  return safe(Number(text));
}

function safe(value: number): number {
  if (!Number.isSafeInteger(value)) throw odd("has a number out of range");
  return value;
}

function untilNul(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return end === -1 ? bytes : bytes.subarray(0, end);
}

function extension(content: Buffer): Buffer {
  if (content.length > mostHeaderBytes) throw odd("has a header that is too long");
  return content;
}

function shortName(header: Buffer): Buffer {
  const name = untilNul(header.subarray(0, 100));
  // GNU's own format keeps other things where ustar has the prefix.
  const isUstar = header.subarray(257, 263).equals(Buffer.from("ustar\0"));
  const prefix = isUstar ? untilNul(header.subarray(345, 500)) : Buffer.alloc(0);
  return prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from("/"), name]);
}

/** Records `LENGTH KEY=VALUE\n`. */
function readPax(content: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(0x20, at);
    const length = space === -1 || space - at > 8 ? Number.NaN : Number(content.toString("latin1", at, space));
    const end = at + length;
    const equals = content.indexOf(0x3d, space);
    if (!(length > 0) || end > content.length || content[end - 1] !== 0x0a || equals === -1 || equals >= end) {
      throw odd("has a broken extended header");
    }
    records.set(content.toString("utf8", space + 1, equals), content.subarray(equals + 1, end - 1));
    at = end;
  }
  return records;
}
