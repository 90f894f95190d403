import type { ExtractRule } from "../policy/policy.ts";
import { type BytePath, toBytes } from "./directory.ts";
import { ExtractGlob } from "./extract-glob.ts";
import { typeOf } from "./extract-type.ts";

/** A rule that says no number of its own has these. */
export const defaultExtractLimits: { readonly maxFiles: number; readonly maxBytes: number } = Object.freeze({
  maxFiles: 1000,
  maxBytes: 100 * 1024 * 1024,
});

/** How much may leave, and of what kind. */
export type ExtractLimits = Omit<ExtractRule, "glob">;

/** Which files are meant. */
export interface Selection {
  matches(path: BytePath): boolean;
  /** Whether anything below a folder can match. */
  reaches(folder: BytePath): boolean;
}

/** Files by their names: each path, and all that lies below it. */
export class NamedPaths implements Selection {
  /** True for those that were found. */
  readonly #found = new Map<BytePath, boolean>();

  /** @param paths relative to the workspace; the empty one is all of it */
  constructor(paths: readonly BytePath[]) {
    for (const path of paths) this.#found.set(path, false);
  }

  isNamed(path: BytePath): boolean {
    return this.#found.has(path);
  }

  matches(path: BytePath): boolean {
    let isMatch = false;
    for (const named of this.#found.keys()) {
      if (named !== "" && path !== named && !path.startsWith(`${named}/`)) continue;
      this.#found.set(named, true);
      isMatch = true;
    }
    return isMatch;
  }

  reaches(folder: BytePath): boolean {
    return [...this.#found.keys()].some(
      (named) => named === "" || named === folder || named.startsWith(`${folder}/`) || folder.startsWith(`${named}/`),
    );
  }

  get missing(): readonly BytePath[] {
    return [...this.#found].filter(([, isFound]) => !isFound).map(([path]) => path);
  }
}

class GlobSelection implements Selection {
  readonly #glob: ExtractGlob;

  constructor(glob: string) {
    this.#glob = new ExtractGlob(glob);
  }

  matches(path: BytePath): boolean {
    return this.#glob.matches(toBytes(path).toString());
  }

  reaches(folder: BytePath): boolean {
    let state = this.#glob.start();
    for (const name of toBytes(folder).toString().split("/")) state = this.#glob.step(state, name);
    return state.length > 0;
  }
}

/** A rule and what it has let out so far. */
export class CountedRule {
  readonly selection: Selection;
  readonly #limits: ExtractLimits;
  readonly #maxFiles: number;
  readonly #maxBytes: number;
  #files = 0;
  #bytes = 0;

  constructor(selection: Selection, limits: ExtractLimits) {
    this.selection = selection;
    this.#limits = limits;
    this.#maxFiles = limits.maxFiles ?? defaultExtractLimits.maxFiles;
    this.#maxBytes = limits.maxBytes ?? defaultExtractLimits.maxBytes;
  }

  static of({ glob, ...limits }: ExtractRule): CountedRule {
    return new CountedRule(new GlobSelection(glob), limits);
  }

  /** Why a file of this path may not leave by this rule, whatever its size; null where it may. */
  fault(path: BytePath): string | null {
    const { types, maxDepth } = this.#limits;
    if (types !== undefined && this.typeOf(path) === undefined) return `it is not of the types ${types.join(", ")}`;
    const depth = path.split("/").length - 1;
    if (maxDepth !== undefined && depth > maxDepth) return `it lies more than ${maxDepth} folders deep`;
    return null;
  }

  typeOf(path: BytePath): string | undefined {
    return this.#limits.types === undefined ? undefined : typeOf(path, this.#limits.types);
  }

  /** Below 0: no file more. */
  get bytesLeft(): number {
    return this.#files < this.#maxFiles ? this.#maxBytes - this.#bytes : -1;
  }

  get limit(): string {
    return this.#files >= this.#maxFiles ? `${this.#maxFiles} files` : `${this.#maxBytes} bytes`;
  }

  count(bytes: number): void {
    this.#files++;
    this.#bytes += bytes;
  }
}
