import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from "node:zlib";
import { unframed } from "./aws-framed.ts";
import { HttpError } from "./http-head.ts";
import { LeakFault, type LeakStream } from "./leaks.ts";
import type { Ranges } from "./scrub.ts";

/** Longer compressed bodies cannot be searched, and neither can what becomes longer than the second. */
const longestCoded = 1024 * 1024;
const longestDecoded = 64 * 1024 * 1024;
const nothing: Buffer = Buffer.alloc(0);

type Decode = (data: Buffer, options: { readonly maxOutputLength: number }) => Buffer;

/** By their names in Content-Encoding (RFC 9110 section 8.4.1, RFC 8878). */
const decoders: ReadonlyMap<string, Decode> = new Map<string, Decode>([
  ["gzip", gunzipSync],
  ["x-gzip", gunzipSync],
  ["deflate", inflateSync],
  ["br", brotliDecompressSync],
  ["zstd", zstdDecompressSync],
]);

/** How a body reads. */
export interface BodyCoding {
  /** From the last coding to the first; none where it reads as it comes. */
  readonly decoders: readonly Decode[];
  /** Whether all of it lies in chunks of AWS's. */
  readonly isFramed: boolean;
}

/**
 * What is in a coding that nobody here knows is searched as it comes.
 *
 * @param read gives the values of a field
 */
export function codingOf(read: (name: string) => readonly string[]): BodyCoding {
  const isFramed =
    read("x-amz-content-sha256").some((value) => value.startsWith("STREAMING-")) ||
    read("x-amz-decoded-content-length").length > 0;
  const names = read("content-encoding").flatMap((value) => value.split(","));
  const known = names
    .map((name) => name.trim().toLowerCase())
    // AWS's chunks are around all of it, wherever they are named.
    .filter((name) => name !== "" && name !== "identity" && name !== "aws-chunked")
    .map((name) => decoders.get(name));
  const areKnown = known.length <= 2 && known.every((decode) => decode !== undefined);
  return { decoders: areKnown ? known.reverse() : [], isFramed };
}

/** A compressed body: held until it is whole, searched as it reads, and passed on as it came. */
export class CodedStream {
  readonly #stream: LeakStream;
  readonly #coding: BodyCoding;
  /** Goes on unread where it is too long. */
  readonly #isLenient: boolean;
  #bytes: Buffer[] = [];
  #data: Buffer[] = [];
  #trailers: Buffer[] = [];
  #size = 0;
  #isRead = false;

  /** @param stream takes nothing out: what it would take out, it has to throw for */
  constructor(stream: LeakStream, coding: BodyCoding, isLenient: boolean) {
    this.#stream = stream;
    this.#coding = coding;
    this.#isLenient = isLenient;
  }

  /**
   * As LeakStream's; what comes after the body's end is searched as it comes.
   *
   * @throws HttpError for what does not read as it says; LeakFault; SwapFault
   */
  take(came: Buffer, ranges: Ranges, isLast: boolean, trailers: Ranges = []): Buffer {
    if (this.#isRead) return this.#stream.take(came, ranges, isLast);
    this.#bytes.push(Buffer.from(came));
    for (const [from, until] of ranges) {
      this.#data.push(Buffer.from(came.subarray(from, until)));
      this.#size += until - from;
    }
    for (const [from, until] of trailers) this.#trailers.push(Buffer.from(came.subarray(from, until)));
    if (this.#size > longestCoded) return this.#tooLong();
    if (!isLast) return nothing;
    const whole = Buffer.concat(this.#data);
    const { data, lines } = this.#coding.isFramed ? unframed(whole) : { data: whole, lines: nothing };
    const text = Buffer.concat([data.length > 0 ? this.#decoded(data) : nothing, lines, ...this.#trailers]);
    this.#stream.take(text, [[0, text.length]], true);
    return this.#release();
  }

  #decoded(coded: Buffer): Buffer {
    let data = coded;
    for (const decode of this.#coding.decoders) {
      try {
        data = decode(data, { maxOutputLength: longestDecoded });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") {
          if (this.#isLenient) return nothing;
          throw new LeakFault(unread);
        }
        throw new HttpError(400, "the body does not read as its Content-Encoding says");
      }
    }
    return data;
  }

  #tooLong(): Buffer {
    if (!this.#isLenient) throw new LeakFault(unread);
    return this.#release();
  }

  #release(): Buffer {
    this.#isRead = true;
    const bytes = Buffer.concat(this.#bytes);
    this.#bytes = [];
    this.#data = [];
    this.#trailers = [];
    return bytes;
  }
}

const unread = {
  what: "more compressed data than can be searched",
  form: "over 1 MiB, or 64 MiB as it reads",
  action: "block",
  kind: "known",
  where: "body",
} as const;
