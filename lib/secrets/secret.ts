import type { SecretSource } from "../policy/credentials.ts";
import {
  type AwsKeysSource,
  type CredentialSource,
  isAws,
  isToken,
  keptBy,
  type TokenSource,
} from "../policy/token-source.ts";
import { awsSecretsIn, readAwsKeys } from "./aws-keys.ts";
import { type Needle, needlesOf } from "./needles.ts";
import { secretsInUse } from "./secret-search.ts";
import { readSource, SecretError } from "./sources.ts";
import { issueToken, type Keep, type TokenFetch } from "./token.ts";

/** A change of a file counts within this time. */
const fileFreshMs = 1000;
/** While a token is good, and its issuer gives no other, it is asked again after this time. */
const retryMs = 10_000;

/** One secret of a session: read at first use, kept in locked memory, read anew where its source may have changed. */
export class Secret {
  readonly name: string;
  readonly #source: CredentialSource;
  /** Of whom tokens are asked; null as long as there is no way out. */
  readonly #fetch: () => TokenFetch | null;
  #bytes: Buffer | null = null;
  #version: string | undefined;
  #needles: readonly Needle[] | null = null;
  #isEncoded = false;
  #freshUntil = 0;
  /** When a token ends. */
  #goodUntil = 0;
  /** The refresh token that its issuer gave instead of the one that is kept. */
  #rotated: Buffer | null = null;
  /** What issuers are asked with, as it was read last, and what of it is secret by itself. */
  readonly #kept = new Map<CredentialSource, { readonly whole: Buffer; readonly parts: readonly Buffer[] }>();
  #reading: Promise<void> | undefined;
  #isWiped = false;
  /** While it may be there, it is looked for in what leaves. */
  readonly #retract: () => void;

  constructor(name: string, source: CredentialSource, fetch: () => TokenFetch | null = () => null) {
    this.name = name;
    this.#source = source;
    this.#fetch = fetch;
    this.#retract = secretsInUse.add(() => this.#known());
  }

  /** Whether what is there is what the source has, as far as is known. */
  get isFresh(): boolean {
    return this.#bytes !== null && performance.now() < this.#freshUntil;
  }

  /** What was read last; null before, and where it could not be read again. */
  get bytes(): Buffer | null {
    return this.#bytes;
  }

  *#known(): Generator<readonly [name: string, secret: Buffer]> {
    for (const part of this.parts) yield [this.name, part];
    if (this.#rotated !== null) yield [this.name, this.#rotated];
    for (const { parts } of this.#kept.values()) for (const part of parts) yield [this.name, part];
  }

  /** Whether a server that it is shown to takes it for a bearer's token (RFC 6750). */
  get isToken(): boolean {
    return isToken(this.#source) && !isAws(this.#source);
  }

  /** What of it is secret by itself: of AWS's keys the secret one, and the token. */
  get parts(): readonly Buffer[] {
    if (this.#bytes === null) return [];
    return isAws(this.#source) ? awsSecretsIn(this.#bytes) : [this.#bytes];
  }

  /** It was sent in base64 as well. */
  markEncoded(): void {
    if (this.#isEncoded) return;
    this.#isEncoded = true;
    this.#forgetNeedles();
  }

  /** What it is looked for by; nothing before it was read. */
  needles(placeholder: string): readonly Needle[] {
    if (this.#bytes === null) return [];
    this.#needles ??= this.parts.flatMap((part) => needlesOf(part, placeholder, this.#isEncoded));
    return this.#needles;
  }

  /**
   * Makes it fresh. What cannot be read again is wiped: nobody knows whether it is still good.
   *
   * @throws SecretError
   */
  async refresh(): Promise<void> {
    const source = this.#source;
    this.#reading ??= (isToken(source) ? this.#ask(source) : this.#read(source)).finally(() => {
      this.#reading = undefined;
      if (this.#isWiped) this.#forgetKept();
    });
    await this.#reading;
  }

  async #read(source: SecretSource | AwsKeysSource): Promise<void> {
    try {
      const found =
        source.kind === "aws_keys"
          ? { bytes: await readAwsKeys(source), version: undefined }
          : await readSource(source, this.#bytes === null ? undefined : this.#version);
      if (found !== undefined) {
        this.#forget();
        if (this.#isWiped) return void found.bytes.fill(0);
        this.#bytes = found.bytes;
        this.#version = found.version;
        secretsInUse.changed();
      }
      this.#freshUntil = performance.now() + freshMs(source);
    } catch (error) {
      this.#forget();
      throw error;
    }
  }

  async #ask(source: TokenSource): Promise<void> {
    try {
      const fetch = this.#fetch();
      if (fetch === null) throw new SecretError("no token can be asked for here");
      const { bytes, rotated, freshMs, goodMs } = await issueToken(this.name, source, fetch, this.#keep, this.#rotated);
      this.#forget();
      if (rotated !== undefined) this.#rotated?.fill(0);
      this.#rotated = rotated ?? this.#rotated;
      if (this.#isWiped) {
        bytes.fill(0);
        this.#rotated?.fill(0);
        return;
      }
      this.#bytes = bytes;
      secretsInUse.changed();
      const now = performance.now();
      this.#freshUntil = now + freshMs;
      this.#goodUntil = now + goodMs;
    } catch (error) {
      const now = performance.now();
      if (this.#bytes === null || now >= this.#goodUntil) {
        this.#forget();
        throw error;
      }
      this.#freshUntil = Math.min(this.#goodUntil, now + retryMs);
    }
  }

  readonly #keep: Keep = (source, whole, parts) => {
    this.#kept.get(source)?.whole.fill(0);
    this.#kept.set(source, { whole, parts });
    secretsInUse.changed();
  };

  #forgetKept(): void {
    for (const { whole } of this.#kept.values()) whole.fill(0);
    this.#kept.clear();
  }

  #forget(): void {
    if (this.#bytes !== null) secretsInUse.changed();
    this.#bytes?.fill(0);
    this.#bytes = null;
    this.#forgetNeedles();
  }

  #forgetNeedles(): void {
    for (const { bytes } of this.#needles ?? []) bytes.fill(0);
    this.#needles = null;
  }

  /** For good. */
  wipe(): void {
    this.#isWiped = true;
    this.#rotated?.fill(0);
    this.#rotated = null;
    // What an issuer is being asked with is in use.
    if (this.#reading === undefined) this.#forgetKept();
    this.#forget();
    this.#retract();
  }
}

function freshMs(source: SecretSource | AwsKeysSource): number {
  if (source.kind === "aws_keys") return Math.min(...keptBy(source).map((each) => freshMs(each)));
  if (source.kind === "command") return source.ttlMs;
  return source.kind === "env" ? Number.POSITIVE_INFINITY : fileFreshMs;
}
