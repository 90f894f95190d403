import { native } from "../native.ts";
import type { ConfinedProcess } from "./process.ts";

/** How long a call may run before its pipes get streams: one that is over sooner is read with two system calls. */
const patienceMs = 4;

/** Collects what a call prints on one descriptor, up to a bound; what is beyond it is read and dropped. */
class Collector {
  #chunks: Buffer[] = [];
  #size = 0;
  readonly #most: number;
  truncated = false;

  constructor(most: number) {
    this.#most = most;
  }

  add(chunk: Buffer): void {
    const room = this.#most - this.#size;
    if (chunk.length > room) this.truncated = true;
    if (room <= 0) return;
    const kept = chunk.length > room ? chunk.subarray(0, room) : chunk;
    this.#chunks.push(kept);
    this.#size += kept.length;
  }

  get content(): Buffer {
    return this.#chunks.length === 1 ? (this.#chunks[0] ?? Buffer.alloc(0)) : Buffer.concat(this.#chunks);
  }
}

export interface Captured {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly truncated: boolean;
}

export interface CaptureOptions {
  readonly maxBufferBytes: number;
  /** Both together; beyond it the call is ended. */
  readonly outputBytes: number | undefined;
}

/** Resolves when the call has ended and its pipes are closed. Rejects when it could not be started. */
export function capture(child: ConfinedProcess, options: CaptureOptions): Promise<Captured> {
  return new Promise((resolve, reject) => {
    const collectors = [new Collector(options.maxBufferBytes), new Collector(options.maxBufferBytes)] as const;
    let seen = 0;
    const take = (place: 0 | 1, chunk: Buffer): void => {
      seen += chunk.length;
      collectors[place].add(chunk);
      if (options.outputBytes !== undefined && seen > options.outputBytes) child.killForLimit("output");
    };
    const stream = (): void => {
      child.stdout?.on("data", (chunk: Buffer) => take(0, chunk));
      child.stderr?.on("data", (chunk: Buffer) => take(1, chunk));
    };
    const timer = setTimeout(stream, patienceMs);
    child.once("error", (error) => {
      clearTimeout(timer);
      child.closeRaw();
      reject(error);
    });
    child.once("exit", () => {
      clearTimeout(timer);
      // What is in the pipes now is all there is, unless a process of the call's holds them open.
      let open = false;
      for (const place of [1, 2] as const) {
        const fd = child.rawFd(place);
        if (fd < 0) continue;
        for (;;) {
          const chunk = native().readNow(fd);
          if (chunk === null) break;
          if (chunk === undefined) {
            open = true;
            break;
          }
          take(place === 1 ? 0 : 1, chunk);
        }
      }
      if (open) stream();
    });
    child.once("close", () => {
      resolve({
        stdout: collectors[0].content,
        stderr: collectors[1].content,
        truncated: collectors[0].truncated || collectors[1].truncated,
      });
    });
  });
}
