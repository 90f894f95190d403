import { defaultLeakGuard, type LeakAction, type LeakGuardSettings } from "../policy/leak-guard.ts";
import { type SecretSearch, secretsInUse } from "../secrets/secret-search.ts";
import { type FoundToken, findTokens, type TokenForm } from "../secrets/token-shapes.ts";
import { placeOf, type Ranges } from "./scrub.ts";
import { checkBound } from "./swap.ts";

/** A secret in a request. */
export interface RequestLeak {
  /** A secret's name, or what a token is by its looks. */
  readonly what: string;
  readonly form: string;
  readonly action: LeakAction;
  /** Whether it is known, only looks like one, or stands for one that is not for this place. */
  readonly kind: "known" | "token" | "placeholder";
  readonly where: "name" | "head" | "body" | "message";
}

/** Why a request does not go on, or no further. */
export class LeakFault extends Error {
  override readonly name = "LeakFault";
  readonly leak: RequestLeak;

  constructor(leak: RequestLeak) {
    super(`the ${leak.where} holds ${leak.what} (${leak.form}), which the leak guard keeps back`);
    this.leak = leak;
  }
}

/** Whether what it was found in may not go on as it is. */
export function isKeptBack(leak: RequestLeak | undefined): leak is RequestLeak {
  return leak !== undefined && leak.action !== "warn";
}

interface Span {
  readonly at: number;
  readonly end: number;
  readonly leak: RequestLeak;
}

interface Looked {
  readonly spans: readonly Span[];
  /** Where the end of the data begins that has to wait for what follows. */
  readonly begun: number;
}

/** So much of what has gone on is looked at again with what follows. */
const tailBytes = 256;
/** What may become a secret waits, but not more than this: somebody parts it by what means nothing. */
const mostHeld = 16 * 1024;
const nothing: Buffer = Buffer.alloc(0);
const blank = 0x2a; // *

export interface RequestSecrets {
  /** What looks like a key and stands for one. */
  readonly isPlaceholder: (token: string) => boolean;
  readonly search?: SecretSearch;
  /** By the names of their credentials; null where there are none. */
  readonly placeholders: SecretSearch | null;
}

/** Looks for secrets in what a sandbox sends, where it can be read. */
export class RequestGuard {
  #settings: LeakGuardSettings;
  readonly #isPlaceholder: (token: string) => boolean;
  readonly #search: SecretSearch;
  /** The last head's, and what in them looks like a key. */
  #fields:
    | { readonly bytes: Buffer; readonly forms: ReadonlySet<TokenForm>; readonly tokens: readonly FoundToken[] }
    | undefined;
  readonly #placeholders: SecretSearch | null;

  constructor(
    settings: LeakGuardSettings | undefined,
    { isPlaceholder, search = secretsInUse, placeholders }: RequestSecrets,
  ) {
    this.#settings = settings ?? defaultLeakGuard;
    this.#isPlaceholder = isPlaceholder;
    this.#search = search;
    this.#placeholders = placeholders;
  }

  /** Goes by another policy's settings from now on. */
  apply(settings: LeakGuardSettings | undefined): void {
    this.#settings = settings ?? defaultLeakGuard;
  }

  /** Whether what is known of may go on. */
  get isLenient(): boolean {
    return this.#settings.requests === "warn";
  }

  /** What of a head is to be told of, or why it does not go on: nothing is taken out of one. */
  head(bytes: Buffer): LeakFault | readonly RequestLeak[] {
    const { spans } = this.find(bytes, "head", false);
    const stopped = spans.find(({ leak }) => leak.action !== "warn");
    return stopped === undefined ? spans.map(({ leak }) => leak) : new LeakFault(stopped.leak);
  }

