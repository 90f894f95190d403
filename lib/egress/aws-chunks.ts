import { type AwsKeys, type SigningScope, signChunk } from "../secrets/sigv4.ts";
import { HttpError } from "./http-head.ts";

/** The longest chunk: it is held until its signature can be made, which stands before it. Clients make them of 64 KiB to 1 MiB. */
const longestChunk = 8 * 1024 * 1024;
const longestLine = 256;
const longestTrailers = 16 * 1024;

const lineEnd = Buffer.from("\r\n");
const trailerSignature = /^x-amz-trailer-signature:[0-9a-f]{64}$/i;

/**
 * Signs the chunks of a body of S3's anew (`STREAMING-AWS4-HMAC-SHA256-PAYLOAD`, with `-TRAILER` too; docs.aws.amazon.com,
 * sigv4-streaming): as long as it was, so that its length stays.
 */
export class AwsChunks {
  readonly #keys: () => AwsKeys;
  readonly #scope: SigningScope;
  readonly #hasTrailer: boolean;
  #before: string;
  #held: Buffer = Buffer.alloc(0);
  #state: "chunk" | "trailers" | "done" = "chunk";

  /** @param seed the signature of the head */
  constructor(keys: () => AwsKeys, scope: SigningScope, seed: string, hasTrailer: boolean) {
    this.#keys = keys;
    this.#scope = scope;
    this.#before = seed;
    this.#hasTrailer = hasTrailer;
  }

  /**
   * What goes on.
   *
   * @throws HttpError 400 where it is malformed
   */
  take(data: Buffer, isLast: boolean): readonly Buffer[] {
    this.#held = this.#held.length === 0 ? data : Buffer.concat([this.#held, data]);
    const out: Buffer[] = [];
    while (this.#state === "chunk" && this.#takeChunk(out));
    if (this.#state === "trailers" && isLast) this.#takeTrailers(out);
    if (this.#state === "trailers" && this.#held.length > longestTrailers) refuse("its trailers are too long");
    if (this.#state === "done" && this.#held.length > 0) refuse("it goes on after its end");
    if (isLast && this.#state !== "done") refuse("it ends before its last chunk");
    return out;
  }

  /** Whether there was a whole one. */
  #takeChunk(out: Buffer[]): boolean {
    const end = this.#held.indexOf(lineEnd);
    if (end < 0 || end > longestLine) {
      if (this.#held.length > longestLine) refuse("a chunk's size is malformed");
      return false;
    }
    const line = this.#held.toString("latin1", 0, end);
    const [, digits] = /^([0-9A-Fa-f]{1,8});chunk-signature=[0-9a-f]{64}$/.exec(line) ?? [];
    if (digits === undefined) refuse("a chunk's size and signature are malformed");
    const size = Number.parseInt(digits, 16);
    if (size > longestChunk) refuse(`a chunk is longer than ${longestChunk} bytes`);
    const from = end + 2;
    const data = this.#held.subarray(from, from + size);
    // After the last chunk trailers may follow, without an empty line before them.
    const isLast = size === 0;
    const closes = isLast && this.#hasTrailer ? 0 : 2;
    if (this.#held.length < from + size + closes) return false;
    if (closes > 0 && !this.#held.subarray(from + size, from + size + 2).equals(lineEnd))
      refuse("a chunk is longer than its size");
    const signature = signChunk(this.#keys(), this.#scope, this.#before, data);
    this.#before = signature;
    out.push(Buffer.from(`${digits};chunk-signature=${signature}\r\n`), data);
    if (closes > 0) out.push(lineEnd);
    this.#held = this.#held.subarray(from + size + closes);
    if (isLast) this.#state = this.#hasTrailer ? "trailers" : "done";
    return !isLast;
  }

  #takeTrailers(out: Buffer[]): void {
    const text = this.#held.toString("latin1");
    const lines = text.split("\r\n");
    const own = lines.findIndex((line) => trailerSignature.test(line));
    if (own < 0 || lines.slice(own + 1).some((line) => line !== "")) refuse("its trailers are not signed");
    const fields = lines.slice(0, own).filter((line) => line !== "");
    const canonical = fields.map((line) =>
      line.replace(/^([^:]*):\s*(.*?)\s*$/, (_, name: string, value: string) => `${name.toLowerCase()}:${value}\n`),
    );
    const signature = signChunk(
      this.#keys(),
      this.#scope,
      this.#before,
      Buffer.from(canonical.join(""), "latin1"),
      "TRAILER",
    );
    lines[own] = `x-amz-trailer-signature:${signature}`;
    out.push(Buffer.from(lines.join("\r\n"), "latin1"));
    this.#held = Buffer.alloc(0);
    this.#state = "done";
  }
}

function refuse(why: string): never {
  throw new HttpError(400, `the body in chunks of AWS's: ${why}`);
}
