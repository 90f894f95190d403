import { assemble, type Piece, type SecretForm } from "../secrets/secret-text.ts";
import type { SessionCredentials } from "../secrets/session.ts";
import type { Escapes, Spelling } from "../secrets/spelling.ts";
import type { BodyReader } from "./http-body.ts";
import { type Field, HttpError, makeField, type RequestHead } from "./http-head.ts";
import { bytesOf, checkBound, type SwapField } from "./swap.ts";

/** What is put into bodies of these types (openshell.md 1.6), each as it escapes characters. */
const types: readonly { readonly type: RegExp; readonly form: SecretForm; readonly escapes: Escapes }[] = [
  { type: /^application\/(?:[\w.-]+\+)?json\b/i, form: "json", escapes: "json" },
  { type: /^application\/x-www-form-urlencoded\b/i, form: "percent", escapes: "percent" },
  { type: /^text\//i, form: "plain", escapes: "none" },
];

/** Replaces placeholders in data that comes in pieces. */
export class BodySwap {
  readonly #session: SessionCredentials;
  readonly #bound: readonly string[];
  readonly #form: SecretForm;
  readonly #spelling: Spelling;
  /** May become a placeholder. */
  #held = "";
  readonly names: Set<string> = new Set();

  constructor(session: SessionCredentials, bound: readonly string[], form: SecretForm, escapes: Escapes) {
    this.#session = session;
    this.#bound = bound;
    this.#form = form;
    this.#spelling = session.spelling(escapes);
  }

  /** For a request's body; undefined where none is put into such. */
  static of(session: SessionCredentials, bound: readonly string[], fields: readonly SwapField[]): BodySwap | undefined {
    const read = (name: string): string | undefined => fields.find((field) => field.name === name)?.value;
    const coding = read("content-encoding");
    if (coding !== undefined && coding.toLowerCase() !== "identity") return undefined;
    const found = types.find(({ type }) => type.test(read("content-type") ?? ""));
    return found === undefined ? undefined : new BodySwap(session, bound, found.form, found.escapes);
  }

  /** Reads the secrets that may be needed. One that cannot be had is said when it is. */
  prepare(): Promise<void> {
    return this.#session.readAhead(this.#bound);
  }

  get isReady(): boolean {
    return this.#session.areFresh(this.#bound);
  }

  /**
   * What goes on, for the caller to wipe.
   *
   * @throws SwapFault
   */
  take(chunk: Buffer, isLast: boolean): Buffer {
    const text = this.#held + chunk.toString("latin1");
    const pieces: Piece[] = [];
    let at = 0;
    for (const match of this.#spelling.find(text)) {
      // The name of a variable may go on.
      if (match.end === text.length && !isLast && !this.#session.isPlaceholder(match.plain)) break;
      pieces.push(text.slice(at, match.at), { name: this.#nameOf(match.plain), form: this.#form });
      at = match.end;
    }
    const until = isLast ? text.length : this.#spelling.begun(text, at);
    pieces.push(text.slice(at, until));
    this.#held = text.slice(until);
    return assemble(pieces, (name) => bytesOf(this.#session, name));
  }

  #nameOf(placeholder: string): string {
    const name = checkBound(this.#bound, this.#session.find(placeholder)[0]?.name, "body");
    this.names.add(name);
    return name;
  }
}

/** Shorter ones are sent with their length, as some servers want it. */
const longestHeld = 256 * 1024;
const framing: ReadonlySet<string> = new Set(["content-length", "transfer-encoding", "expect"]);

/** A body that is another when it goes on, or another time: with its head. */
export interface ChangedBody {
  /** The credentials that went into it, once it is whole. */
  readonly used: readonly string[];
  /** Whether its server hears nothing of it until it is whole. */
  readonly waits: boolean;
  /**
   * @returns size: how much of the data belongs to it; out: what goes on, for the caller to wipe
   * @throws HttpError, SwapFault
   */
  take(data: Buffer, at: number): { readonly size: number; readonly out: readonly Buffer[] };
}

/** A request of HTTP/1.1 whose body is another when it goes on: put together here, its head too. */
export class SwappedBody implements ChangedBody {
  readonly #reader: BodyReader;
  readonly #swap: BodySwap;
  /** The head, with these fields for its framing. */
  readonly #headWith: (fields: (own: readonly Field[]) => readonly Field[]) => Buffer;
  /** Null where it goes on as it comes. */
  #whole: Buffer[] | null;
  #hasBegun = false;

  constructor(
    head: RequestHead,
    reader: BodyReader,
    swap: BodySwap,
    headWith: (fields: (own: readonly Field[]) => readonly Field[]) => Buffer,
  ) {
    this.#reader = reader;
    this.#swap = swap;
    this.#headWith = headWith;
    const isShort = head.framing.kind === "length" && head.framing.length <= longestHeld;
    if (!isShort && head.minor === 0)
      throw new HttpError(
        413,
        `a body that credentials go into is longer than ${longestHeld} bytes, and HTTP/1.0 has no chunks`,
      );
    this.#whole = isShort ? [] : null;
  }

  get used(): readonly string[] {
    return this.#reader.isDone ? [...this.#swap.names] : [];
  }

  get waits(): boolean {
    return this.#whole !== null;
  }

  take(data: Buffer, at: number): { readonly size: number; readonly out: readonly Buffer[] } {
    const ranges: [number, number][] = [];
    const size = this.#reader.take(data, at, ranges);
    const came = Buffer.concat(ranges.map(([from, until]) => data.subarray(from, until)));
    const made = this.#swap.take(came, this.#reader.isDone);
    return { size, out: this.#whole === null ? this.#stream(made) : this.#collect(this.#whole, made) };
  }

  #stream(made: Buffer): readonly Buffer[] {
    const out: Buffer[] = [];
    if (!this.#hasBegun)
      out.push(this.#headWith((own) => [...withoutFraming(own), makeField("transfer-encoding", "chunked")]));
    this.#hasBegun = true;
    if (made.length > 0) out.push(Buffer.from(`${made.length.toString(16)}\r\n`), made, Buffer.from("\r\n"));
    if (this.#reader.isDone) out.push(Buffer.from("0\r\n\r\n"));
    return out;
  }

  #collect(parts: Buffer[], made: Buffer): readonly Buffer[] {
    parts.push(made);
    if (!this.#reader.isDone) return [];
    this.#whole = null;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    return [this.#headWith((own) => [...withoutFraming(own), makeField("content-length", String(length))]), ...parts];
  }
}

/** For a body that goes on in another way. */
export function withoutFraming(fields: readonly Field[]): readonly Field[] {
  return fields.filter(({ name }) => !framing.has(name));
}
