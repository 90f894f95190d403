import { Socket } from "node:net";
import { constants } from "node:os";
import { Readable, Writable } from "node:stream";
import { getSystemErrorName } from "node:util";
import { native } from "../native.ts";

/** Node's net.Socket takes a descriptor; Bun's and Deno's do not: there the addon reads on a thread of its own. */
export const socketsTakeDescriptors: boolean =
  process.versions["bun"] === undefined && process.versions["deno"] === undefined;

const retryMs = 2;

/** A stream that reads a pipe or socket of ours; it owns the descriptor. */
export function readableFrom(fd: number): Readable & { ref?(): void; unref?(): void } {
  if (socketsTakeDescriptors) return new Socket({ fd, readable: true, writable: false });
  const stream = new Readable({ read: () => {} });
  native().watchEvents(fd, (chunk) => {
    if (chunk === null) native().close(fd);
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
        while (at < chunk.length) {
          const written = native().write(fd, chunk.subarray(at), -1);
          if (written >= 0) {
            at += written;
            continue;
          }
          // The pipe is full: the child has yet to read.
          if (written === -constants.errno.EAGAIN) setTimeout(go, retryMs);
          else callback(Object.assign(new Error("write"), { code: getSystemErrorName(written), syscall: "write" }));
          return;
        }
        callback();
      };
      go();
    },
    destroy(error, callback): void {
      native().close(fd);
      callback(error);
    },
  });
}
