import { closeSync, readSync } from "node:fs";
import { Lines } from "./lines.mts";
import type { SearchMessage } from "./messages.mts";
import { at, entriesOf, join, openFile, openFolder, type Place, toText } from "./places.mts";

/** Characters of all results together, with a newline for each. */
const MAX_OUTPUT = 102_400;
const MAX_ENTRIES = 50_000;
const MAX_DEPTH = 40;
const BLOCK_BYTES = 65_536;
const LEFT_OUT: ReadonlySet<string> = new Set([".git", "node_modules"]);

export interface GrepSearch {
  readonly place: Place;
  /** The search root as it is to be printed, in bytes. */
  readonly shownPath: string;
  readonly pattern: string;
  readonly say: (message: SearchMessage) => void;
}

/** Thrown to end the search from within: all that may be said has been said. */
class OutputFull extends Error {}

/**
 * Says the lines of a file, or of all files below a folder, that a regular expression matches. There is no time limit
 * here: an expression that backtracks cannot look at the clock, so whoever started this process ends it.
 *
 * @throws SyntaxError for a pattern that is not a regular expression
 */
export function grep(search: GrepSearch): void {
  const run = new GrepRun(new RegExp(search.pattern), search.say);
  const { place, shownPath } = search;
  try {
    if (place.stats?.isFile()) run.searchFile(at(place.parent, place.name), shownPath);
    else if (place.stats?.isDirectory()) run.searchFolder(at(place.parent, place.name), shownPath, 0);
    search.say({ end: "complete" });
  } catch (error) {
    if (!(error instanceof OutputFull)) throw error;
    search.say({ end: "truncated" });
  }
}

class GrepRun {
  readonly #expression: RegExp;
  readonly #say: (message: SearchMessage) => void;
  readonly #block = Buffer.allocUnsafe(BLOCK_BYTES);
  #outputLeft = MAX_OUTPUT;
  #entriesLeft = MAX_ENTRIES;

  constructor(expression: RegExp, say: (message: SearchMessage) => void) {
    this.#expression = expression;
    this.#say = say;
  }

  searchFolder(path: Buffer, shownPath: string, depth: number): void {
    if (depth > MAX_DEPTH) return;
    let folder: number;
    try {
      folder = openFolder(path);
    } catch {
      return; // gone, a link by now, or not readable
    }
    try {
      const entries = entriesOf(folder).filter(({ name }) => !LEFT_OUT.has(name));
      entries.sort((a, b) => (a.name < b.name ? -1 : 1));
      for (const { name, kind } of entries) {
        if (this.#entriesLeft-- <= 0) return;
        if (kind === "folder") this.searchFolder(at(folder, name), join(shownPath, name), depth + 1);
        else if (kind === "file") this.searchFile(at(folder, name), join(shownPath, name));
      }
    } finally {
      closeSync(folder);
    }
  }

  searchFile(path: Buffer, shownPath: string): void {
    let file: number | null = null;
    try {
      file = openFile(path);
      if (file !== null) this.#searchText(file, toText(shownPath));
    } catch (error) {
      if (error instanceof OutputFull) throw error;
      // Not readable, or too much for the expression's stack: the rest of this file is left out.
    } finally {
      if (file !== null) closeSync(file);
    }
  }

  #searchText(file: number, shownPath: string): void {
    const lines = new Lines();
    for (;;) {
      const bytes = readSync(file, this.#block, 0, BLOCK_BYTES, null);
      for (const { number, text } of bytes === 0 ? lines.end() : lines.push(this.#block.subarray(0, bytes))) {
        if (this.#expression.test(text)) this.#report(`${shownPath}:${number}:${text}`);
      }
      if (bytes === 0 || lines.isBinary) return;
    }
  }

  #report(line: string): void {
    this.#outputLeft -= line.length + 1;
    if (this.#outputLeft < 0) throw new OutputFull();
    this.#say({ line });
  }
}
