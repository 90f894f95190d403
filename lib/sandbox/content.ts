import { randomBytes } from "node:crypto";
import { readSync, unlinkSync, writeSync } from "node:fs";
import type { ByPlace } from "../secrets/packed.ts";
import type { BytePath, Directory, Walk } from "./directory.ts";

const chunkBytes = 256 * 1024;

/** Reads until the buffer is full or the file at its end; returns the bytes read. */
export function readFully(fd: number, buffer: Buffer): number {
  let filled = 0;
  while (filled < buffer.length) {
    const read = readSync(fd, buffer, filled, buffer.length - filled, null);
    if (read === 0) break;
    filled += read;
  }
  return filled;
}

/** An open file by its places. */
export function byPlace(fd: number, size: number): ByPlace {
  return {
    size,
    read: (at, length) => {
      const buffer = Buffer.allocUnsafe(Math.min(length, Math.max(0, size - at)));
      return buffer.subarray(0, buffer.length === 0 ? 0 : readSync(fd, buffer, 0, buffer.length, at));
    },
  };
}

/**
 * Copies from one open file to another, and gives way in between.
 *
 * @param to null: it is only read
 * @param onChunk sees each piece
 * @returns the bytes read; more than `mostBytes` when the file went on beyond it
 */
export async function copyContent(
  from: number,
  to: number | null,
  walk: Walk,
  { mostBytes = Number.POSITIVE_INFINITY, onChunk }: { mostBytes?: number; onChunk?: (chunk: Buffer) => void } = {},
): Promise<number> {
  const buffer = Buffer.allocUnsafe(chunkBytes);
  let total = 0;
  for (;;) {
    const read = readSync(from, buffer, 0, buffer.length, null);
    if (read === 0) return total;
    total += read;
    if (total > mostBytes) return total;
    onChunk?.(buffer.subarray(0, read));
    for (let written = 0; to !== null && written < read; ) written += writeSync(to, buffer, written, read - written);
    await walk.breathe();
  }
}

/** A name that nobody can foresee, for what is renamed into its place. */
export function temporaryName(): BytePath {
  return `.holdfast-${randomBytes(9).toString("base64url")}.tmp`;
}

/** Takes a temporary file away, if it is still there. */
export function discard(folder: Directory, name: BytePath): void {
  try {
    unlinkSync(folder.at(name));
  } catch {
    // It was renamed into its place, or taken away by somebody else.
  }
}
