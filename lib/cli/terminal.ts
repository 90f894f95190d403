import { ReadStream, WriteStream } from "node:tty";
import { native } from "../native.ts";
import type { PtyOptions } from "../sandbox/process.ts";

/** Which of our own three descriptors are a terminal: the child gets its own terminal for those, never ours. */
export function wantedPty(): PtyOptions | undefined {
  const on = [process.stdin.isTTY === true, process.stdout.isTTY === true, process.stderr.isTTY === true] as const;
  if (!on.some((is) => is)) return undefined;
  const size = process.stdout.isTTY ? process.stdout : process.stderr.isTTY ? process.stderr : undefined;
  return { on, rows: size?.rows ?? 24, columns: size?.columns ?? 80 };
}

/** Joins our terminal and the child's: bytes both ways, size changes, raw mode while it runs. */
export class TerminalRelay {
  readonly #master: number;
  readonly #reader: ReadStream;
  readonly #writer: WriteStream;
  readonly #output: NodeJS.WriteStream;
  readonly #onInput: (chunk: Buffer) => void;
  readonly #onResize: () => void;
  readonly ended: Promise<void>;

  constructor(master: number, options: PtyOptions, onBytes: (count: number) => void) {
    this.#master = master;
    this.#reader = new ReadStream(master);
    this.#writer = new WriteStream(master);
    this.#output = options.on[1] ? process.stdout : process.stderr;
    this.#onInput = (chunk) => this.#writer.write(chunk);
    this.#onResize = () => {
      const { rows, columns } = this.#output;
      native().setWindowSize(this.#master, rows ?? 24, columns ?? 80);
    };
    this.#writer.on("error", () => {});
    this.ended = new Promise((resolve) => {
      // The last holder of the child's side is gone: Linux says EIO.
      this.#reader.on("error", () => resolve());
      this.#reader.on("end", () => resolve());
      this.#reader.on("close", () => resolve());
    });
    this.#reader.on("data", (chunk: Buffer) => {
      onBytes(chunk.length);
      if (!this.#output.write(chunk)) {
        this.#reader.pause();
        this.#output.once("drain", () => this.#reader.resume());
      }
    });
    if (options.on[0]) process.stdin.on("data", this.#onInput);
    process.on("SIGWINCH", this.#onResize);
    this.takeTerminal();
    this.#onResize();
  }

  /** Our terminal passes every byte on, Ctrl-C too: the child's own terminal makes the signals. */
  takeTerminal(): void {
    if (process.stdin.isTTY) process.stdin.setRawMode(true);
  }

  giveBack(): void {
    if (process.stdin.isTTY) process.stdin.setRawMode(false);
  }

  close(): void {
    process.stdin.off("data", this.#onInput);
    process.stdin.pause();
    process.off("SIGWINCH", this.#onResize);
    this.giveBack();
    this.#reader.destroy();
    this.#writer.destroy();
  }
}
