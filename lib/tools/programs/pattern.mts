/**
 * Glob patterns: `*`, `?`, `[…]`, `{a,b}`, `{1..9}`, `@(…)` and its kin, and `**` as a whole component. Matching takes
 * time proportional to pattern times name, whatever the pattern: sets of positions, no backtracking.
 *
 * A backslash is a separator, not an escape, as in the official tool (Node's fs.glob).
 */

/** Some patterns name more than anyone wants: `{a,b}{a,b}{a,b}…`. */
const MAX_ALTERNATIVES = 1_000;
const MAX_PATTERN_LENGTH = 65_536;

export class BadPattern extends Error {}

export interface NameComponent {
  /** True when it is plain text, so that it can match one name only. */
  readonly isLiteral: boolean;
  matches(name: string): boolean;
}

/** One component of a pattern: any number of folders, or one name. */
export type Component = "**" | NameComponent;

/** The patterns that a pattern with braces stands for, each split into its components. @throws BadPattern */
export function parsePattern(pattern: string): Component[][] {
  if (pattern.length > MAX_PATTERN_LENGTH) throw new BadPattern("the pattern is too long");
  return [...new Set(expandBraces(pattern.replaceAll("\\", "/")))].flatMap((alternative) => {
    const parts = alternative.split("/").filter((part, index, all) => {
      // A last empty part stays: it asks for a folder, and no file is one.
      return part !== "." && (part !== "" || index === all.length - 1);
    });
    if (parts.includes("..")) throw new BadPattern('".." is not permitted in the pattern');
    return parts.length === 0 ? [] : [parts.map((part) => (part === "**" ? "**" : compileComponent(part)))];
  });
}

/* Braces */

function expandBraces(pattern: string): string[] {
  const brace = findBrace(pattern);
  if (brace === null) return [pattern];
  const { before, choices, after } = brace;
  const tails = expandBraces(after);
  const heads = choices.flatMap((choice) => expandBraces(choice));
  if (heads.length * tails.length > MAX_ALTERNATIVES) throw new BadPattern("the pattern has too many alternatives");
  return heads.flatMap((head) => tails.map((tail) => before + head + tail));
}

interface Brace {
  readonly before: string;
  readonly choices: readonly string[];
  readonly after: string;
}

/** The first pair of braces that offers a choice; `{}` and `{a}` are plain text. */
function findBrace(pattern: string): Brace | null {
  for (let open = pattern.indexOf("{"); open >= 0; open = pattern.indexOf("{", open + 1)) {
    const commas: number[] = [];
    let depth = 0;
    for (let at = open; at < pattern.length; at++) {
      const character = pattern[at];
      if (character === "{") depth++;
      else if (character === "," && depth === 1) commas.push(at);
      else if (character === "}" && --depth === 0) {
        const choices = choicesOf(
          pattern.slice(open + 1, at),
          commas.map((comma) => comma - open - 1),
        );
        if (choices !== null) return { before: pattern.slice(0, open), choices, after: pattern.slice(at + 1) };
        break;
      }
    }
  }
  return null;
}

function choicesOf(inside: string, commas: readonly number[]): readonly string[] | null {
  if (commas.length === 0) return rangeOf(inside);
  const ends = [...commas, inside.length];
  return ends.map((end, index) => inside.slice(index === 0 ? 0 : (ends[index - 1] ?? 0) + 1, end));
}

