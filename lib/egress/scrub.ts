import type { Needle } from "../secrets/needles.ts";

/** Where data lies within the bytes of a message: pairs of from and until. What lies between is framing. */
export type Ranges = readonly (readonly [from: number, until: number])[];

/**
 * What ends in fewer characters of a secret's beginning goes on, so that no message waits for the next one by chance; of
 * a secret that does come then, the rest is taken out.
 */
const leastHeld = 4;
const nothing: Buffer = Buffer.alloc(0);

/** Why an answer is not passed on in which no secret could be found. */
export const compressed = "the answer is compressed, though it was asked not to be: no secret could be found in it";

export function isCompressed({
  fields,
}: {
  readonly fields: readonly { readonly name: string; readonly value: string }[];
}): boolean {
  return fields.some(({ name, value }) => name === "content-encoding" && value.toLowerCase() !== "identity");
}

/** Takes secrets out of an answer on its way, in place: no length changes. */
export class Scrubber {
  /** Read anew each time: a secret may have been replaced. */
  readonly #needles: () => readonly Needle[];
  /** May be a secret's beginning. */
  #held = nothing;
  #heldRanges: Ranges = [];
  /** The last data that went on. */
  #tail = nothing;

  constructor(needles: () => readonly Needle[]) {
    this.#needles = needles;
  }

  /** Whether there is nothing to take out of what came first of a message, unless a secret is in pieces in it. */
  isClean(bytes: Buffer): boolean {
    for (const needle of this.#needles()) if (bytes.includes(needle.bytes)) return false;
    return true;
  }

  /** A message's whole head. */
  head(bytes: Buffer): void {
    for (const needle of this.#needles()) mask(bytes, needle);
  }

  /** A text that stands by itself, such as the value of a field. */
  text(value: string): string {
    const bytes = Buffer.from(value, "latin1");
    let isChanged = false;
    for (const needle of this.#needles()) isChanged = mask(bytes, needle) || isChanged;
    return isChanged ? bytes.toString("latin1") : value;
  }

  /**
   * The bytes that may go on now.
   *
   * @param ranges where in them the data lies
   * @param isLast no more will come
   * @param isClean whether they are a message's first, and their data is known to hold no whole secret
   */
  take(bytes: Buffer, ranges: Ranges = [[0, bytes.length]], isLast = false, isClean = false): Buffer {
    const needles = this.#needles();
    const before = this.#held.length;
    const all = before === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    const where =
      before === 0
        ? ranges
        : [...this.#heldRanges, ...ranges.map(([from, until]) => [from + before, until + before] as const)];
    const [only] = where;
    const isOne = where.length === 1 && only !== undefined;
    const data = isOne
      ? all.subarray(only[0], only[1])
      : Buffer.concat(where.map(([from, until]) => all.subarray(from, until)));
    let isChanged = this.#maskAcross(data, needles);
    if (!isClean) for (const needle of needles) isChanged = mask(data, needle) || isChanged;
    if (isChanged && !isOne) scatter(data, all, where);
    if (isLast) {
      this.#forget();
      return all;
    }
    const kept = data.length - this.#begun(data, needles);
    this.#tail = this.#tailWith(data, kept);
    if (kept === data.length) {
      this.#forget();
      return all;
    }
    const at = placeOf(kept, where);
    this.#held = Buffer.from(all.subarray(at));
    this.#heldRanges = where.flatMap(([from, until]) =>
      until > at ? [[Math.max(0, from - at), until - at] as const] : [],
    );
    return all.subarray(0, at);
  }

  /** What was held, when no more comes. */
  end(): Buffer {
    const held = this.#held;
    this.#forget();
    return held;
  }

  #tailWith(data: Buffer, kept: number): Buffer {
    const most = leastHeld - 1;
    if (kept >= most) return Buffer.from(data.subarray(kept - most, kept));
    return Buffer.from(Buffer.concat([this.#tail, data.subarray(0, kept)]).subarray(-most));
  }

  #forget(): void {
    this.#held = nothing;
    this.#heldRanges = [];
  }

  /** Of a secret whose beginning has gone on, the rest. */
  #maskAcross(data: Buffer, needles: readonly Needle[]): boolean {
    const sent = this.#tail.length;
    let isChanged = false;
    for (const { bytes, filler } of needles) {
      for (let begun = Math.min(sent, bytes.length - 1); begun > 0; begun--) {
        const rest = bytes.length - begun;
        const isMet =
          endsWith(this.#tail, bytes, begun) &&
          data.length >= rest &&
          bytes.subarray(begun).equals(data.subarray(0, rest));
        if (!isMet) continue;
        filler.copy(data, 0, begun);
        isChanged = true;
      }
    }
    return isChanged;
  }

  /** How much of the end of the data begins a secret, and has to wait. */
  #begun(data: Buffer, needles: readonly Needle[]): number {
    const sent = this.#tail.length;
    /** With what went on before: of short data it takes longer to make than to search. */
    let known: Buffer | undefined;
    let most = 0;
    for (const { bytes } of needles) {
      for (let size = Math.min(sent + data.length, bytes.length - 1); size >= leastHeld; size--) {
        const at = data.length - size;
        if ((at < 0 ? this.#tail[sent + at] : data[at]) !== bytes[0]) continue;
        known ??= size > data.length ? Buffer.concat([this.#tail, data]) : undefined;
        if (!endsWith(known ?? data, bytes, size)) continue;
        most = Math.max(most, Math.min(size, data.length));
        break;
      }
    }
    return most;
  }
}

/** Whether some bytes end in the first so many of others. */
function endsWith(bytes: Buffer, other: Buffer, size: number): boolean {
  return bytes[bytes.length - size] === other[0] && bytes.subarray(bytes.length - size).equals(other.subarray(0, size));
}

function mask(data: Buffer, { bytes, filler }: Needle): boolean {
  let at = data.indexOf(bytes);
  if (at < 0) return false;
  for (; at >= 0; at = data.indexOf(bytes, at + bytes.length)) filler.copy(data, at);
  return true;
}

/** Puts data back to where it lay. */
function scatter(data: Buffer, into: Buffer, ranges: Ranges): void {
  let at = 0;
  for (const [from, until] of ranges) {
    data.copy(into, from, at, at + until - from);
    at += until - from;
  }
}

/** Where a byte of the data lies. */
export function placeOf(index: number, ranges: Ranges): number {
  let left = index;
  for (const [from, until] of ranges) {
    if (left < until - from) return from + left;
    left -= until - from;
  }
  return ranges.at(-1)?.[1] ?? 0;
}
