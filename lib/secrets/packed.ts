import { pipeline, Readable, type Transform } from "node:stream";
import { createGunzip, createInflateRaw, createZstdDecompress } from "node:zlib";
import type { FileScan, Leak } from "./leak-guard.ts";

/** A file's bytes by their places. */
export interface ByPlace {
  readonly size: number;
  /** Fewer at the end. */
  read(at: number, length: number): Buffer;
}

/** In all that one file packs: reading it takes some seconds. */
const mostUnpacked = 1024 * 1024 * 1024;
/** A packed file in another one is held, to be read by its places. */
const mostHeld = 64 * 1024 * 1024;
const deepest = 4;
const chunkBytes = 64 * 1024;
const unpacking = { chunkSize: chunkBytes };

type Kind = "gzip" | "zip" | "zstd";

/** RFC 1952, RFC 8878, and PKWARE's APPNOTE 4.3.7 */
const beginnings: readonly (readonly [kind: Kind, magic: Buffer])[] = [
  ["gzip", Buffer.from("1f8b08", "hex")],
  ["zstd", Buffer.from("28b52ffd", "hex")],
  ["zip", Buffer.from("504b0304", "hex")],
];

function kindOf(beginning: Buffer): Kind | undefined {
  return beginnings.find(([, magic]) => beginning.subarray(0, magic.length).equals(magic))?.[0];
}

export interface PackedLeaks {
  readonly leaks: readonly Leak[];
  /** Whether all of it was read, as far as it reads. */
  readonly isWhole: boolean;
}

class TooMuch extends Error {}

/**
 * Looks for secrets in what a file packs: gzip, zstd and the members of a zip archive, and what these pack. What does not read
 * as it should ends there, as it would for whoever unpacks it.
 */
export async function searchPacked(file: ByPlace, scan: () => FileScan, signal?: AbortSignal): Promise<PackedLeaks> {
  const search = new PackedSearch(scan, signal);
  try {
    await search.file(file, 1);
    return { leaks: search.leaks, isWhole: true };
  } catch (error) {
    if (error instanceof TooMuch) return { leaks: search.leaks, isWhole: false };
    throw error;
  }
}

class PackedSearch {
  readonly #scan: () => FileScan;
  readonly #signal: AbortSignal | undefined;
  readonly #leaks = new Map<string, Leak>();
  #left = mostUnpacked;

  constructor(scan: () => FileScan, signal: AbortSignal | undefined) {
    this.#scan = scan;
    this.#signal = signal;
  }

  get leaks(): readonly Leak[] {
    return [...this.#leaks.values()];
  }

  async file(file: ByPlace, depth: number): Promise<void> {
    const kind = kindOf(file.read(0, 4));
    if (kind === undefined) return;
    if (depth > deepest) throw new TooMuch();
    if (kind !== "zip")
      return this.#content(
        through(file, 0, file.size, kind === "gzip" ? createGunzip(unpacking) : createZstdDecompress(unpacking)),
        depth,
      );
    for (const { at, length, isDeflated } of members(file)) {
      const content = isDeflated ? through(file, at, length, createInflateRaw(unpacking)) : chunks(file, at, length);
      await this.#content(content, depth);
    }
  }

  async #content(content: AsyncIterable<Buffer> | Iterable<Buffer>, depth: number): Promise<void> {
    const scan = this.#scan();
    const held: Buffer[] = [];
    let size = 0;
    let isPacked = false;
    for await (const chunk of content) {
      this.#signal?.throwIfAborted();
      if (size === 0) isPacked = kindOf(chunk) !== undefined;
      size += chunk.length;
      this.#left -= chunk.length;
      if (this.#left < 0 || (isPacked && size > mostHeld)) throw new TooMuch();
      scan.push(chunk);
      if (isPacked) held.push(Buffer.from(chunk));
    }
    for (const leak of scan.end()) {
      const { what, form } = leak;
      this.#leaks.set(`${what} ${form}`, { ...leak, form: `${form}, packed` });
    }
    if (isPacked) await this.file(inMemory(Buffer.concat(held)), depth + 1);
  }
}

export function inMemory(bytes: Buffer): ByPlace {
  return { size: bytes.length, read: (at, length) => bytes.subarray(at, at + length) };
}

function* chunks(file: ByPlace, from: number, length: number): Generator<Buffer, void, void> {
  for (let at = from; at < from + length; ) {
    const chunk = file.read(at, Math.min(chunkBytes, from + length - at));
    if (chunk.length === 0) return;
    yield chunk;
    at += chunk.length;
  }
}

/** As it reads, to its end or to where it is broken. */
async function* through(
  file: ByPlace,
  from: number,
  length: number,
  unpack: Transform,
): AsyncGenerator<Buffer, void, void> {
  pipeline(Readable.from(chunks(file, from, length)), unpack, () => {});
  try {
    yield* unpack as AsyncIterable<Buffer>;
  } catch (error) {
    if (error instanceof Error && "syscall" in error) throw error;
  }
}

interface Member {
  readonly at: number;
  readonly length: number;
  readonly isDeflated: boolean;
}

const endLength = 22;
const longestComment = 65_535;

/** What a zip archive's directory lists that is not encrypted (APPNOTE 4.3.7, 4.3.12, 4.3.16). */
function* members(file: ByPlace): Generator<Member, void, void> {
  const from = Math.max(0, file.size - endLength - longestComment);
  const end = file.read(from, file.size - from);
  const last = end.lastIndexOf(Buffer.from("504b0506", "hex"), end.length - endLength);
  if (last < 0) return;
  const count = end.readUInt16LE(last + 10);
  const directory = end.readUInt32LE(last + 16);
  for (let at = directory, n = 0; n < count; n++) {
    const entry = file.read(at, 46);
    if (entry.length < 46 || entry.readUInt32LE(0) !== 0x02014b50) return;
    const method = entry.readUInt16LE(10);
    const isEncrypted = (entry.readUInt16LE(8) & 1) !== 0;
    const local = entry.readUInt32LE(42);
    const names = file.read(local + 26, 4);
    if (!isEncrypted && (method === 0 || method === 8) && names.length === 4)
      yield {
        at: local + 30 + names.readUInt16LE(0) + names.readUInt16LE(2),
        length: entry.readUInt32LE(20),
        isDeflated: method === 8,
      };
    at += 46 + entry.readUInt16LE(28) + entry.readUInt16LE(30) + entry.readUInt16LE(32);
  }
}