/** `1..9`, `01..10`, `1..9..2`, `a..e`. */
function rangeOf(inside: string): string[] | null {
  const match = /^(?:(-?\d{1,9})\.\.(-?\d{1,9})|([a-zA-Z])\.\.([a-zA-Z]))(?:\.\.(-?\d{1,9}))?$/.exec(inside);
  if (match === null) return null;
  const [, low, high, firstLetter, lastLetter, stepText] = match;
  const isLetters = firstLetter !== undefined && lastLetter !== undefined;
  const from = isLetters ? firstLetter.charCodeAt(0) : Number(low);
  const to = isLetters ? lastLetter.charCodeAt(0) : Number(high);
  const step = Math.max(1, Math.abs(Number(stepText ?? 1)));
  if (Math.abs(to - from) / step >= MAX_ALTERNATIVES) throw new BadPattern("the pattern has too many alternatives");
  const width = [low, high].some((text) => /^-?0\d/.test(text ?? ""))
    ? Math.max(low?.length ?? 0, high?.length ?? 0)
    : 0;
  const values: string[] = [];
  for (let value = from; from <= to ? value <= to : value >= to; value += from <= to ? step : -step) {
    const digits = String(Math.abs(value)).padStart(value < 0 ? width - 1 : width, "0");
    values.push(isLetters ? String.fromCharCode(value) : (value < 0 ? "-" : "") + digits);
  }
  return values;
}

/* One component */

type Token =
  | { readonly kind: "literal"; readonly character: string }
  | { readonly kind: "one"; readonly test: (character: string) => boolean }
  | { readonly kind: "star" }
  | { readonly kind: "group"; readonly operator: string; readonly choices: readonly Token[][] };

function compileComponent(part: string): NameComponent {
  const { tokens } = parseTokens(part, 0, false);
  const namesDot = startsWithDot(tokens);
  return {
    isLiteral: tokens.every(({ kind }) => kind === "literal"),
    matches: (name) => (namesDot || !name.startsWith(".")) && advance(tokens, name, new Set([0])).has(name.length),
  };
}

/** A leading dot of a name is only matched by a dot in the pattern, not by a wildcard. */
function startsWithDot(tokens: readonly Token[]): boolean {
  const first = tokens[0];
  if (first?.kind === "literal") return first.character === ".";
  return first?.kind === "group" && first.operator !== "!" && first.choices.some(startsWithDot);
}

/** Parses to the end of the text or, in a group, to its `|` or `)`; a group that is never closed is null. */
function parseTokens(text: string, start: number, isInGroup: boolean): { tokens: Token[]; end: number } {
  const tokens: Token[] = [];
  let at = start;
  while (at < text.length) {
    const character = text[at] ?? "";
    if (isInGroup && (character === "|" || character === ")")) break;
    const group = text[at + 1] === "(" && "?*+@!".includes(character) ? parseGroup(text, at) : null;
    const set = character === "[" ? parseSet(text, at) : null;
    if (group !== null) {
      tokens.push(group.token);
      at = group.end;
    } else if (set !== null) {
      tokens.push(set.token);
      at = set.end;
    } else {
      if (character === "*") tokens.push({ kind: "star" });
      else if (character === "?") tokens.push({ kind: "one", test: () => true });
      else tokens.push({ kind: "literal", character });
      at++;
    }
  }
  return { tokens, end: at };
}

function parseGroup(text: string, start: number): { token: Token; end: number } | null {
  const choices: Token[][] = [];
  let at = start + 2;
  for (;;) {
    const { tokens, end } = parseTokens(text, at, true);
    choices.push(tokens);
    if (end >= text.length) return null;
    at = end + 1;
    if (text[end] === ")") return { token: { kind: "group", operator: text[start] ?? "", choices }, end: at };
  }
}

const NAMED_SETS: Readonly<Record<string, RegExp>> = {
  alnum: /[\p{L}\p{Nl}\p{Nd}]/u,
  alpha: /[\p{L}\p{Nl}]/u,
  ascii: /[\0-\x7f]/,
  blank: /[\p{Zs}\t]/u,
  cntrl: /\p{Cc}/u,
  digit: /\p{Nd}/u,
  graph: /[^\p{Z}\p{C}]/u,
  lower: /\p{Ll}/u,
  print: /\P{C}/u,
  punct: /\p{P}/u,
  space: /[\p{Z}\t\r\n\v\f]/u,
  upper: /\p{Lu}/u,
  word: /[\p{L}\p{Nl}\p{Nd}\p{Pc}]/u,
  xdigit: /[A-Fa-f0-9]/,
};

