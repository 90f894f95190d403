import { closeSync, lstatSync, type Stats } from "node:fs";
import type { SearchMessage } from "./messages.mts";
import { type Component, parsePattern } from "./pattern.mts";
import { at, entriesOf, isWithin, join, openFolder, type Place, resolve, toText } from "./places.mts";

const MAX_RESULTS = 200;
/** Entries that match the pattern, files or not. */
const MAX_MATCHES = 50_000;
/** Entries met at all: a bound for a pattern that matches little in a vast tree. */
const MAX_ENTRIES = 2_000_000;
const MAX_DEPTH = 256;
const NEVER_ENTERED: ReadonlySet<string> = new Set([".git", "node_modules"]);

export interface GlobSearch {
  readonly place: Place;
  /** The search root as it is to be printed, in bytes. */
  readonly shownPath: string;
  readonly pattern: string;
  /** When to stop, in milliseconds of `performance.now()`. */
  readonly deadline: number;
  readonly say: (message: SearchMessage) => void;
}

/** Says the newest regular files below a folder whose paths match a pattern. @throws BadPattern */
export function glob(search: GlobSearch): void {
  const walk = new GlobWalk(search);
  const states = new Set(
    parsePattern(search.pattern)
      .map(chain)
      .filter((state) => state !== null),
  );
  if (search.place.stats?.isDirectory()) walk.enter(at(search.place.parent, search.place.name), "", states, 0);
  for (const { path } of walk.newest()) search.say({ line: toText(path) });
  search.say({ end: walk.isOutOfTime ? "out-of-time" : "complete" });
}

/** What is still to be matched of one pattern. One object for each place in a pattern: sets of them have no doubles. */
interface State {
  readonly component: Component;
  /** A link that the component matches may be followed: its name is spelled out, and not looked for by a `**`. */
  readonly followsLinks: boolean;
  readonly next: State | null;
}

function chain(components: readonly Component[]): State | null {
  let next: State | null = null;
  for (const [index, component] of [...components.entries()].toReversed()) {
    // `**/**` says no more than `**`.
    if (component === "**" && next?.component === "**") continue;
    const followsLinks = component !== "**" && component.isLiteral && components[index - 1] !== "**";
    next = { component, followsLinks, next };
  }
  return next;
}

/** What a name comes to: whether a pattern ends with it, and what is left of the patterns inside it. */
interface Outcome {
  readonly isMatch: boolean;
  /** If it is a folder. */
  readonly inFolder: ReadonlySet<State>;
  /** If it is a link to a folder. */
  readonly inLink: ReadonlySet<State>;
}

function matchName(name: string, states: ReadonlySet<State>): Outcome {
  const inFolder = new Set<State>();
  const inLink = new Set<State>();
  let isMatch = false;
  for (const state of states) {
    const { component, followsLinks, next } = state;
    if (component === "**" ? name.startsWith(".") : !component.matches(name)) continue;
    isMatch ||= next === null;
    if (component === "**") {
      inFolder.add(state);
    } else if (next !== null) {
      inFolder.add(next);
      if (followsLinks) inLink.add(next);
    }
  }
  return { isMatch, inFolder, inLink };
}

/** `**` also stands for no folder at all. */
function withNoFolder(states: ReadonlySet<State>): ReadonlySet<State> {
  const all = new Set(states);
  // A set that grows while it is walked is walked to its new end.
  for (const { component, next } of all) if (component === "**" && next !== null) all.add(next);
  return all;
}

class GlobWalk {
  readonly #search: GlobSearch;
  #found: { readonly path: string; readonly mtimeMs: number }[] = [];
  #matches = 0;
  #entries = 0;
  isOutOfTime = false;

  constructor(search: GlobSearch) {
    this.#search = search;
  }

  newest(): readonly { readonly path: string }[] {
    this.#found.sort((a, b) => b.mtimeMs - a.mtimeMs || (a.path < b.path ? -1 : 1));
    this.#found = this.#found.slice(0, MAX_RESULTS);
    return this.#found;
  }

  /** @param below The folder's path below the search root, in bytes. */
  enter(path: Buffer, below: string, states: ReadonlySet<State>, depth: number): void {
    if (depth > MAX_DEPTH || this.#isOver()) return;
    let folder: number;
    try {
      folder = openFolder(path);
    } catch {
      return; // gone, a link by now, or not readable
    }
    try {
      const all = withNoFolder(states);
      for (const { name, kind } of entriesOf(folder)) {
        if (NEVER_ENTERED.has(name) && kind !== "file") continue;
        this.#entries++;
        if (this.#isOver()) return;
        const { isMatch, inFolder, inLink } = matchName(toText(name), all);
        if (isMatch) this.#matches++;
        const inside = below === "" ? name : join(below, name);
        if (kind === "file" && isMatch) this.#keep(folder, name, inside);
        else if (kind === "folder" && inFolder.size > 0) this.enter(at(folder, name), inside, inFolder, depth + 1);
        else if (kind === "link" && inLink.size > 0) this.#enterLink(inside, inLink, depth + 1);
      }
    } finally {
      closeSync(folder);
    }
  }

  #enterLink(below: string, states: ReadonlySet<State>, depth: number): void {
    const root = this.#search.place.path;
    let place: Place;
    try {
      place = resolve(join(root, below));
    } catch {
      return;
    }
    try {
      if (!isWithin(place.path, root) || !place.stats?.isDirectory()) return;
      this.enter(at(place.parent, place.name), below, states, depth);
    } finally {
      closeSync(place.parent);
    }
  }

  #keep(folder: number, name: string, below: string): void {
    let stats: Stats;
    try {
      stats = lstatSync(at(folder, name));
    } catch {
      return;
    }
    if (!stats.isFile()) return;
    this.#found.push({ path: join(this.#search.shownPath, below), mtimeMs: stats.mtimeMs });
    if (this.#found.length >= 20 * MAX_RESULTS) this.newest();
  }

  #isOver(): boolean {
    if (this.#entries % 64 === 0) this.isOutOfTime ||= performance.now() > this.#search.deadline;
    return this.isOutOfTime || this.#entries > MAX_ENTRIES || this.#matches >= MAX_MATCHES;
  }
}
