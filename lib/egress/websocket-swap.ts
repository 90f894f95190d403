import { randomFillSync } from "node:crypto";
import type { SessionCredentials } from "../secrets/session.ts";
import { BodySwap } from "./body-swap.ts";
import { headerSize, lengthOf, masked, WebSocketError } from "./websocket.ts";

/** The longest text message that is looked into, in bytes. */
const longestMessage = 1024 * 1024;
const nothing: Buffer = Buffer.alloc(0);

/**
 * Replaces placeholders in a client's text messages, each of which goes on as one frame when it is whole; other frames go
 * on as they come. The frames have been followed already (`ClientFrames`).
 */
export class TextSwap {
  readonly #session: SessionCredentials;
  readonly #bound: readonly string[];
  readonly #onUse: (names: readonly string[]) => void;
  #held = nothing;
  /** What came since, and how much there has to be: a long message in small pieces is put together once. */
  #pieces: Buffer[] = [];
  #pending = 0;
  #needed = 0;
  /** Of a frame that is passed on. */
  #passing = 0;
  /** Of a text message that has begun. */
  #parts: Buffer[] | null = null;
  #size = 0;

  constructor(session: SessionCredentials, bound: readonly string[], onUse: (names: readonly string[]) => void) {
    this.#session = session;
    this.#bound = bound;
    this.#onUse = onUse;
  }

  /** Reads the secrets that may be needed. */
  prepare(): Promise<void> {
    return this.#session.readAhead(this.#bound);
  }

  /**
   * @returns what goes on, for the caller to wipe
   * @throws WebSocketError, SwapFault
   */
  take(chunk: Buffer): readonly Buffer[] {
    const out: Buffer[] = [];
    this.#pieces.push(chunk);
    this.#pending += chunk.length;
    if (this.#held.length + this.#pending < this.#needed) return out;
    this.#held = Buffer.concat([this.#held, ...this.#pieces]);
    this.#pieces = [];
    this.#pending = 0;
    this.#needed = 0;
    while (this.#held.length > 0) {
      if (this.#passing > 0) {
        const part = this.#held.subarray(0, this.#passing);
        this.#passing -= part.length;
        this.#held = this.#held.subarray(part.length);
        out.push(Buffer.from(part));
        continue;
      }
      const size = headerSize(this.#held);
      if (size === undefined || this.#held.length < size) break;
      const length = lengthOf(this.#held);
      if (!this.#isText()) {
        this.#passing = size + length;
        continue;
      }
      if (((this.#held[0] ?? 0) & 0x70) !== 0) throw new WebSocketError(1002, "a text frame is of an extension");
      if (this.#size + length > longestMessage)
        throw new WebSocketError(
          1009,
          `a text message that credentials go into is longer than ${longestMessage} bytes`,
        );
      if (this.#held.length < size + length) {
        this.#needed = size + length;
        break;
      }
      out.push(...this.#takeText(size, length));
    }
    return out;
  }

  #isText(): boolean {
    const opcode = (this.#held[0] ?? 0) & 0x0f;
    return opcode === 1 || (opcode === 0 && this.#parts !== null);
  }

  #takeText(size: number, length: number): readonly Buffer[] {
    const isFinal = ((this.#held[0] ?? 0) & 0x80) !== 0;
    const payload = masked(this.#held.subarray(size, size + length), this.#held.subarray(size - 4, size));
    this.#held = this.#held.subarray(size + length);
    this.#parts ??= [];
    this.#parts.push(payload);
    this.#size += length;
    if (!isFinal) return [];
    const message = Buffer.concat(this.#parts);
    this.#parts = null;
    this.#size = 0;
    const isJson = /^\s*[[{"]/.test(message.toString("latin1", 0, 64));
    const [form, escapes] = isJson ? (["json", "json"] as const) : (["plain", "none"] as const);
    const swap = new BodySwap(this.#session, this.#bound, form, escapes);
    // What has been replaced outside counts for the next one: nothing here waits.
    if (!swap.isReady) void this.prepare();
    const made = swap.take(message, true);
    if (swap.names.size > 0) this.#onUse([...swap.names]);
    const frame = textFrame(made);
    made.fill(0);
    return [frame];
  }
}

/** A client's frame. */
function textFrame(payload: Buffer): Buffer {
  const size = payload.length;
  const header = Buffer.alloc(size < 126 ? 6 : size < 65_536 ? 8 : 14);
  header[0] = 0x81;
  header[1] = 0x80 | (size < 126 ? size : size < 65_536 ? 126 : 127);
  if (header.length === 8) header.writeUInt16BE(size, 2);
  if (header.length === 14) header.writeBigUInt64BE(BigInt(size), 2);
  const key = header.subarray(header.length - 4);
  randomFillSync(key);
  return Buffer.concat([header, masked(payload, key)]);
}
