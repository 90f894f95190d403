/** A selection that cannot be given: `line` when a single line is already too large. */
export class LineRangeTooLarge extends Error {
  readonly line: number | null;

  constructor(line: number | null) {
    super("the selected lines exceed the limit");
    this.line = line;
  }
}

const NEWLINE = 0x0a;

/**
 * Takes the bytes of lines `first` to `last` (1-based, inclusive; `last` of 0 or less means to the end) out of a file
 * that passes by in chunks, in memory bounded by `limitBytes`. Lines are split at LF only and joined by LF without one
 * after the last; what follows the file's last LF counts as one more, empty, line.
 */
export class LineRange {
  readonly #skip: number;
  readonly #end: number;
  readonly #limitBytes: number;
  readonly #parts: Buffer[] = [];
  #bytes = 0;
  #line = 0;

  constructor(first: number, last: number, limitBytes: number) {
    this.#skip = Math.max(0, Math.trunc(first - 1));
    this.#end = last > 0 ? Math.trunc(last) : Number.POSITIVE_INFINITY;
    this.#limitBytes = limitBytes;
  }

  /** True when nothing further in the file can matter. */
  get isComplete(): boolean {
    return this.#line >= this.#end || this.#end <= this.#skip;
  }

  /** @throws LineRangeTooLarge */
  push(chunk: Buffer): void {
    let from = 0;
    while (from < chunk.length && !this.isComplete) {
      const newline = chunk.indexOf(NEWLINE, from);
      const to = newline < 0 ? chunk.length : newline;
      if (this.#line >= this.#skip) {
        // The LF belongs to the selection when another line of it follows.
        this.#keep(chunk.subarray(from, newline >= 0 && this.#line + 1 < this.#end ? to + 1 : to));
      }
      if (newline < 0) return;
      this.#line++;
      from = newline + 1;
    }
  }

  text(): string {
    return Buffer.concat(this.#parts, this.#bytes).toString("utf8");
  }

  #keep(bytes: Buffer): void {
    this.#bytes += bytes.length;
    if (this.#bytes > this.#limitBytes) {
      throw new LineRangeTooLarge(this.#end - this.#skip === 1 ? this.#skip + 1 : null);
    }
    // A copy: the reader uses the chunk's memory again.
    this.#parts.push(Buffer.from(bytes));
  }
}
