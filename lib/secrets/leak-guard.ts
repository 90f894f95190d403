import { defaultLeakGuard, type LeakAction, type LeakGuardSettings } from "../policy/leak-guard.ts";
import { percentEncoded, shortestSought } from "./secret-text.ts";
import { findTokens } from "./token-shapes.ts";

/** Something that is not to leave, in what was about to. */
export interface Leak {
  /** A credential's name, or what a token is by its looks. */
  readonly what: string;
  readonly form: string;
  readonly action: LeakAction;
}

interface Span {
  readonly at: number;
  readonly end: number;
}

export interface Guarded {
  /** What may leave; null where nothing may. */
  readonly text: string | null;
  readonly leaks: readonly Leak[];
}

/** A secret that is known, by its name. Latin-1 characters stand for its bytes. */
export type KnownSecrets = () => Iterable<readonly [name: string, secret: Buffer]>;

const mark = "[redacted]";
/** What a secret is cut up with when it is printed piece by piece. */
const separators = /[\s"'`,;+\\|[\](){}<>]+/g;
const isSeparator = Uint8Array.from({ length: 256 }, (_, code) =>
  String.fromCharCode(code).replace(separators, "") === "" ? 1 : 0,
);

/** Looks for secrets in what leaves a session: results, files. Its answers name them, and never hold one. */
export class LeakGuard {
  readonly #settings: LeakGuardSettings;
  readonly #secrets: KnownSecrets;
  readonly #isPlaceholder: (token: string) => boolean;

  /** @param isPlaceholder what looks like a key and is nothing: the session's own */
  constructor(
    settings: LeakGuardSettings | undefined,
    secrets: KnownSecrets,
    isPlaceholder: (token: string) => boolean,
  ) {
    this.#settings = settings ?? defaultLeakGuard;
    this.#secrets = secrets;
    this.#isPlaceholder = isPlaceholder;
  }

  /** What of a text may leave, and what was found in it. */
  check(text: string): Guarded {
    const found = this.#find(text);
    const leaks = found.map(({ leak }) => leak);
    if (leaks.some(({ action }) => action === "block")) return { text: null, leaks };
    const spans = found.filter(({ leak }) => leak.action === "redact").map(({ span }) => span);
    return { text: spans.length === 0 ? text : without(text, spans), leaks };
  }

  /** Looks at a file as it passes: what is found is not taken out of it, so that `redact` blocks it. */
  scan(): FileScan {
    return new FileScan((text) => this.#find(text).map(({ leak }) => leak));
  }

  #find(text: string): { readonly span: Span; readonly leak: Leak }[] {
    const { action, tokens } = this.#settings;
    const known: { readonly span: Span; readonly leak: Leak }[] = [];
    let pieces: Pieces | undefined;
    for (const [name, secret] of this.#secrets()) {
      if (secret.length < shortestSought) continue;
      let isFound = false;
      for (const [form, needle] of formsOf(secret)) {
        for (let at = indexOf(text, needle, form, 0); at >= 0; at = indexOf(text, needle, form, at + needle.length)) {
          known.push({ span: { at, end: at + needle.length }, leak: { what: name, form, action } });
          isFound = true;
        }
      }
      if (isFound) continue;
      pieces ??= new Pieces(text);
      for (const span of pieces.find(secret.toString("latin1")))
        known.push({ span, leak: { what: name, form: "in pieces", action } });
    }
    const others = findTokens(text)
      .filter(({ at, end }) => !known.some(({ span }) => span.at < end && at < span.end))
      .filter(({ at, end }) => !this.#isPlaceholder(text.slice(at, end)))
      .map(({ kind, at, end }) => ({ span: { at, end }, leak: { what: kind, form: "plain", action: tokens } }));
    return [...known, ...others];
  }
}

/** So much of a file is looked at at once; a secret may lie across two of them. */
const windowBytes = 256 * 1024;
/** The longest form of the longest secret: three characters a byte. */
const overlapBytes = 16 * 1024;

export class FileScan {
  readonly #find: (text: string) => readonly Leak[];
  readonly #leaks = new Map<string, Leak>();
  #held = "";

  constructor(find: (text: string) => readonly Leak[]) {
    this.#find = find;
  }

  push(chunk: Buffer): void {
    this.#held += chunk.toString("latin1");
    if (this.#held.length < windowBytes) return;
    this.#look();
    this.#held = this.#held.slice(-overlapBytes);
  }

  /** What was found in all of it. */
  end(): readonly Leak[] {
    this.#look();
    this.#held = "";
    return [...this.#leaks.values()];
  }

  #look(): void {
    for (const leak of this.#find(this.#held)) this.#leaks.set(`${leak.what} ${leak.form}`, leak);
  }
}

const caseless = "hex";

function indexOf(text: string, needle: string, form: string, from: number): number {
  if (form !== caseless) return text.indexOf(needle, from);
  const [lower, upper] = [text.indexOf(needle, from), text.indexOf(needle.toUpperCase(), from)];
  return lower < 0 || upper < 0 ? Math.max(lower, upper) : Math.min(lower, upper);
}

/** In which it can be carried away; strings, which live as long as the look takes. */
function formsOf(secret: Buffer): readonly (readonly [form: string, needle: string])[] {
  const plain = secret.toString("latin1");
  const percent = percentEncoded(secret).toString("latin1");
  const json = JSON.stringify(plain).slice(1, -1);
  const forms: [string, string][] = [["plain", plain]];
  if (percent !== plain) forms.push(["percent-encoded", percent]);
  if (json !== plain) forms.push(["in JSON", json]);
  forms.push([caseless, secret.toString("hex")], ["reversed", [...plain].reverse().join("")]);
  for (const shift of [0, 1, 2]) {
    // Without the characters that hold bits of what stands beside it.
    const encoded = Buffer.concat([Buffer.alloc(shift), secret]).toString("base64");
    const from = Math.ceil((shift * 8) / 6);
    const until = Math.floor(((shift + secret.length) * 8) / 6);
    const part = encoded.slice(from, until);
    forms.push(["base64", part]);
    const other = part.replaceAll("+", "-").replaceAll("/", "_");
    if (other !== part) forms.push(["base64url", other]);
  }
  return forms.filter(([, needle]) => needle.length >= shortestSought);
}

/** A text without what pieces are separated by, and where each of its characters was. */
class Pieces {
  readonly #text: string;
  readonly #places: Uint32Array;

  constructor(text: string) {
    this.#text = text.replace(separators, "");
    this.#places = new Uint32Array(this.#text.length);
    let to = 0;
    for (let at = 0; at < text.length && to < this.#places.length; at++) {
      const code = text.charCodeAt(at);
      if (code < 256 ? isSeparator[code] === 0 : !/\s/.test(text.charAt(at))) this.#places[to++] = at;
    }
  }

  *find(secret: string): Generator<Span> {
    const needle = secret.replace(separators, "");
    if (needle.length < shortestSought) return;
    for (let at = this.#text.indexOf(needle); at >= 0; at = this.#text.indexOf(needle, at + needle.length))
      yield { at: this.#places[at] ?? 0, end: (this.#places[at + needle.length - 1] ?? 0) + 1 };
  }
}

function without(text: string, spans: readonly Span[]): string {
  let clean = "";
  let from = 0;
  for (const { at, end } of [...spans].sort((one, other) => one.at - other.at)) {
    if (at < from) {
      from = Math.max(from, end);
      continue;
    }
    clean += text.slice(from, at) + mark;
    from = end;
  }
  return clean + text.slice(from);
}
