import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from "node:zlib";
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

/**
 * How a body is read, from the last coding to the first; empty where it reads as it comes. What is in a coding that nobody
 * here knows is searched as it comes, and so is what lies in AWS's chunks.
 *
 * @param field the value of Content-Encoding
 */
export function decodersFor(field: string | undefined): readonly Decode[] {
  const names = (field ?? "").split(",").map((name) => name.trim().toLowerCase());
  const known = names.filter((name) => name !== "" && name !== "identity").map((name) => decoders.get(name));
  return known.length <= 2 && known.every((decode) => decode !== undefined) ? known.reverse() : [];
}

/** A compressed body: held until it is whole, searched as it reads, and passed on as it came. */
export class CodedStream {
  readonly #stream: LeakStream;
  readonly #decoders: readonly Decode[];
  /** Goes on unread where it is too long. */
  readonly #isLenient: boolean;
  #bytes: Buffer[] = [];
  #data: Buffer[] = [];
  #trailers: Buffer[] = [];
  #size = 0;
  #isRead = false;

  /** @param stream takes nothing out: what it would take out, it has to throw for */
  constructor(stream: LeakStream, coded: readonly Decode[], isLenient: boolean) {
    this.#stream = stream;
    this.#decoders = coded;
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
    const text = Buffer.concat([this.#size > 0 ? this.#decoded() : nothing, ...this.#trailers]);
    this.#stream.take(text, [[0, text.length]], true);
    return this.#release();
  }

  #decoded(): Buffer {
    let data: Buffer = Buffer.concat(this.#data);
    for (const decode of this.#decoders) {
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
