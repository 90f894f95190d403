import { HoldfastError } from "../errors.ts";
import { type NativeSearch, native } from "../native.ts";
import { type TokenForm, tokenMarks } from "./token-shapes.ts";

/** Where secrets are, by name: as they are now. */
export type KnownSecrets = () => Iterable<readonly [name: string, secret: Buffer]>;

/** A secret in some data. */
export interface Found {
  readonly name: string;
  readonly form: string;
  readonly at: number;
  readonly end: number;
}

export interface SearchResult {
  readonly found: readonly Found[];
  /** In which forms something stands there that a token could begin with. */
  readonly marked: ReadonlySet<TokenForm>;
  /** Where the first of those stands; the data's length where none does. */
  readonly firstMark: number;
  /** Where the data's end begins that more may make a secret of; its length where none does. */
  readonly begun: number;
}

interface Prepared {
  readonly search: NativeSearch;
  /** With their lengths. */
  readonly secrets: readonly (readonly [name: string, length: number])[];
}

/** By their numbers (native/form_search.h). */
const forms = ["plain", "hex", "reversed", "base64", "base32", "decimal", "octal", "rot13", "in pieces"];
const marks: readonly Buffer[] = tokenMarks.map(({ mark }) => Buffer.from(mark, "latin1"));
const unmarked: ReadonlySet<TokenForm> = new Set();

/** Looks for secrets in all the forms that they could be carried away in (native/form_search.h). */
export class SecretSearch {
  readonly #sources = new Set<KnownSecrets>();
  readonly #areSecret: boolean;
  #prepared: Prepared | null = null;
  #version = 0;

  /** @param areSecret whether what it is looked for by has to lie in locked memory, of which there may be little */
  constructor(source?: KnownSecrets, areSecret = true) {
    if (source !== undefined) this.#sources.add(source);
    this.#areSecret = areSecret;
  }

  /** @returns what makes it forgotten */
  add(source: KnownSecrets): () => void {
    this.#sources.add(source);
    this.changed();
    return () => {
      this.#sources.delete(source);
      this.changed();
    };
  }

  /** Whether there is anything to be found. */
  get knowsAny(): boolean {
    return this.#prepare().secrets.length > 0;
  }

  /** Another one where another secret is looked for: what was found to hold none holds none as long as it is the same. */
  get version(): number {
    return this.#version;
  }

  /** Some secret is another now: what it was looked for by is wiped. */
  changed(): void {
    this.#version++;
    if (this.#prepared !== null) native().wipeSearch(this.#prepared.search);
    this.#prepared = null;
  }

  /**
   * @param more whether the data goes on
   * @throws HoldfastError ERR_HOLDFAST_CREDENTIAL where no memory can be locked for it
   */
  find(data: Buffer, more = false): SearchResult {
    const { search, secrets } = this.#prepare();
    const answer = native().search(search, data, more);
    if (typeof answer === "number") return { found: [], marked: unmarked, firstMark: data.length, begun: answer };
    const [begun = data.length] = answer;
    const found: Found[] = [];
    const marked = new Set<TokenForm>();
    let firstMark = data.length;
    for (let i = 1; i + 3 < answer.length; i += 4) {
      const index = answer[i] ?? 0;
      const form = answer[i + 1] ?? 0;
      const at = answer[i + 2] ?? 0;
      if (form >= forms.length) {
        marked.add(tokenMarks[index]?.form ?? "plain");
        firstMark = Math.min(firstMark, at);
        continue;
      }
      const end = answer[i + 3] ?? 0;
      const secret = secrets[index];
      if (secret !== undefined)
        found.push({ name: secret[0], form: formOf(form, data.subarray(at, end), secret[1]), at, end });
    }
    return { found, marked, firstMark, begun };
  }

  /** A text without what is known. */
  redact(text: string): string {
    if (!this.knowsAny) return text;
    const bytes = Buffer.from(text);
    const { found } = this.find(bytes);
    return found.length === 0 ? text : without(bytes, found);
  }

  /** A value for JSON with its texts without what is known: the same where nothing is. */
  redactAll<Value>(value: Value): Value {
    const text = JSON.stringify(value);
    if (this.redact(text) === text) return value;
    const clean = (each: unknown): unknown => {
      if (typeof each === "string") return this.redact(each);
      if (Array.isArray(each)) return each.map(clean);
      if (typeof each !== "object" || each === null) return each;
      return Object.fromEntries(Object.entries(each).map(([name, part]) => [name, clean(part)]));
    };
    // Of the same shape: nothing but texts is another.
    return clean(value) as Value;
  }

  #prepare(): Prepared {
    if (this.#prepared !== null) return this.#prepared;
    const all = [...this.#sources].flatMap((source) => [...source()]);
    // Sessions of one worker have the same.
    const each = all.filter(([, secret], index) => all.findIndex(([, other]) => other.equals(secret)) === index);
    this.#prepared = {
      search: this.#prepareNative(each.map(([, secret]) => secret)),
      secrets: each.map(([name, secret]) => [name, secret.length] as const),
    };
    return this.#prepared;
  }

  #prepareNative(secrets: readonly Buffer[]): NativeSearch {
    try {
      return native().prepareSearch(secrets, marks, this.#areSecret);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new HoldfastError(`no memory can be locked to look for secrets by (${why})`, {
        code: "ERR_HOLDFAST_CREDENTIAL",
        step: "egress",
        hint: "Raise RLIMIT_MEMLOCK (ulimit -l, LimitMEMLOCK= of a service), or have fewer credentials.",
        cause,
      });
    }
  }
}

/** How a form that was found is spelled. */
function formOf(form: number, spelled: Buffer, length: number): string {
  const name = forms[form] ?? "";
  if (form !== 0 || spelled.length === length) return name;
  const text = spelled.toString("latin1");
  if (/%[0-9A-Fa-f]{2}/.test(text)) return "percent-encoded";
  if (/&(?:#\w+|[a-z]+);/.test(text)) return "in HTML";
  return /\\(?:u00|["\\])/.test(text) ? "in JSON" : "in pieces";
}

const mark = Buffer.from("[redacted]");

/** A text with a word in the places of what was found. */
export function without(bytes: Buffer, spans: readonly Pick<Found, "at" | "end">[]): string {
  const clean: Buffer[] = [];
  let from = 0;
  for (const { at, end } of [...spans].sort((one, other) => one.at - other.at)) {
    if (at >= from) clean.push(bytes.subarray(from, at), mark);
    from = Math.max(from, end);
  }
  return Buffer.concat([...clean, bytes.subarray(from)]).toString();
}

/** All that this process knows: of its sandboxes, and its own. */
export const secretsInUse: SecretSearch = new SecretSearch();
