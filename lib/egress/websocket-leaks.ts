import type { Request } from "./flow.ts";
import type { LeakFlow } from "./leak-flow.ts";
import type { LeakStream } from "./leaks.ts";
import { headerSize, lengthOf, masked, WebSocketError } from "./websocket.ts";

const longestHeader = 14;
const nothing: Buffer = Buffer.alloc(0);

/** Searches what a client says to a WebSocket, in frames of whatever kind. */
export class MessageLeaks {
  readonly #stream: LeakStream;
  /** Frames of an extension, compressed ones for example, go on though they cannot be read. */
  readonly #isLenient: boolean;
  /** Of a header that has begun. */
  #header = nothing;
  /** Of the payload that is under way: its key, what has come, and what is to come. */
  #key = nothing;
  #came = 0;
  #left = 0;
  /** Whether the last message is whole. */
  #isWhole = true;

  constructor(leaks: LeakFlow, request: Request) {
    this.#stream = leaks.messages(request);
    this.#isLenient = leaks.isLenient;
  }

  /**
   * @returns what goes on now
   * @throws LeakFault, WebSocketError
   */
  take(chunk: Buffer): Buffer {
    const ranges: [number, number][] = [];
    const parts: Buffer[] = [];
    for (let at = 0; at < chunk.length; ) {
      if (this.#left === 0) {
        at += this.#takeHeader(chunk.subarray(at, at + longestHeader));
        continue;
      }
      const payload = chunk.subarray(at, at + this.#left);
      ranges.push([at, at + payload.length]);
      parts.push(this.#key.length === 0 ? payload : masked(payload, this.#key, this.#came));
      at += payload.length;
      this.#came += payload.length;
      this.#left -= payload.length;
    }
    return this.#stream.take(chunk, ranges, this.#left === 0 && this.#isWhole, Buffer.concat(parts));
  }

  /** @returns how much of the bytes belongs to it */
  #takeHeader(bytes: Buffer): number {
    const had = this.#header.length;
    const header = Buffer.concat([this.#header, bytes]);
    const [first = 0, second = 0] = header;
    // None was negotiated (RFC 6455 section 5.2), whatever the two ends have agreed on.
    if ((first & 0x70) !== 0 && !this.#isLenient) throw new WebSocketError(1002, "a frame is of an extension");
    const size = headerSize(header);
    if (size === undefined || header.length < size) {
      this.#header = header;
      return bytes.length;
    }
    this.#header = nothing;
    this.#key = (second & 0x80) === 0 ? nothing : Buffer.from(header.subarray(size - 4, size));
    this.#came = 0;
    this.#left = lengthOf(header);
    const isControl = (first & 0x08) !== 0;
    if (!isControl) this.#isWhole = (first & 0x80) !== 0;
    return size - had;
  }
}
