import { TextDecoder } from "node:util";

/** One dispatched server-sent event: its `event:` field, null when it had none, and its joined `data:` lines. */
export interface ServerSentEvent {
  readonly event: string | null;
  readonly data: string;
}

/** The largest event that is taken; a server that sends more is not one to listen to. Bytes of decoded text. */
export const maxEventLength: number = 64 * 1024 * 1024;

/**
 * Decodes `text/event-stream` (WHATWG HTML, 9.2.6), chunk by chunk: LF, CR and CRLF, comments, joined data lines, a
 * leading byte-order mark, chunks that end anywhere. An event whose lines end in a lone CR is given at once, without
 * waiting to see whether an LF follows. An event that the stream's end cuts off is dropped.
 */
export class EventStreamDecoder {
  readonly #decoder: TextDecoder = new TextDecoder("utf-8");
  /** Pieces of the line that is not yet complete; joined once, so that a large line costs its length, not its square. */
  #pieces: string[] = [];
  #length = 0;
  #afterCarriageReturn = false;
  #event: string | null = null;
  #data: string[] = [];

  /**
   * Takes a chunk and gives the events that it completes.
   *
   * @throws RangeError for an event beyond {@link maxEventLength}
   */
  push(chunk: Uint8Array): ServerSentEvent[] {
    const text = this.#decoder.decode(chunk, { stream: true });
    const events: ServerSentEvent[] = [];
    let start = 0;
    if (this.#afterCarriageReturn && text.length > 0) {
      if (text[0] === "\n") start = 1;
      this.#afterCarriageReturn = false;
    }
    const ends = /[\r\n]/g;
    ends.lastIndex = start;
    for (let match = ends.exec(text); match !== null; match = ends.exec(text)) {
      this.#pieces.push(text.slice(start, match.index));
      const line = this.#pieces.length === 1 ? (this.#pieces[0] ?? "") : this.#pieces.join("");
      this.#pieces = [];
      start = match.index + 1;
      if (match[0] === "\r") {
        if (start === text.length) this.#afterCarriageReturn = true;
        else if (text[start] === "\n") start += 1;
      }
      ends.lastIndex = start;
      const event = this.#takeLine(line);
      if (event !== undefined) events.push(event);
    }
    if (start < text.length) {
      this.#pieces.push(text.slice(start));
      this.#grow(text.length - start);
    }
    return events;
  }

  #grow(by: number): void {
    this.#length += by;
    if (this.#length > maxEventLength) throw new RangeError(`an event is longer than ${maxEventLength} characters`);
  }

  #takeLine(line: string): ServerSentEvent | undefined {
    if (line === "") {
      this.#length = 0;
      const event = this.#event;
      const data = this.#data;
      this.#event = null;
      this.#data = [];
      return event === null && data.length === 0 ? undefined : { event, data: data.join("\n") };
    }
    this.#grow(line.length);
    const colon = line.indexOf(":");
    if (colon === 0) return undefined;
    const field = colon === -1 ? line : line.slice(0, colon);
    let value = colon === -1 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (field === "event") this.#event = value;
    else if (field === "data") this.#data.push(value);
    return undefined;
  }
}
