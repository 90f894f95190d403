/**
 * OpenShell's globs, as its engine (globset with a literal separator) reads them (openshell.md 1.7): `*` and `?` stay
 * within a component, `**` is special only as a whole component, `[…]`, `{a,b}` and backslash as in a shell. Which
 * character separates components differs by field: `/` in paths, `.` in query values.
 */

/** Whether a whole text matches. */
export type Glob = (text: string) => boolean;

/** What stars stop at; a NUL, which no text has, stops none. */
export type Separator = "/" | "." | "\0";

/** A pattern that cannot be read matches nothing, as an evaluation error denies in OpenShell. */
const never: Glob = () => false;

type Token =
  | { readonly kind: "literal"; readonly text: string }
  | { readonly kind: "any" }
  | { readonly kind: "star" }
  /** `**` and a separator at the start. */
  | { readonly kind: "prefix" }
  /** A separator and `**` at the end. */
  | { readonly kind: "suffix" }
  /** `**` between two separators. */
  | { readonly kind: "middle" }
  | { readonly kind: "class"; readonly negated: boolean; readonly ranges: readonly (readonly [string, string])[] }
  | { readonly kind: "either"; readonly choices: readonly (readonly Token[])[] };

/** Reads a pattern once; matching takes time linear in the text, whatever the pattern. */
export function compileGlob(pattern: string, separator: Separator): Glob {
  const tokens = new Parser(pattern, separator).parse();
  if (tokens === undefined) return never;
  const [only] = tokens;
  if (tokens.length === 0) return (text) => text === "";
  if (tokens.length === 1 && only?.kind === "prefix") return () => true;
  if (tokens.length === 1 && only?.kind === "literal") return (text) => text === only.text;
  const [first, last] = tokens;
  if (tokens.length === 2 && first?.kind === "literal" && last?.kind === "suffix") {
    const start = `${first.text}${separator}`;
    return (text) => text.startsWith(start);
  }
  // One repetition cannot make a regular expression go back over its work more than once.
  if (repetitions(tokens, separator) <= 1) {
    const expression = new RegExp(`^${expressionOf(tokens, separator)}$`, "su");
    return (text) => expression.test(text);
  }
  return automaton(tokens, separator);
}

/** Those that a regular expression may try at more than one length: not a star up to the next separator, or to the end. */
function repetitions(tokens: readonly Token[], separator: string): number {
  let count = 0;
  for (const [i, token] of tokens.entries()) {
    if (token.kind === "either") count += Math.max(...token.choices.map((choice) => repetitions(choice, separator)));
    else if (token.kind === "star") count += stopsAtSeparator(tokens[i + 1], separator) ? 0 : 1;
    else if (token.kind !== "literal" && token.kind !== "any" && token.kind !== "class") count++;
  }
  return count;
}

function stopsAtSeparator(next: Token | undefined, separator: string): boolean {
  if (next?.kind === "literal") return next.text.startsWith(separator);
  return next?.kind === "suffix" || next?.kind === "middle";
}

class Parser {
  readonly #pattern: readonly string[];
  readonly #separator: string;
  #at = 0;

  constructor(pattern: string, separator: string) {
    this.#pattern = [...pattern];
    this.#separator = separator;
  }

  /** Undefined when the pattern is malformed. */
  parse(): Token[] | undefined {
    const tokens = this.#sequence(0);
    return this.#at < this.#pattern.length ? undefined : tokens;
  }

  /** Up to the end, or inside braces to `,` or `}`. */
  #sequence(depth: number): Token[] | undefined {
    const tokens: Token[] = [];
    for (;;) {
      const character = this.#pattern[this.#at];
      if (character === undefined) return depth === 0 ? tokens : undefined;
      if (depth > 0 && (character === "," || character === "}")) return tokens;
      // An unopened brace is an error of globset's too.
      if (character === "}") return undefined;
      this.#at++;
      const read = this.#token(character, tokens, depth);
      if (!read) return undefined;
    }
  }

  #token(character: string, tokens: Token[], depth: number): boolean {
    switch (character) {
      case "?":
        tokens.push({ kind: "any" });
        return true;
      case "*":
        this.#star(tokens, depth);
        return true;
      case "[":
        return this.#class(tokens);
      case "{":
        return this.#either(tokens, depth);
      case "\\": {
        const escaped = this.#pattern[this.#at++];
        if (escaped === undefined) return false;
        addLiteral(tokens, escaped);
        return true;
      }
      default:
        addLiteral(tokens, character);
        return true;
    }
  }

  #star(tokens: Token[], depth: number): void {
    const before = this.#pattern[this.#at - 2];
    if (this.#pattern[this.#at] !== "*") {
      tokens.push({ kind: "star" });
      return;
    }
    this.#at++;
    const after = this.#pattern[this.#at];
    const starts = tokens.length === 0 && depth === 0;
    const opens = starts || before === this.#separator || (depth > 0 && (before === "," || before === "{"));
    const closes = after === undefined || (depth > 0 && (after === "," || after === "}"));
    if (!opens || !(closes || after === this.#separator)) {
      tokens.push({ kind: "star" }, { kind: "star" });
      return;
    }
    if (!closes) this.#at++;
    if (starts) {
      tokens.push({ kind: "prefix" });
      return;
    }
    const last = tokens.at(-1);
    if (last?.kind === "prefix" || last?.kind === "suffix") return;
    // The separator before belongs to the wildcard.
    if (last?.kind === "literal") {
      tokens.pop();
      if (last.text.length > 1) tokens.push({ kind: "literal", text: last.text.slice(0, -1) });
    } else if (last !== undefined) tokens.pop();
    tokens.push({ kind: closes ? "suffix" : "middle" });
  }

  #class(tokens: Token[]): boolean {
    let negated = false;
    if (this.#pattern[this.#at] === "!" || this.#pattern[this.#at] === "^") {
      negated = true;
      this.#at++;
    }
    const ranges: [string, string][] = [];
    for (let first = true; ; first = false) {
      const character = this.#pattern[this.#at++];
      if (character === undefined) return false;
      if (character === "]" && !first) break;
      const isRange = this.#pattern[this.#at] === "-" && (this.#pattern[this.#at + 1] ?? "]") !== "]";
      if (!isRange) {
        ranges.push([character, character]);
        continue;
      }
      const end = this.#pattern[this.#at + 1] ?? "";
      if (character > end) return false;
      ranges.push([character, end]);
      this.#at += 2;
    }
    tokens.push({ kind: "class", negated, ranges });
    return true;
  }

  #either(tokens: Token[], depth: number): boolean {
    const choices: Token[][] = [];
    for (;;) {
      const choice = this.#sequence(depth + 1);
      if (choice === undefined) return false;
      choices.push(choice);
      const end = this.#pattern[this.#at++];
      if (end === "}") break;
    }
    tokens.push({ kind: "either", choices });
    return true;
  }
}

