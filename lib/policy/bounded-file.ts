import { closeSync, openSync, readSync } from "node:fs";

const chunkBytes = 1024 * 1024;

/**
 * A file's bytes, and at most one more than it may have, so that /dev/zero is refused for its size like any large file.
 *
 * @throws what open(2) and read(2) say
 */
export function readBounded(file: string, most: number): Buffer {
  const chunks: Buffer[] = [];
  const descriptor = openSync(file, "r");
  try {
    for (let left = most + 1; left > 0; ) {
      const chunk = Buffer.allocUnsafe(Math.min(left, chunkBytes));
      const count = readSync(descriptor, chunk, 0, chunk.length, null);
      if (count === 0) break;
      chunks.push(chunk.subarray(0, count));
      left -= count;
    }
  } finally {
    closeSync(descriptor);
  }
  return Buffer.concat(chunks);
}
