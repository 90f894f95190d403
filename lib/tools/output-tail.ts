/**
 * The end of a stream of text in bounded memory, and the search for a marker in it. The marker is followed by digits
 * and a newline; what comes before it is the text.
 */
export class OutputTail {
  readonly #limit: number;
  readonly #marker: string;
  #text = "";
  #total = 0;

  /** @param limit Characters (UTF-16 units) kept, the marker and its digits counted in. */
  constructor(limit: number, marker: string) {
    this.#limit = limit;
    this.#marker = marker;
  }

  /** Takes a piece of the stream; returns the text and the number when the marker is complete, else null. */
  push(chunk: string): { text: string; isCut: boolean; number: number } | null {
    // The marker may have begun in an earlier piece, and its digits may be missing still.
    const searchFrom = Math.max(0, this.#text.length - this.#marker.length - 16);
    this.#text += chunk;
    this.#total += chunk.length;
    const at = this.#text.indexOf(this.#marker, searchFrom);
    const number =
      at < 0 ? null : /^(\d+)\n/.exec(this.#text.slice(at + this.#marker.length, at + this.#marker.length + 16));
    if (number === null) {
      // Cut only now and then: each cut copies the kept part.
      if (this.#text.length > 2 * this.#limit) this.#text = this.#text.slice(-this.#limit);
      return null;
    }
    const end = at + this.#marker.length + number[0].length;
    const totalToEnd = this.#total - (this.#text.length - end);
    return {
      text: this.#text.slice(Math.max(0, end - this.#limit), at),
      isCut: totalToEnd > this.#limit,
      number: Number(number[1]),
    };
  }
}