function addLiteral(tokens: Token[], text: string): void {
  const last = tokens.at(-1);
  if (last?.kind === "literal") tokens[tokens.length - 1] = { kind: "literal", text: last.text + text };
  else tokens.push({ kind: "literal", text });
}

function escaped(text: string): string {
  if (text === "\0") return "\\0";
  return text.replace(/[\\^$.*+?()[\]{}|/]/gu, "\\$&");
}

function escapedInClass(text: string): string {
  return text.replace(/[\\^[\]-]/gu, "\\$&");
}

function expressionOf(tokens: readonly Token[], separator: string): string {
  return tokens.map((token) => expressionOfOne(token, separator)).join("");
}

function expressionOfOne(token: Token, separator: string): string {
  const edge = escaped(separator);
  switch (token.kind) {
    case "literal":
      return escaped(token.text);
    case "any":
      return `[^${edge}]`;
    case "star":
      return `[^${edge}]*`;
    case "prefix":
      return `(?:${edge}?|.*${edge})`;
    case "suffix":
      return `${edge}.*`;
    case "middle":
      return `(?:${edge}|${edge}.*${edge})`;
    case "class": {
      const ranges = token.ranges.map(([from, to]) => `${escapedInClass(from)}-${escapedInClass(to)}`).join("");
      return `[${token.negated ? "^" : ""}${ranges}]`;
    }
    case "either":
      return `(?:${token.choices.map((choice) => expressionOf(choice, separator)).join("|")})`;
  }
}

/** A step of the automaton: a test on one character and where it leads, and where one gets without a character. */
interface State {
  readonly test?: (character: string) => boolean;
  next: number;
  readonly free: number[];
}

/** Thompson's construction: all alternatives are followed at once, so no text makes it slow. */
function automaton(tokens: readonly Token[], separator: string): Glob {
  const states: State[] = [];
  const add = (state: State): number => states.push(state) - 1;
  const consume = (test: (character: string) => boolean, next: number): number => add({ test, next, free: [] });
  const anything = (): boolean => true;
  const within = (character: string): boolean => character !== separator;
  const isEdge = (character: string): boolean => character === separator;
  /** `test` any number of times, then on. */
  const repeat = (test: (character: string) => boolean, next: number): number => {
    const loop = add({ next: -1, free: [next] });
    const step = consume(test, loop);
    states[loop]?.free.push(step);
    return loop;
  };
  const build = (list: readonly Token[], end: number): number => {
    let next = end;
    for (const token of list.toReversed()) {
      switch (token.kind) {
        case "literal":
          for (const character of [...token.text].toReversed()) next = consume((other) => other === character, next);
          break;
        case "any":
          next = consume(within, next);
          break;
        case "star":
          next = repeat(within, next);
          break;
        case "prefix":
          next = add({ next: -1, free: [next, repeat(anything, consume(isEdge, next))] });
          break;
        case "suffix":
          next = consume(isEdge, repeat(anything, next));
          break;
        case "middle":
          next = consume(isEdge, add({ next: -1, free: [next, repeat(anything, consume(isEdge, next))] }));
          break;
        case "class": {
          const { ranges, negated } = token;
          next = consume((other) => ranges.some(([from, to]) => from <= other && other <= to) !== negated, next);
          break;
        }
        case "either":
          next = add({ next: -1, free: token.choices.map((choice) => build(choice, next)) });
      }
    }
    return next;
  };
  const accept = add({ next: -1, free: [] });
  const start = build(tokens, accept);
  return (text) => {
    let current = new Set<number>();
    const enter = (set: Set<number>, state: number): void => {
      const pending = [state];
      for (let one = pending.pop(); one !== undefined; one = pending.pop()) {
        if (set.has(one)) continue;
        set.add(one);
        pending.push(...(states[one]?.free ?? []));
      }
    };
    enter(current, start);
    for (const character of text) {
      const following = new Set<number>();
      for (const one of current) {
        const state = states[one];
        if (state?.test?.(character) === true) enter(following, state.next);
      }
      if (following.size === 0) return false;
      current = following;
    }
    return current.has(accept);
  };
}

/** Of hosts. A leading `**` is one label or more, never none (openshell.md 1.7). */
export function hostGlob(pattern: string): Glob {
  if (!pattern.startsWith("**.")) return compileGlob(pattern, ".");
  const rest = compileGlob(pattern.slice(3), ".");
  return (host) => {
    for (let dot = host.indexOf(".", 1); dot > 0; dot = host.indexOf(".", dot + 1)) {
      if (rest(host.slice(dot + 1))) return true;
    }
    return false;
  };
}
