import type { SecretSource } from "../policy/credentials.ts";
import { type Needle, needlesOf } from "./needles.ts";
import { readSource } from "./sources.ts";

/** A change of a file counts within this time. */
const fileFreshMs = 1000;

/** One secret of a session: read at first use, kept in locked memory, read anew where its source may have changed. */
export class Secret {
  readonly name: string;
  readonly #source: SecretSource;
  #bytes: Buffer | null = null;
  #version: string | undefined;
  #needles: readonly Needle[] | null = null;
  #isEncoded = false;
  #freshUntil = 0;
  #reading: Promise<void> | undefined;
  #isWiped = false;

  constructor(name: string, source: SecretSource) {
    this.name = name;
    this.#source = source;
  }

  /** Whether what is there is what the source has, as far as is known. */
  get isFresh(): boolean {
    return this.#bytes !== null && performance.now() < this.#freshUntil;
  }

  /** What was read last; null before, and where it could not be read again. */
  get bytes(): Buffer | null {
    return this.#bytes;
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
    this.#needles ??= needlesOf(this.#bytes, placeholder, this.#isEncoded);
    return this.#needles;
  }

  /**
   * Makes it fresh. What cannot be read again is wiped: nobody knows whether it is still good.
   *
   * @throws SecretError
   */
  async refresh(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    await this.#reading;
  }

  async #read(): Promise<void> {
    try {
      const found = await readSource(this.#source, this.#bytes === null ? undefined : this.#version);
      if (found !== undefined) {
        this.#forget();
        if (this.#isWiped) return void found.bytes.fill(0);
        this.#bytes = found.bytes;
        this.#version = found.version;
      }
      this.#freshUntil = performance.now() + freshMs(this.#source);
    } catch (error) {
      this.#forget();
      throw error;
    }
  }

  #forget(): void {
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
    this.#forget();
  }
}

function freshMs(source: SecretSource): number {
  if (source.kind === "command") return source.ttlMs;
  return source.kind === "env" ? Number.POSITIVE_INFINITY : fileFreshMs;
}
