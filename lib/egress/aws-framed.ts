import { HttpError } from "./http-head.ts";
import { gathered, type LeakStream } from "./leaks.ts";
import { placeOf, type Ranges } from "./scrub.ts";

const longestLine = 256;
const lineEnd = Buffer.from("\r\n");

/** Where in some data each belongs. */
interface Parts {
  /** Of the objects that lie in the chunks. */
  readonly data: readonly (readonly [from: number, until: number])[];
  /** What stands before and between them: sizes and signatures, each whole; and the trailers. */
  readonly lines: readonly (readonly [from: number, until: number])[];
  /** What is left is a line that has begun. */
  readonly until: number;
}

/** Follows a body in chunks of AWS's (docs.aws.amazon.com, sigv4-streaming), signed or not. */
export class AwsFraming {
  #state: "size" | "data" | "data-end" | "trailers" = "size";
  #left = 0;

  /**
   * @param data what comes next, with what was left the last time before it
   * @throws HttpError where it is malformed
   */
  take(data: Buffer, isLast: boolean): Parts {
    const found: { data: [number, number][]; lines: [number, number][] } = { data: [], lines: [] };
    let at = 0;
    while (at < data.length) {
      if (this.#state === "data") {
        const size = Math.min(this.#left, data.length - at);
        found.data.push([at, at + size]);
        at += size;
        this.#left -= size;
        if (this.#left === 0) this.#state = "data-end";
        continue;
      }
      const end = data.indexOf(lineEnd, at);
      // The first half of its end may have come.
      if ((end < 0 ? data.length - 1 : end) - at > longestLine) refuse("a line is too long");
      // The last line of all may have no end.
      if (end < 0 && !(isLast && this.#state === "trailers")) break;
      const next = end < 0 ? data.length : end + lineEnd.length;
      this.#endLine(data.toString("latin1", at, end < 0 ? next : end));
      found.lines.push([at, next]);
      at = next;
    }
    if (isLast && (this.#state !== "trailers" || at < data.length)) refuse("it ends before its last chunk");
    return { ...found, until: at };
  }

  #endLine(line: string): void {
    if (this.#state === "data-end") {
      if (line !== "") refuse("a chunk is longer than its size");
      this.#state = "size";
    } else if (this.#state === "size") {
      const [, digits] = /^([0-9A-Fa-f]{1,8})(?:;chunk-signature=[0-9a-f*]{1,160})?$/.exec(line) ?? [];
      if (digits === undefined) refuse("a chunk's size is malformed");
      this.#left = Number.parseInt(digits, 16);
      // After the last chunk there are lines alone.
      this.#state = this.#left === 0 ? "trailers" : "data";
    }
  }
}

function refuse(why: string): never {
  throw new HttpError(400, `the body in chunks of AWS's: ${why}`);
}

/** Bytes that other bytes lie in: the places in the former of places in the latter. */
function within(parts: Parts["data"], ranges: Ranges): [number, number][] {
  const found: [number, number][] = [];
  let before = 0;
  let next = 0;
  for (const [from, until] of ranges) {
    const size = until - from;
    for (let part = parts[next]; part !== undefined && part[0] < before + size; part = parts[next]) {
      const [first, last] = [Math.max(part[0], before), Math.min(part[1], before + size)];
      if (first < last) found.push([from + first - before, from + last - before]);
      if (part[1] > before + size) break;
      next += 1;
    }
    before += size;
  }
  return found;
}

/** A body whose data lies in chunks of AWS's: searched as if they were not there. */
export class FramedStream {
  readonly #stream: LeakStream;
  readonly #checkLine: (line: Buffer) => void;
  readonly #framing = new AwsFraming();
  /** From the beginning of a line that is not whole: as it came, and where in it that lies. */
  #held: { readonly bytes: Buffer; readonly ranges: Ranges } | null = null;

  #isWhole = false;

  /** @param checkLine is given each line of the framing; throws where it may not go on */
  constructor(stream: LeakStream, checkLine: (line: Buffer) => void) {
    this.#stream = stream;
    this.#checkLine = checkLine;
  }

  /**
   * As LeakStream's; what comes after the body's end is searched as it comes.
   *
   * @throws HttpError where it is malformed; LeakFault; SwapFault
   */
  take(came: Buffer, ranges: Ranges, isLast: boolean, trailers: Ranges = []): Buffer {
    if (this.#isWhole) return this.#stream.take(came, ranges, isLast);
    this.#isWhole = isLast;
    const shift = this.#held?.bytes.length ?? 0;
    const bytes = this.#held === null ? came : Buffer.concat([this.#held.bytes, came]);
    const shifted = (all: Ranges): Ranges => all.map(([from, until]) => [from + shift, until + shift] as const);
    const where = [...(this.#held?.ranges ?? []), ...shifted(ranges)];
    const data = gathered(bytes, where);
    const { data: own, lines, until } = this.#framing.take(data, isLast);
    for (const [from, to] of lines) this.#checkLine(data.subarray(from, to));
    const cut = until === data.length ? bytes.length : placeOf(until, where);
    this.#held =
      cut === bytes.length
        ? null
        : {
            bytes: Buffer.from(bytes.subarray(cut)),
            ranges: where.flatMap(([from, to]) => (to > cut ? [[Math.max(0, from - cut), to - cut] as const] : [])),
          };
    return this.#stream.take(bytes.subarray(0, cut), [...within(own, where), ...shifted(trailers)], isLast);
  }
}

/** What lies in the chunks of a whole body, and what else stands in it. */
export function unframed(body: Buffer): { readonly data: Buffer; readonly lines: Buffer } {
  const { data, lines } = new AwsFraming().take(body, true);
  return { data: gathered(body, data), lines: gathered(body, lines) };
}