  /** What is in the name of a server, which others are asked for; nothing is taken out of one. */
  name(asked: string): RequestLeak | undefined {
    // What is longer than a label is parted.
    const texts = [asked, asked.replaceAll(".", "")];
    const found = texts.flatMap((text) => this.#findAll(Buffer.from(text, "latin1"), "name", false, []).spans);
    const { leak } = found.find((span) => span.leak.action !== "warn") ?? found[0] ?? {};
    return leak;
  }

  /**
   * @param bound the credentials that are for this place
   * @param onLeak is told of what goes on all the same, once of each
   */
  stream(where: RequestLeak["where"], bound: readonly string[], onLeak: (leak: RequestLeak) => void): LeakStream {
    return new LeakStream((data, more) => this.#findAll(data, where, more, bound), onLeak);
  }

  /** With placeholders, which a head is searched for where they are replaced (swap.ts). */
  #findAll(data: Buffer, where: RequestLeak["where"], more: boolean, bound: readonly string[]): Looked {
    const looked = this.find(data, where, more);
    if (this.#placeholders === null) return looked;
    const { found, begun } = this.#placeholders.find(data, more);
    const action = this.#settings.placeholders;
    const strangers = found
      .filter(({ name }) => !bound.includes(name))
      .map(
        ({ name: what, form, at, end }): Span => ({
          at,
          end,
          leak: { what, form, action, kind: "placeholder", where },
        }),
      );
    return { spans: [...looked.spans, ...strangers], begun: Math.min(begun, looked.begun) };
  }

  find(data: Buffer, where: RequestLeak["where"], more: boolean): Looked {
    const { requests, tokens } = this.#settings;
    const { found, marked, firstMark, begun } = this.#search.find(data, more);
    if (found.length === 0 && marked.size === 0) return { spans: [], begun };
    const known = found.map(({ name, form, at, end }): Span => {
      return { at, end, leak: { what: name, form, action: requests, kind: "known", where } };
    });
    if (marked.size === 0) return { spans: known, begun };
    const text = where === "head" ? undefined : data.toString("latin1");
    const looks = text === undefined ? this.#tokensInHead(data, marked, firstMark) : this.#tokensIn(text, marked);
    const others = looks
      .filter(({ at, end }) => !known.some((span) => span.at < end && at < span.end))
      .map(
        ({ kind, form, at, end }): Span => ({
          at,
          end,
          leak: { what: kind, form, action: tokens, kind: "token", where },
        }),
      );
    const waits = text !== undefined && more && tokens !== "warn";
    return { spans: [...known, ...others], begun: waits ? Math.min(begun, begunToken(text)) : begun };
  }

  /** What stands for a key is none. */
  #tokensIn(text: string, forms: ReadonlySet<TokenForm>): readonly FoundToken[] {
    return findTokens(text, forms).filter(({ token }) => !this.#isPlaceholder(token));
  }

  /** Clients say the same fields again and again. */
  #tokensInHead(data: Buffer, forms: ReadonlySet<TokenForm>, firstMark: number): readonly FoundToken[] {
    const cut = data.indexOf(0x0a) + 1;
    const fields = data.subarray(cut);
    if (this.#fields === undefined || !this.#fields.bytes.equals(fields) || !isWithin(forms, this.#fields.forms))
      this.#fields = { bytes: Buffer.from(fields), forms, tokens: this.#tokensIn(fields.toString("latin1"), forms) };
    const inLine = firstMark < cut ? this.#tokensIn(data.toString("latin1", 0, cut), forms) : [];
    const { tokens } = this.#fields;
    if (tokens.length === 0) return inLine;
    return [...inLine, ...tokens.map((token) => ({ ...token, at: token.at + cut, end: token.end + cut }))];
  }
}

function isWithin(some: ReadonlySet<TokenForm>, all: ReadonlySet<TokenForm>): boolean {
  for (const form of some) if (!all.has(form)) return false;
  return true;
}

/** Where the last word begins, or a key of several lines. */
function begunToken(text: string): number {
  const key = text.lastIndexOf("-----BEGIN");
  if (key >= 0 && !text.includes("-----END", key)) return key;
  return text.length - (/[\w./+=-]{0,512}$/.exec(text)?.[0].length ?? 0);
}

/** Looks through data on its way; no length changes. */
export class LeakStream {
  readonly #find: (data: Buffer, more: boolean) => Looked;
  readonly #onLeak: (leak: RequestLeak) => void;
  readonly #told = new Set<string>();
  /** What waits: as it came, and its data. */
  #held: { readonly bytes: Buffer; readonly data: Buffer; readonly ranges: Ranges } | null = null;
  /** The last data that went on. */
  #tail = nothing;

  constructor(find: (data: Buffer, more: boolean) => Looked, onLeak: (leak: RequestLeak) => void) {
    this.#find = find;
    this.#onLeak = onLeak;
  }

  /**
   * The bytes that may go on now.
   *
   * @param ranges where in them the data lies; what lies between is framing
   * @param isLast no more will come that belongs together
   * @param own the data, where it does not lie there as it reads: a key is laid over it (RFC 6455 section 5.3)
   * @throws LeakFault; SwapFault for a placeholder
   */
  take(came: Buffer, ranges: Ranges, isLast: boolean, own: Buffer = gathered(came, ranges)): Buffer {
    const held = this.#held;
    const bytes = held === null ? came : Buffer.concat([held.bytes, came]);
    const data = held === null ? own : Buffer.concat([held.data, own]);
    const shift = held?.bytes.length ?? 0;
    const where =
      held === null
        ? ranges
        : [...held.ranges, ...ranges.map(([from, until]) => [from + shift, until + shift] as const)];
    const gone = this.#tail.length;
    const text = gone === 0 ? data : Buffer.concat([this.#tail, data]);
    const { spans, begun } = this.#find(text, !isLast);
    for (const span of spans) {
      if (span.end <= gone) continue;
      this.#tell(span.leak);
      if (span.leak.action === "redact") blankOut(data, bytes, where, Math.max(0, span.at - gone), span.end - gone);
    }
    const from = Math.max(0, begun - gone);
    const kept = isLast || data.length - from > mostHeld ? data.length : from;
    this.#tail = Buffer.from(text.subarray(Math.max(0, kept + gone - tailBytes), kept + gone));
    if (kept === data.length) {
      this.#held = null;
      return bytes;
    }
    const at = placeOf(kept, where);
    this.#held = {
      bytes: Buffer.from(bytes.subarray(at)),
      data: Buffer.from(data.subarray(kept)),
      ranges: where.flatMap(([first, until]) => (until > at ? [[Math.max(0, first - at), until - at] as const] : [])),
    };
    return bytes.subarray(0, at);
  }

  #tell(leak: RequestLeak): void {
    if (leak.action === "block") {
      if (leak.kind === "placeholder") checkBound([], leak.what, leak.where);
      throw new LeakFault(leak);
    }
    const key = `${leak.what} ${leak.form}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.#onLeak(leak);
  }
}

/** What lies in these places. */
export function gathered(bytes: Buffer, ranges: Ranges): Buffer {
  const [only] = ranges;
  if (ranges.length === 1 && only !== undefined) return bytes.subarray(only[0], only[1]);
  return Buffer.concat(ranges.map(([from, until]) => bytes.subarray(from, until)));
}

/** What parts a secret stays, so that what it stands in is still read. */
const stays = new Set(Buffer.from(" \t\r\n\"'`,;:|[](){}<>\0"));
const backslash = 0x5c;
/** What a backslash parts it with. */
const lineEnds = new Set(Buffer.from("nrt"));

function blankOut(data: Buffer, bytes: Buffer, ranges: Ranges, from: number, until: number): void {
  for (let i = from; i < until; i++) {
    const was = data[i] ?? 0;
    if (stays.has(was) || (was === backslash && !isEscape(data, i))) continue;
    if (lineEnds.has(was) && data[i - 1] === backslash) continue;
    const at = placeOf(i, ranges);
    const before = bytes[at] ?? 0;
    data[i] = blank;
    // Where they are not the same memory. Whatever is laid over it stays so.
    if (bytes[at] === before) bytes[at] = before ^ was ^ blank;
  }
}

/** Whether backslashes are part of a character's number, as JSON writes it. */
function isEscape(data: Buffer, from: number): boolean {
  let at = from;
  while (data[at] === backslash) at++;
  return data[at] === 0x75; // u
}
