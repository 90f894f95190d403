import { closeSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { Readable, Writable } from "node:stream";
import { native } from "../native.ts";

/** Bun's net.Socket does not take a descriptor; there the addon reads on a thread of its own. */
const socketsTakeDescriptors = process.versions["bun"] === undefined;

const retryMs = 2;

/** A stream that reads a pipe or socket of ours; it owns the descriptor. */
export function readableFrom(fd: number): Readable & { ref?(): void; unref?(): void } {
  if (socketsTakeDescriptors) return new Socket({ fd, readable: true, writable: false });
  const stream = new Readable({ read: () => {} });
  native().watchEvents(fd, (chunk) => {
    if (chunk === null) closeSync(fd);
    stream.push(chunk);
  });
  return stream;
}

/** A stream that writes to a pipe of ours; it owns the descriptor. */
export function writableTo(fd: number): Writable {
  if (socketsTakeDescriptors) return new Socket({ fd, readable: false, writable: true });
  return new Writable({
    write(chunk: Buffer, _encoding, callback): void {
      let at = 0;
      const go = (): void => {
        try {
          while (at < chunk.length) at += writeSync(fd, chunk, at);
          callback();
        } catch (error) {
          // The pipe is full: the child has yet to read.
          if (error instanceof Error && "code" in error && error.code === "EAGAIN") setTimeout(go, retryMs);
          else callback(error instanceof Error ? error : new Error(String(error)));
        }
      };
      go();
    },
    destroy(error, callback): void {
      closeSync(fd);
      callback(error);
    },
  });
}
