import { closeSync, constants, createWriteStream, fstatSync, openSync } from "node:fs";
import { Socket } from "node:net";
import type { Writable } from "node:stream";
import { isatty, ReadStream } from "node:tty";

const { O_NOCTTY, O_NONBLOCK, O_RDWR, O_WRONLY } = constants;

/**
 * Where what the command prints goes. Node's own process.stdout waits in write(2) for a slow reader, and as long as it
 * waits no timeout and no signal is seen. So a pipe or a terminal is opened anew through /proc: what is then made
 * non-blocking is ours alone, and not shared with whoever else writes there.
 */
export function openOutput(fd: 1 | 2): Writable {
  const own = fd === 1 ? process.stdout : process.stderr;
  try {
    if (isatty(fd)) return openTerminal(fd);
    const status = fstatSync(fd);
    // A socket cannot be opened by name; what is set on it here, Node sets back at the end.
    if (status.isSocket()) return new Socket({ fd, readable: false, writable: true });
    if (!status.isFIFO()) return own; // a file keeps nobody waiting
    const fifo = openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY);
    return new Socket({ fd: fifo, readable: false, writable: true });
  } catch {
    // A pipe of another user's, no /proc, or a reader that is gone already: the write will say.
    return own;
  }
}

/** The terminal behind one of our descriptors, for writing without waiting. */
export function openTerminal(of: 0 | 1 | 2): Writable {
  let fd: number;
  try {
    fd = openSync(`/proc/self/fd/${of}`, O_RDWR | O_NOCTTY);
  } catch {
    // Another user's (su), or no /proc: a thread waits in our place.
    return createWriteStream("", { fd: of, autoClose: false });
  }
  try {
    return new ReadStream(fd); // both ways; a tty.WriteStream would wait
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Whether standard output and standard error are one and the same: then the command's are, too, and stay in order. */
export function outputsAreOne(): boolean {
  try {
    const [out, err] = [fstatSync(1), fstatSync(2)];
    return out.dev === err.dev && out.ino === err.ino && out.rdev === err.rdev;
  } catch {
    return false;
  }
}

export interface Handing {
  /** What of a chunk may pass. */
  readonly admit: (chunk: Buffer) => Buffer;
  /** Nothing more can be written, and why. */
  readonly failed: (error: NodeJS.ErrnoException) => void;
}

/**
 * Hands on what one stream reads, at the pace of whoever reads the other. What it returns reads all that is left at
 * once: for when nobody writes any more, and it is no more than a pipe holds.
 */
export function hand(from: NodeJS.ReadableStream, to: Writable, { admit, failed }: Handing): () => void {
  let isPaced = true;
  to.on("error", failed);
  to.on("drain", () => from.resume());
  from.on("data", (chunk: Buffer) => {
    const passing = admit(chunk);
    if (passing.length > 0 && !to.destroyed && !to.write(passing) && isPaced) from.pause();
  });
  return () => {
    isPaced = false;
    from.resume();
  };
}

/** Resolves when all that was written has arrived, or can arrive no more. */
export function flushed(to: Writable): Promise<void> {
  return new Promise((resolve) => {
    if (to.destroyed || to.writableLength === 0) {
      resolve();
      return;
    }
    to.once("error", () => resolve());
    to.once("close", () => resolve());
    to.write("", () => resolve());
  });
}