/** `[abc]`, `[a-z]`, `[!a]`, `[^a]`, `[[:alpha:]]`; null when it is not closed. */
function parseSet(text: string, start: number): { token: Token; end: number } | null {
  const isNegated = text[start + 1] === "!" || text[start + 1] === "^";
  const first = start + (isNegated ? 2 : 1);
  const ranges: [string, string][] = [];
  const named: RegExp[] = [];
  let at = first;
  for (; at < text.length; at++) {
    const character = text[at] ?? "";
    if (character === "]" && at > first) break;
    const name = character === "[" ? /^\[:(\w+):\]/.exec(text.slice(at, at + 12))?.[1] : undefined;
    const set = name === undefined ? undefined : NAMED_SETS[name];
    if (name !== undefined && set !== undefined) {
      named.push(set);
      at += name.length + 3;
    } else if (text[at + 1] === "-" && at + 2 < text.length && text[at + 2] !== "]") {
      ranges.push([character, text[at + 2] ?? ""]);
      at += 2;
    } else {
      ranges.push([character, character]);
    }
  }
  if (at >= text.length) return null;
  const [only] = ranges;
  // A set of one character is that character, so that it can name a leading dot.
  if (!isNegated && named.length === 0 && ranges.length === 1 && only !== undefined && only[0] === only[1]) {
    return { token: { kind: "literal", character: only[0] }, end: at + 1 };
  }
  const has = (character: string): boolean =>
    ranges.some(([low, high]) => character >= low && character <= high) || named.some((set) => set.test(character));
  return { token: { kind: "one", test: (character) => has(character) !== isNegated }, end: at + 1 };
}

/* Matching */

/** The positions in the name that can be reached from some positions by the tokens. */
function advance(tokens: readonly Token[], name: string, from: ReadonlySet<number>): ReadonlySet<number> {
  let positions = from;
  for (const token of tokens) {
    if (positions.size === 0) return positions;
    positions = step(token, name, positions);
  }
  return positions;
}

function step(token: Token, name: string, from: ReadonlySet<number>): ReadonlySet<number> {
  if (token.kind === "star") return allFrom(Math.min(...from), name);
  if (token.kind === "group") return stepGroup(token.operator, token.choices, name, from);
  const reached = new Set<number>();
  for (const at of from) {
    const character = name[at];
    if (character === undefined) continue;
    if (token.kind === "literal" ? character === token.character : token.test(character)) reached.add(at + 1);
  }
  return reached;
}

function allFrom(first: number, name: string): ReadonlySet<number> {
  const reached = new Set<number>();
  for (let at = first; at <= name.length; at++) reached.add(at);
  return reached;
}

function stepGroup(
  operator: string,
  choices: readonly Token[][],
  name: string,
  from: ReadonlySet<number>,
): ReadonlySet<number> {
  const once = (positions: ReadonlySet<number>): ReadonlySet<number> =>
    new Set(choices.flatMap((choice) => [...advance(choice, name, positions)]));
  if (operator === "@") return once(from);
  if (operator === "?") return new Set([...from, ...once(from)]);
  if (operator === "!") return without(choices, name, from);
  const reached = new Set(once(from));
  for (let before = -1; before !== reached.size; ) {
    before = reached.size;
    for (const at of once(reached)) reached.add(at);
  }
  return operator === "*" ? new Set([...from, ...reached]) : reached;
}

/** Anything, from each position, but what a choice matches from there. */
function without(choices: readonly Token[][], name: string, from: ReadonlySet<number>): ReadonlySet<number> {
  const reached = new Set<number>();
  for (const at of from) {
    const matched = new Set(choices.flatMap((choice) => [...advance(choice, name, new Set([at]))]));
    for (const end of allFrom(at, name)) if (!matched.has(end)) reached.add(end);
  }
  return reached;
}
