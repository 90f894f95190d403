import { nameOf } from "./directory.ts";

/**
 * The types of extract rules. A type is the ending of a file's name (`md`, `tar.gz`; capitals do not count), and for the
 * endings below the content has to agree with it: a program that was renamed to `report.md` stays. `text` is every file
 * that is UTF-8 without a NUL, whatever its name.
 */

/** What files of these endings begin with, as their formats say; one character for each byte. */
const beginnings: Readonly<Record<string, readonly string[]>> = {
  png: ["\x89PNG\r\n\x1a\n"],
  jpg: ["\xff\xd8\xff"],
  gif: ["GIF87a", "GIF89a"],
  webp: ["RIFF"],
  pdf: ["%PDF-"],
  zip: ["PK\x03\x04", "PK\x05\x06"],
  gz: ["\x1f\x8b"],
  bz2: ["BZh"],
  xz: ["\xfd7zXZ\0"],
  zst: ["\x28\xb5\x2f\xfd"],
  wasm: ["\0asm"],
  sqlite: ["SQLite format 3\0"],
  parquet: ["PAR1"],
};

const sameAs: Readonly<Record<string, string>> = {
  jpeg: "jpg",
  tgz: "gz",
  docx: "zip",
  xlsx: "zip",
  pptx: "zip",
  odt: "zip",
  jar: "zip",
  whl: "zip",
};

const texts: ReadonlySet<string> = new Set(
  (
    "text txt md rst adoc json jsonl ndjson yaml yml toml ini conf csv tsv xml html htm css svg js mjs cjs ts tsx jsx py " +
    "rb go rs c h cc cpp hpp java sh sql log diff patch tex bib"
  ).split(" "),
);

/** Looks at a file's content as it passes. */
export interface ContentCheck {
  /** Why it is not of its type; null as long as it may be. */
  push(chunk: Buffer): string | null;
  /** The same at its end. */
  end(): string | null;
}

/** Which of the types a file has by its name; undefined for none. */
export function typeOf(path: string, types: readonly string[]): string | undefined {
  const name = nameOf(path).toLowerCase();
  const ending = types.find((type) => name.endsWith(`.${type.toLowerCase()}`) && name.length > type.length + 1);
  return ending ?? types.find((type) => type === "text");
}

/** What the content of a file of this type has to be; null where nothing is known of it. */
export function contentCheck(type: string): ContentCheck | null {
  const last = type.slice(type.lastIndexOf(".") + 1).toLowerCase();
  if (texts.has(last)) return new TextCheck(type);
  const known = beginnings[sameAs[last] ?? last];
  return known === undefined ? null : new BeginningCheck(type, known);
}

class TextCheck implements ContentCheck {
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });
  readonly #fault: string;

  constructor(type: string) {
    this.#fault = `its content is not text, as that of ${type} files is`;
  }

  push(chunk: Buffer): string | null {
    return chunk.includes(0) ? this.#fault : this.#decode(chunk);
  }

  end(): string | null {
    return this.#decode();
  }

  #decode(chunk?: Buffer): string | null {
    try {
      this.#decoder.decode(chunk, { stream: chunk !== undefined });
      return null;
    } catch {
      return this.#fault;
    }
  }
}

class BeginningCheck implements ContentCheck {
  readonly #known: readonly string[];
  readonly #fault: string;
  #seen = "";

  constructor(type: string, known: readonly string[]) {
    this.#known = known;
    this.#fault = `its content does not begin as that of ${type} files does`;
  }

  push(chunk: Buffer): string | null {
    if (this.#seen.length < 16) this.#seen += chunk.toString("latin1", 0, 16);
    const isPossible = this.#known.some((begin) => begin.startsWith(this.#seen) || this.#seen.startsWith(begin));
    return isPossible ? null : this.#fault;
  }

  end(): string | null {
    return this.#known.some((begin) => this.#seen.startsWith(begin)) ? null : this.#fault;
  }
}
