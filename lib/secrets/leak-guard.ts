import { defaultLeakGuard, type LeakAction, type LeakGuardSettings } from "../policy/leak-guard.ts";
import type { ByPlace } from "./packed.ts";
import { type SecretSearch, secretsInUse, without } from "./secret-search.ts";
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

interface FoundLeak {
  readonly span: Span;
  readonly leak: Leak;
}

export interface Guarded {
  /** What may leave; null where nothing may. */
  readonly text: string | null;
  readonly leaks: readonly Leak[];
}

/** What was found, for people. */
export function leakWords(leaks: readonly Leak[]): string {
  return [...new Set(leaks.map(({ what, form }) => `${what} (${form})`))].join(", ");
}

/** Looks for secrets in what leaves a session: results, files. Its answers name them, and never hold one. */
export class LeakGuard {
  readonly #settings: LeakGuardSettings;
  readonly #isPlaceholder: (token: string) => boolean;
  readonly #search: SecretSearch;

  /** @param isPlaceholder what looks like a key and is nothing: the session's own */
  constructor(
    settings: LeakGuardSettings | undefined,
    isPlaceholder: (token: string) => boolean,
    search: SecretSearch = secretsInUse,
  ) {
    this.#settings = settings ?? defaultLeakGuard;
    this.#isPlaceholder = isPlaceholder;
    this.#search = search;
  }

  /** What of a text may leave, and what was found in it. */
  check(text: string): Guarded {
    const bytes = Buffer.from(text);
    const found = this.#find(bytes);
    const leaks = found.map(({ leak }) => leak);
    return { text: leaks.some(({ action }) => action === "block") ? null : cleaned(text, bytes, found), leaks };
  }

  /** A text that something is told by, without what may not leave. */
  clean(text: string): string {
    const bytes = Buffer.from(text);
    return cleaned(text, bytes, this.#find(bytes));
  }

  /** Looks at a file as it passes: what is found is not taken out of it, so that `redact` blocks it. */
  scan(): FileScan {
    return new FileScan((bytes) => this.#find(bytes).map(({ leak }) => leak));
  }

  /** Looks at what a file packs, if it is such a one: gzip, zstd or zip. */
  async packed(file: ByPlace, signal?: AbortSignal): Promise<readonly Leak[]> {
    const { searchPacked } = await import("./packed.ts");
    const { leaks, isWhole } = await searchPacked(file, () => this.scan(), signal);
    return isWhole || !this.#search.knowsAny ? leaks : [...leaks, { ...unread, action: this.#settings.action }];
  }

  #find(bytes: Buffer): FoundLeak[] {
    const { action, tokens } = this.#settings;
    const { found, marked } = this.#search.find(bytes);
    const known = found.map(({ name, form, at, end }) => ({ span: { at, end }, leak: { what: name, form, action } }));
    if (marked.size === 0) return known;
    const others = findTokens(bytes.toString("latin1"), marked)
      .filter(({ at, end }) => !known.some(({ span }) => span.at < end && at < span.end))
      .filter(({ token }) => !this.#isPlaceholder(token))
      .map(({ kind, form, at, end }) => ({ span: { at, end }, leak: { what: kind, form, action: tokens } }));
    return [...known, ...others];
  }
}

function cleaned(text: string, bytes: Buffer, found: readonly FoundLeak[]): string {
  const spans = found.filter(({ leak }) => leak.action !== "warn").map(({ span }) => span);
  return spans.length === 0 ? text : without(bytes, spans);
}

/** The first secret that is known in a file's content, packed or not, for people. */
export async function knownSecretIn(content: Buffer): Promise<string | undefined> {
  const { inMemory } = await import("./packed.ts");
  const guard = new LeakGuard({ ...defaultLeakGuard, action: "block" }, () => true);
  const scan = guard.scan();
  scan.push(content);
  const [leak] = [...scan.end(), ...(await guard.packed(inMemory(content)))];
  return leak && `${leak.what} (${leak.form})`;
}

const unread = { what: "packed data that is too much to be searched", form: "over 1 GiB as it reads, or five deep" };

/** So much of a file is looked at at once; a secret may lie across two of them. */
const windowBytes = 256 * 1024;
/** The longest form of the longest secret: hexadecimal numbers in a list, six characters a byte. */
const overlapBytes = 32 * 1024;

export class FileScan {
  readonly #find: (bytes: Buffer) => readonly Leak[];
  readonly #leaks = new Map<string, Leak>();
  #held = Buffer.alloc(0);

  constructor(find: (bytes: Buffer) => readonly Leak[]) {
    this.#find = find;
  }

  push(chunk: Buffer): void {
    this.#held = Buffer.concat([this.#held, chunk]);
    if (this.#held.length < windowBytes) return;
    this.#look();
    this.#held = this.#held.subarray(-overlapBytes);
  }

  /** What was found in all of it. */
  end(): readonly Leak[] {
    this.#look();
    this.#held = Buffer.alloc(0);
    return [...this.#leaks.values()];
  }

  #look(): void {
    for (const leak of this.#find(this.#held)) this.#leaks.set(`${leak.what} ${leak.form}`, leak);
  }
}
