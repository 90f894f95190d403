import { read } from "node:fs";
import { abortReason, ToolError } from "./tool.ts";

const CHUNK_BYTES = 256 * 1024;

/**
 * The bytes of an open file from its start, chunk by chunk, to its end as it is found by reading: a size that the file
 * system states is not believed. A chunk is valid until the next one is asked for. Ends with `<tool>: <reason>` when
 * the signal is aborted.
 */
export async function* chunksOf(tool: string, fd: number, signal: AbortSignal): AsyncGenerator<Buffer, void, void> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let position = 0;
  for (;;) {
    if (signal.aborted) throw new ToolError(`${tool}: ${abortReason(signal)}`);
    const bytes = await readAt(fd, buffer, position);
    if (bytes === 0) return;
    position += bytes;
    yield buffer.subarray(0, bytes);
  }
}

/** The whole content of an open file, or null when it has more than `limit` bytes. */
export async function readWhole(tool: string, fd: number, limit: number, signal: AbortSignal): Promise<Buffer | null> {
  const parts: Buffer[] = [];
  let total = 0;
  for await (const chunk of chunksOf(tool, fd, signal)) {
    total += chunk.length;
    if (total > limit) return null;
    parts.push(Buffer.from(chunk));
  }
  return Buffer.concat(parts, total);
}

function readAt(fd: number, buffer: Buffer, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, buffer.length, position, (error, bytes) => (error ? reject(error) : resolve(bytes)));
  });
}
