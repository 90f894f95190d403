import { HoldfastError } from "../errors.ts";

/**
 * Globs of extract rules, relative to the workspace: `*` and `?` within a name, `[a-z]` and `[!a]`, `{a,b}`, and `**` as
 * a whole component for any number of folders. A backslash takes the meaning of the next character away. `*` matches
 * names that begin with a dot as well.
 *
 * Matching walks down with the tree: `start`, then `step` for each component. It takes time proportional to pattern
 * times name whatever the names are, and an empty set of states says that nothing below can match.
 */

const mostAlternatives = 1_000;
const longestGlob = 4_096;

type Atom = { readonly kind: "star" } | { readonly kind: "one"; readonly matches: (character: string) => boolean };
type Component = "any folders" | readonly Atom[];

/** How far each alternative has come: alternative and component, as one number each. */
export type GlobState = readonly number[];

function badGlob(glob: string, why: string): HoldfastError {
  return new HoldfastError(`the extract pattern ${JSON.stringify(glob)} ${why}`, {
    code: "ERR_HOLDFAST_BAD_GLOB",
    step: "usage",
    hint: "Patterns know *, ?, [a-z], {a,b} and ** between slashes, relative to the workspace; a backslash escapes.",
  });
}

export class ExtractGlob {
  readonly #alternatives: readonly (readonly Component[])[];

  /** @throws HoldfastError ERR_HOLDFAST_BAD_GLOB */
  constructor(glob: string) {
    if (glob === "" || glob.length > longestGlob) throw badGlob(glob.slice(0, 80), "is empty or too long");
    if (glob.startsWith("/")) throw badGlob(glob, "is not relative");
    this.#alternatives = expandBraces(glob, glob).map((alternative) => compile(alternative, glob));
  }

  start(): GlobState {
    return this.#closure(this.#alternatives.map((_, alternative) => alternative * 65_536));
  }

  /** The state after one more component of a path. */
  step(state: GlobState, name: string): GlobState {
    const characters = [...name];
    const next: number[] = [];
    for (const place of state) {
      const component = this.#alternatives[place >>> 16]?.[place & 0xffff];
      if (component === undefined) continue;
      if (component === "any folders") next.push(place);
      else if (matches(component, characters)) next.push(place + 1);
    }
    return this.#closure(next);
  }

  /** Whether the components so far are a match. */
  isMatch(state: GlobState): boolean {
    return state.some((place) => (place & 0xffff) === this.#alternatives[place >>> 16]?.length);
  }

  /** Whether a whole path, as text, matches. */
  matches(path: string): boolean {
    let state = this.start();
    for (const name of path.split("/")) state = this.step(state, name);
    return this.isMatch(state);
  }

  /** `**` also stands for no folder at all. */
  #closure(places: readonly number[]): GlobState {
    const found = new Set(places);
    for (const place of found) {
      if (this.#alternatives[place >>> 16]?.[place & 0xffff] === "any folders") found.add(place + 1);
    }
    return [...found];
  }
}

function matches(atoms: readonly Atom[], name: readonly string[]): boolean {
  // One star is tried again at a time: the last one makes all before it moot.
  let atom = 0;
  let at = 0;
  let star = -1;
  let starAt = 0;
  while (at < name.length) {
    const current = atoms[atom];
    if (current?.kind === "star") {
      star = atom++;
      starAt = at;
    } else if (current?.matches(name[at] ?? "")) {
      atom++;
      at++;
    } else if (star >= 0) {
      atom = star + 1;
      at = ++starAt;
    } else {
      return false;
    }
  }
  while (atoms[atom]?.kind === "star") atom++;
  return atom === atoms.length;
}

function compile(alternative: string, glob: string): Component[] {
  const parts = splitComponents(alternative);
  if (parts.some((part) => part === "" || part === "." || part === "..")) {
    throw badGlob(glob, 'has an empty, "." or ".." component');
  }
  const components = parts.map((part): Component => (part === "**" ? "any folders" : compileName(part, glob)));
  // `a/**` is all below a, not a itself.
  if (components.at(-1) === "any folders") components.push([{ kind: "star" }]);
  return components;
}

/** A slash is a slash, escaped or not: no name holds one. */
function splitComponents(alternative: string): string[] {
  return alternative.replaceAll("\\/", "/").split("/");
}

function compileName(text: string, glob: string): Atom[] {
  const atoms: Atom[] = [];
  const characters = [...text];
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] ?? "";
    if (character === "*") {
      if (atoms.at(-1)?.kind !== "star") atoms.push({ kind: "star" });
    } else if (character === "?") {
      atoms.push({ kind: "one", matches: () => true });
    } else if (character === "[") {
      const set = readClass(characters, at, glob);
      atoms.push({ kind: "one", matches: set.matches });
      at = set.end;
    } else {
      const literal = character === "\\" ? (characters[++at] ?? "\\") : character;
      atoms.push({ kind: "one", matches: (other) => other === literal });
    }
  }
  return atoms;
}

function readClass(
  characters: readonly string[],
  open: number,
  glob: string,
): { matches: (character: string) => boolean; end: number } {
  const isNegated = characters[open + 1] === "!" || characters[open + 1] === "^";
  const ranges: [number, number][] = [];
  const first = open + (isNegated ? 2 : 1);
  const code = (index: number): number => characters[index]?.codePointAt(0) ?? 0;
  for (let at = first; at < characters.length; at++) {
    if (characters[at] === "]" && at > first) {
      const matches = (character: string): boolean => {
        const point = character.codePointAt(0) ?? 0;
        return ranges.some(([low, high]) => point >= low && point <= high) !== isNegated;
      };
      return { matches, end: at };
    }
    if (characters[at] === "\\") at++;
    const low = code(at);
    if (characters[at + 1] === "-" && at + 2 < characters.length && characters[at + 2] !== "]") {
      at += 2;
      ranges.push([low, code(at)]);
    } else {
      ranges.push([low, low]);
    }
  }
  throw badGlob(glob, "has a [ without its ]; write \\[ for the character");
}

function expandBraces(text: string, glob: string): string[] {
  const brace = findBrace(text, glob);
  if (brace === null) return [text];
  const tails = expandBraces(brace.after, glob);
  const heads = brace.choices.flatMap((choice) => expandBraces(choice, glob));
  if (heads.length * tails.length > mostAlternatives) throw badGlob(glob, "has too many alternatives");
  return heads.flatMap((head) => tails.map((tail) => brace.before + head + tail));
}

function findBrace(text: string, glob: string): { before: string; choices: string[]; after: string } | null {
  let depth = 0;
  let open = -1;
  const commas: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "\\") at++;
    else if (character === "{" && depth++ === 0) open = at;
    else if (character === "," && depth === 1) commas.push(at);
    else if (character === "}" && depth > 0 && --depth === 0) {
      if (commas.length === 0) throw badGlob(glob, "has braces without a choice; write \\{ for the character");
      const bounds = [open, ...commas, at];
      const choices = bounds.slice(1).map((bound, i) => text.slice((bounds[i] ?? 0) + 1, bound));
      return { before: text.slice(0, open), choices, after: text.slice(at + 1) };
    }
  }
  if (depth > 0) throw badGlob(glob, "has a { without its }; write \\{ for the character");
  return null;
}
