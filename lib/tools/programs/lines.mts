import { StringDecoder } from "node:string_decoder";

/** Longer lines are left out: a regular expression may take time exponential in a line's length. */
const MAX_LINE_LENGTH = 2_000;

export interface Line {
  readonly number: number;
  readonly text: string;
}

/**
 * Splits a file that comes in blocks into lines, in memory bounded by one block. Lines end at LF, CRLF and
 * CR, as in Node's readline up to version 22: numbers that agree with `read`'s matter more than the U+2028 and U+2029
 * that later versions split at. A line that is too long is counted and left out.
 */
export class Lines {
  readonly #decoder = new StringDecoder("utf8");
  #rest = "";
  #isTooLong = false;
  #number = 0;
  /** Set once a block had a NUL byte in it; what follows that block is not text. */
  isBinary = false;

  *push(block: Buffer): Generator<Line, void, void> {
    this.isBinary ||= block.includes(0);
    const text = this.#rest + this.#decoder.write(block);
    // A CR at the end waits for the LF that may follow it, unless nothing follows.
    const ending = this.isBinary ? /\r?\n|\r/g : /\r?\n|\r(?!\n|$)/g;
    let from = 0;
    for (let match = ending.exec(text); match !== null; match = ending.exec(text)) {
      yield* this.#line(text.slice(from, match.index));
      from = ending.lastIndex;
    }
    this.#rest = text.slice(from);
    if (this.#rest.length > MAX_LINE_LENGTH + 1) {
      this.#isTooLong = true;
      // Only whether it ended in CR matters still.
      this.#rest = this.#rest.slice(-1);
    }
  }

  /** What follows the last line's end, if anything does. */
  *end(): Generator<Line, void, void> {
    const text = this.#rest + this.#decoder.end();
    if (text !== "" || this.#isTooLong) yield* this.#line(text.replace(/\r$/, ""));
  }

  *#line(text: string): Generator<Line, void, void> {
    this.#number++;
    const isTooLong = this.#isTooLong || text.length > MAX_LINE_LENGTH;
    this.#isTooLong = false;
    if (!isTooLong) yield { number: this.#number, text };
  }
}
