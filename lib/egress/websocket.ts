/** Why frames are not passed on: a close code (RFC 6455 section 7.4.1) and its words. */
export class WebSocketError extends Error {
  override readonly name = "WebSocketError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

const text = 1;
const longestHeader = 14;

/**
 * Follows the frames that a client sends (RFC 6455 section 5.2), which are passed on as they come: where each begins and
 * of what kind it is. Payloads are not read.
 */
export class ClientFrames {
  readonly #onText: () => void;
  #header = Buffer.alloc(0);
  #left = 0n;
  #isInMessage = false;

  /** @param onText called before the first frame of each text message is passed on; throws where it may not be */
  constructor(onText: () => void) {
    this.#onText = onText;
  }

  /** @throws WebSocketError for what no client sends, and what `onText` throws: then nothing more may be passed on */
  take(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#left > 0n) {
        const size = chunk.length - at;
        if (this.#left >= BigInt(size)) {
          this.#left -= BigInt(size);
          return;
        }
        at += Number(this.#left);
        this.#left = 0n;
        continue;
      }
      // A header is short: it is put together byte by byte where it comes in pieces.
      const had = this.#header.length;
      const header = Buffer.concat([this.#header, chunk.subarray(at, at + longestHeader - had)]);
      const size = headerSize(header);
      if (size === undefined || header.length < size) {
        this.#header = header;
        return;
      }
      this.#header = Buffer.alloc(0);
      at += size - had;
      this.#begin(header.subarray(0, size));
    }
  }

  #begin(header: Buffer): void {
    const [first = 0, second = 0] = header;
    const opcode = first & 0x0f;
    const isFinal = (first & 0x80) !== 0;
    if ((second & 0x80) === 0) throw new WebSocketError(1002, "a client's frame is not masked");
    if ((opcode >= 3 && opcode <= 7) || opcode >= 11) throw new WebSocketError(1002, "a frame's kind is not known");
    const isControl = opcode >= 8;
    if (isControl && (!isFinal || (second & 0x7f) > 125))
      throw new WebSocketError(1002, "a control frame is malformed");
    if (!isControl) {
      if ((opcode === 0) !== this.#isInMessage) throw new WebSocketError(1002, "a message's frames are out of order");
      this.#isInMessage = !isFinal;
      if (opcode === text) this.#onText();
    }
    const length = second & 0x7f;
    this.#left =
      length < 126 ? BigInt(length) : length === 126 ? BigInt(header.readUInt16BE(2)) : header.readBigUInt64BE(2);
    if (this.#left >= 1n << 63n) throw new WebSocketError(1002, "a frame's length is malformed");
  }
}

/** Undefined while it is too short to tell. The masking key is part of it. */
export function headerSize(header: Buffer): number | undefined {
  const second = header[1];
  if (second === undefined) return undefined;
  const length = second & 0x7f;
  return 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + ((second & 0x80) === 0 ? 0 : 4);
}

/** What a whole header says. What is longer than 2^53 is nobody's. */
export function lengthOf(header: Buffer): number {
  const length = (header[1] ?? 0) & 0x7f;
  return length < 126 ? length : length === 126 ? header.readUInt16BE(2) : Number(header.readBigUInt64BE(2));
}

/**
 * RFC 6455 section 5.3.
 *
 * @param from where in its frame it stands
 */
export function masked(payload: Buffer, key: Buffer, from = 0): Buffer {
  const changed = Buffer.allocUnsafeSlow(payload.length);
  for (let at = 0; at < payload.length; at++) changed[at] = (payload[at] ?? 0) ^ (key[(from + at) & 3] ?? 0);
  return changed;
}

/** A server's frame that ends the connection. */
export function closeFrame(code: number, reason: string): Buffer {
  const words = Buffer.from(reason).subarray(0, 120);
  const frame = Buffer.alloc(4 + words.length);
  frame.writeUInt8(0x88, 0);
  frame.writeUInt8(2 + words.length, 1);
  frame.writeUInt16BE(code, 2);
  words.copy(frame, 4);
  return frame;
}

/** A request's fields without what would let messages be compressed (RFC 7692), or be otherwise than they read. */
export function withoutExtensions<Field extends { readonly name: string }>(fields: readonly Field[]): readonly Field[] {
  return fields.filter(({ name }) => name !== "sec-websocket-extensions");
}
