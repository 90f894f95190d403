import { type Framing, HttpError } from "./http-head.ts";
import { isWrongTrailer } from "./overrides.ts";

/** The longest line of a chunk's size, and all trailers together. */
const longestSizeLine = 18;
const longestTrailers = 16 * 1024;

type Range = [from: number, until: number];
type State = "size" | "data" | "data-end" | "trailers" | "done";

const trailerLine = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*$/;
/**
 * Follows one message's body through the bytes of a connection, which are passed on as they come; finds its end by the
 * strict grammar of RFC 9112 sections 6 and 7. Chunk extensions are refused: nobody needs them, and readers differ.
 */
export class BodyReader {
  readonly #framing: Framing;
  readonly #refusal: number;
  /** Of a length, or of the current chunk. */
  #left = 0;
  #state: State;
  #line = "";
  #trailers = 0;

  /** @param refusal the status of the error for a body that is malformed: 400 from clients, 502 from origins */
  constructor(framing: Framing, refusal: number) {
    this.#framing = framing;
    this.#refusal = refusal;
    this.#left = framing.kind === "length" ? framing.length : 0;
    this.#state = framing.kind === "none" ? "done" : framing.kind === "chunked" ? "size" : "data";
  }

  get isDone(): boolean {
    return this.#state === "done";
  }

  /** Whether the connection's end is the body's end. */
  get endsWithConnection(): boolean {
    return this.#framing.kind === "close";
  }

  /**
   * How many of the bytes from `at` on belong to the body.
   *
   * @param ranges is told where its data lies
   * @param trailers is told where its trailers lie
   * @throws HttpError when it is malformed
   */
  take(data: Buffer, at: number, ranges?: Range[], trailers?: Range[]): number {
    if (this.#framing.kind === "chunked") return this.#takeChunks(data, at, ranges, trailers);
    const size = this.#takePlain(data, at);
    if (size > 0) ranges?.push([at, at + size]);
    return size;
  }

  #takePlain(data: Buffer, at: number): number {
    switch (this.#framing.kind) {
      case "close":
        return data.length - at;
      case "length": {
        const size = Math.min(this.#left, data.length - at);
        this.#left -= size;
        if (this.#left === 0) this.#state = "done";
        return size;
      }
      default:
        return 0;
    }
  }

  #takeChunks(data: Buffer, from: number, ranges?: Range[], trailers?: Range[]): number {
    let at = from;
    while (at < data.length && this.#state !== "done") {
      if (this.#state === "data") {
        const size = Math.min(this.#left, data.length - at);
        ranges?.push([at, at + size]);
        this.#left -= size;
        at += size;
        if (this.#left === 0) this.#state = "data-end";
        continue;
      }
      const end = data.indexOf(0x0a, at);
      const stop = end < 0 ? data.length : end + 1;
      this.#line += data.toString("latin1", at, stop);
      if (this.#state === "trailers") trailers?.push([at, stop]);
      at = stop;
      this.#checkLength();
      if (end >= 0) this.#endLine();
    }
    return at - from;
  }

  #checkLength(): void {
    if (this.#state === "trailers") {
      if (this.#trailers + this.#line.length > longestTrailers) this.#refuse("the trailers are too long");
    } else if (this.#line.length > longestSizeLine) this.#refuse("a chunk's size is malformed");
  }

  #endLine(): void {
    const line = this.#line;
    this.#line = "";
    if (!line.endsWith("\r\n")) this.#refuse("a line ends without a carriage return");
    const text = line.slice(0, -2);
    if (this.#state === "data-end") {
      if (text !== "") this.#refuse("a chunk is longer than its size");
      this.#state = "size";
    } else if (this.#state === "size") {
      if (!/^[0-9A-Fa-f]{1,12}$/.test(text)) this.#refuse("a chunk's size is malformed");
      this.#left = Number.parseInt(text, 16);
      this.#state = this.#left === 0 ? "trailers" : "data";
    } else if (text === "") this.#state = "done";
    else {
      this.#trailers += line.length;
      const name = text.slice(0, text.indexOf(":")).toLowerCase();
      if (!trailerLine.test(text) || isWrongTrailer(name, this.#refusal === 400))
        this.#refuse("a trailer is malformed");
    }
  }

  #refuse(why: string): never {
    throw new HttpError(this.#refusal, why);
  }
}
