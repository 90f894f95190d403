import { createWriteStream, type WriteStream } from "node:fs";
import type { Writable } from "node:stream";
import { isatty, ReadStream } from "node:tty";
import { native } from "../native.ts";
import type { PtyOptions } from "../sandbox/process.ts";
import { type Handing, hand, openTerminal } from "./output.ts";

/** How often a process in the background looks whether it was brought to the front: a shell tells only stopped ones. */
const backgroundLookMs = 200;

/** termios(3): offset of c_oflag in struct termios2, and the bit for any output processing at all. */
const outputFlagsAt = 4;
const opost = 1;

/** Which of our own three descriptors are a terminal: the command gets a terminal of its own for those, never ours. */
export function wantedPty(): PtyOptions | undefined {
  const on = [isatty(0), isatty(1), isatty(2)] as const;
  const fd = terminalOf(on);
  if (fd === undefined) return undefined;
  const [rows, columns] = native().windowSize(fd) ?? [24, 80];
  return { on, rows, columns, settings: settingsFor(on, fd) };
}

function terminalOf(on: PtyOptions["on"]): 0 | 1 | 2 | undefined {
  return on[1] ? 1 : on[2] ? 2 : on[0] ? 0 : undefined;
}

/** The command's terminal begins as ours is set. In the background ours is set for whoever is in front: not for us. */
function settingsFor(on: PtyOptions["on"], fd: 0 | 1 | 2): Uint8Array | undefined {
  if (!native().inForeground(fd)) return undefined;
  const settings = native().getTerminal(fd);
  if (settings === null) return undefined;
  // Ours is made raw only where it is also the input; else it goes on to make lines, and twice is once too often.
  if (!on[0]) settings.writeUInt32LE((settings.readUInt32LE(outputFlagsAt) & ~opost) >>> 0, outputFlagsAt);
  return settings;
}

/** Joins our terminal and the command's: bytes both ways, size changes, raw mode while it runs and it is our turn. */
export class TerminalRelay {
  /** Resolves when no process holds the command's terminal any more. */
  readonly ended: Promise<void>;
  readonly output: Writable;
  /** Reads all that is left, as `hand` has it. */
  readonly readOn: () => void;
  readonly #master: number;
  readonly #fd: 0 | 1 | 2;
  readonly #isInput: boolean;
  readonly #reader: ReadStream;
  readonly #writer: WriteStream;
  /** As it was when we took it; null while it is not ours. */
  #before: Uint8Array | null = null;
  /** The command's terminal would end lines, but for us. */
  #oursEndsLines = false;
  #look: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(master: number, pty: PtyOptions, handing: Handing) {
    this.#master = master;
    this.#fd = terminalOf(pty.on) ?? 0;
    this.#isInput = pty.on[0];
    this.output = openTerminal(this.#fd);
    this.#reader = new ReadStream(master);
    // Writes wait for the command to read, on a thread: it may be waiting for us to read what it echoes.
    this.#writer = createWriteStream("", { fd: master, autoClose: false });
    this.#writer.on("error", () => {}); // nobody reads it any more
    this.#reader.on("error", () => {}); // EIO: the last holder of the other end is gone
    this.ended = new Promise((resolve) => this.#reader.once("close", () => resolve()));
    this.readOn = hand(this.#reader, this.output, handing);
    process.on("SIGWINCH", this.#onResize);
    if (this.#isInput) {
      process.stdin.on("end", this.#onHangup);
      process.stdin.on("error", this.#onHangup);
      this.#writer.on("drain", () => {
        if (this.#before !== null) process.stdin.resume();
      });
      this.take();
    }
    this.#onResize();
  }

  readonly #onInput = (chunk: Buffer): void => {
    if (!this.#writer.write(chunk)) process.stdin.pause();
  };

  readonly #onResize = (): void => {
    const size = native().windowSize(this.#fd);
    if (size !== null) native().setWindowSize(this.#master, ...size);
  };

  /** Our terminal is gone, and so the command's is. */
  readonly #onHangup = (): void => {
    this.#reader.destroy();
  };

  /**
   * Makes our terminal pass every byte, Ctrl-C too: the command's own makes the signals. In the background that would
   * stop us, so there it waits for its turn.
   */
  take(): void {
    if (!this.#isInput || this.#closed || this.#before !== null) return;
    clearTimeout(this.#look);
    if (!native().inForeground(0)) {
      this.#endLines(false);
      this.#look = setTimeout(() => this.take(), backgroundLookMs).unref();
      return;
    }
    this.#before = native().getTerminal(0);
    if (this.#before === null) return;
    native().setTerminal(0, this.#before, true);
    this.#endLines(true);
    this.#onResize();
    process.stdin.on("data", this.#onInput);
    process.stdin.resume();
  }

  /** Puts our terminal back as it was, for the shell. */
  giveBack(): void {
    clearTimeout(this.#look);
    if (this.#before === null) return;
    process.stdin.pause();
    process.stdin.off("data", this.#onInput);
    native().setTerminal(0, this.#before, false);
    this.#endLines(false);
    this.#before = null;
  }

  /** Lines are ended by one terminal: by the command's, which knows how, or by ours while it is not raw. */
  #endLines(inside: boolean): void {
    const settings = native().getTerminal(this.#master);
    if (settings === null) return;
    const flags = settings.readUInt32LE(outputFlagsAt);
    if (inside ? !this.#oursEndsLines : (flags & opost) === 0) return;
    settings.writeUInt32LE((inside ? flags | opost : flags & ~opost) >>> 0, outputFlagsAt);
    native().setTerminal(this.#master, settings, false);
    this.#oursEndsLines = !inside;
  }

  close(): void {
    if (this.#closed) return;
    this.giveBack();
    this.#closed = true;
    process.off("SIGWINCH", this.#onResize);
    process.stdin.off("end", this.#onHangup);
    process.stdin.off("error", this.#onHangup);
    this.#reader.destroy();
    this.output.destroy();
  }
}
