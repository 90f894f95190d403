import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import { quote } from "./problem.ts";

/** RFC 1035 section 2.3.4. */
const longestHost = 253;

/** Why OpenShell refuses a host, or undefined when it does not (openshell.md 1.7). */
export function hostFault(host: string): string | undefined {
  if (host.length > longestHost) return `a host has at most ${longestHost} characters`;
  if (!host.includes("*")) return undefined;
  if (host === "*" || host === "**") return `${quote(host)} would match every host`;
  const labels = host.split(".");
  const first = labels[0] ?? "";
  const last = labels.at(-1) ?? "";
  if (first.includes("**") && first !== "**") return `"**" must be the whole first label: ${quote(host)}`;
  for (const label of labels.slice(1)) {
    if (label.includes("**")) return `"**" must be the whole first label: ${quote(host)}`;
    if (label.includes("*") && label !== "*") {
      return `"*" must be a whole label where it is not in the first: ${quote(host)}`;
    }
  }
  if (labels.length <= 2 || last.includes("*")) return `${quote(host)} would match a whole top-level domain`;
  return undefined;
}

/** Why a host that loads can never be reached, or undefined. */
export function hostDoubt(host: string): string | undefined {
  if (host.includes("://")) return "is a URL: a host is a name alone, and this one matches nothing";
  if (isIP(host) !== 0) return undefined;
  if (/[^\0-\x7f]/.test(host)) {
    const ascii = domainToASCII(host);
    return `is asked for in ASCII${ascii === "" ? "" : ` (${ascii})`}: so written it matches nothing`;
  }
  if (/[^a-z0-9_.*-]|\.\.|^\./i.test(host)) return "is not a host's name and matches nothing";
  if (/(?:^|\.)(?:0x[\da-f]*|\d+)$/i.test(host)) return "is another spelling of an address and leads nowhere";
  if (host.endsWith(".")) return "ends in a dot and matches nothing";
  return undefined;
}

/**
 * Why a path that loads matches no request, or undefined: requests' paths are compared in one form (openshell.md 1.11). What
 * brackets, braces and backslashes make of a pattern is not looked into.
 */
export function pathDoubt(pattern: string, keepsSlash: boolean): string | undefined {
  if (pattern === "" || pattern === "**" || /[[\]{}\\]/.test(pattern)) return undefined;
  if (!/^(?:\/|\*+\/)/.test(pattern)) return "matches nothing: a path begins with a slash";
  if (pattern.includes("//")) return "matches nothing: slashes are joined before a path is compared";
  if (/\/\.\.?(?:\/|$)/.test(pattern)) return "matches nothing: dots are resolved before a path is compared";
  if (pattern.includes(";")) return 'matches nothing: what follows a ";" is cut before a path is compared';
  if (/\?[\w.-]+=/.test(pattern))
    return 'holds no query: "?" stands for one character of a path, and `query` is for the rest';
  const [odd] = /[^!-~]|["#<>^`|]/u.exec(pattern) ?? [];
  if (odd !== undefined) return `matches nothing: ${quote(odd)} is compared as ${percentEncoded(odd)}`;
  for (const [encoded, digits = ""] of pattern.matchAll(/%([0-9A-Za-z]{2})/g)) {
    const octet = /^[0-9A-Fa-f]{2}$/.test(digits) ? Number.parseInt(digits, 16) : 0;
    const character = String.fromCharCode(octet);
    if (octet <= 0x1f || octet === 0x7f || character === "\\") return `matches nothing: no path holds ${encoded}`;
    if (character === "/" && !keepsSlash) return `matches nothing: ${encoded} is refused without allow_encoded_slash`;
    if (/[A-Za-z0-9._~-]/.test(character)) return `matches nothing: ${encoded} is compared as ${character}`;
    if (encoded !== encoded.toUpperCase()) return `matches nothing: ${encoded} is compared as ${encoded.toUpperCase()}`;
  }
  return undefined;
}

function percentEncoded(text: string): string {
  return [...Buffer.from(text)].map((octet) => `%${octet.toString(16).toUpperCase().padStart(2, "0")}`).join("");
}

/** Whether a host is an address, or a name of plain labels (RFC 1123 section 2.1, and underscores): no pattern, no oddity. */
export function isPlainHost(host: string): boolean {
  if (isIP(host) !== 0) return !host.includes("%");
  const label = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
  return (
    host.length <= longestHost && new RegExp(`^${label}(?:\\.${label})*$`).test(host) && hostDoubt(host) === undefined
  );
}

/** Why a middleware's host pattern is refused, or undefined (openshell.md 1.15). */
export function selectorFault(pattern: string): string | undefined {
  if (pattern === "") return "is empty";
  if (/\s/.test(pattern)) return `holds white space: ${quote(pattern)}`;
  if (/[{}]/.test(pattern)) return `holds a brace: ${quote(pattern)}`;
  return undefined;
}

/** A piece of a glob: one character, or a star. */
type Token = { readonly literal: string } | { readonly star: "one" | "all" } | CharacterClass;

interface CharacterClass {
  readonly ranges: readonly (readonly [number, number])[];
  readonly negated: boolean;
}

/** `*` stays within a label, `**` does not; every other character is itself. */
function hostTokens(pattern: string): readonly Token[] {
  return [...pattern.toLowerCase().matchAll(/\*+|[^*]/gu)].map(([piece]) =>
    piece.startsWith("*") ? { star: piece.length > 1 ? "all" : "one" } : { literal: piece },
  );
}

/**
 * The glob that chooses an endpoint by path: `*` and `**` both cross `/`, `?` and `[…]` stand for one character
 * (openshell.md 1.7). Undefined when the pattern is malformed.
 */
function pathTokens(pattern: string): readonly Token[] | undefined {
  const tokens: Token[] = [];
  let index = 0;
  while (index < pattern.length) {
    const rest = pattern.slice(index);
    const stars = /^\*+/.exec(rest)?.[0].length ?? 0;
    const bracket = /^\[(!?)([^\]]+)\]/su.exec(rest);
    if (stars > 2 || (rest.startsWith("[") && bracket === null)) return undefined;
    if (stars > 0) {
      tokens.push({ star: "all" });
      index += stars;
      // "**/" also stands for nothing at all.
      if (stars === 2 && pattern[index] === "/") index += 1;
    } else if (bracket !== null) {
      tokens.push({ ranges: ranges(bracket[2] ?? ""), negated: bracket[1] === "!" });
      index += bracket[0].length;
    } else {
      const character = String.fromCodePoint(pattern.codePointAt(index) ?? 0);
      tokens.push(character === "?" ? { ranges: [], negated: true } : { literal: character });
      index += character.length;
    }
  }
  return tokens;
}

function ranges(characters: string): readonly (readonly [number, number])[] {
  const codes = [...characters].map((character) => character.codePointAt(0) ?? 0);
  const found: [number, number][] = [];
  for (let index = 0; index < codes.length; index += 1) {
    const from = codes[index] ?? 0;
    const isRange = codes[index + 1] === 0x2d && codes[index + 2] !== undefined;
    found.push([from, isRange ? (codes[index + 2] ?? 0) : from]);
    if (isRange) index += 2;
  }
  return found;
}

/** Steps that comparing patterns may still take; past them two patterns count as overlapping, which is the safe side. */
export interface Budget {
  steps: number;
  /** Hosts are compared each with each: none is taken apart twice. */
  readonly hosts: Map<string, readonly Token[]>;
}

/** Enough for every policy that people write, and about a second of work. */
export function comparisonBudget(): Budget {
  return { steps: 1_000_000, hosts: new Map() };
}

/** Whether some host matches both patterns; an empty pattern matches every host. */
export function hostsOverlap(left: string, right: string, budget: Budget): boolean {
  if (left === "" || right === "" || budget.steps <= 0) return true;
  if (!left.includes("*") && !right.includes("*")) return left.toLowerCase() === right.toLowerCase();
  return tokensOverlap(knownTokens(left, budget), knownTokens(right, budget), ".", budget);
}

function knownTokens(host: string, { hosts }: Budget): readonly Token[] {
  const tokens = hosts.get(host) ?? hostTokens(host);
  hosts.set(host, tokens);
  return tokens;
}

/** Whether some request path falls under both endpoints' `path`. */
export function pathsOverlap(left: string, right: string, budget: Budget): boolean {
  const all = ["", "**", "/**"];
  if (all.includes(left) || all.includes(right) || budget.steps <= 0) return true;
  const leftTokens = pathTokens(left);
  const rightTokens = pathTokens(right);
  // A malformed pattern could match anything, for all that is known here.
  if (leftTokens === undefined || rightTokens === undefined) return true;
  return tokensOverlap(leftTokens, rightTokens, "/", budget);
}

/** How exactly a path is named: of two endpoints the more specific one is chosen (openshell.md 1.7). */
export function pathSpecificity(path: string): number {
  return [...path].filter((character) => character !== "*").length;
}

/** Walks both patterns at once; the states are pairs of positions, so the work is bounded by their product and the budget. */
function tokensOverlap(left: readonly Token[], right: readonly Token[], delimiter: string, budget: Budget): boolean {
  const pending: [number, number][] = [[0, 0]];
  const seen = new Set<number>();
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [row, column] = next;
    const state = row * (right.length + 1) + column;
    if (seen.has(state)) continue;
    seen.add(state);
    budget.steps -= 1;
    if (budget.steps <= 0) return true;
    if (row === left.length && column === right.length) return true;
    const a = left[row];
    const b = right[column];
    if (a !== undefined && "star" in a) pending.push([row + 1, column]);
    if (b !== undefined && "star" in b) pending.push([row, column + 1]);
    if (a === undefined || b === undefined || !shareCharacter(a, b, delimiter)) continue;
    pending.push(["star" in a ? row : row + 1, "star" in b ? column : column + 1]);
  }
  return false;
}

function shareCharacter(a: Token, b: Token, delimiter: string): boolean {
  if ("literal" in a) return matchesToken(b, a.literal, delimiter);
  if ("literal" in b) return matchesToken(a, b.literal, delimiter);
  // Two sets: they meet at the edge of a range, beside one, or at a letter that neither leaves out.
  return candidates(a, b).some((code) => {
    const character = String.fromCodePoint(code);
    return matchesToken(a, character, delimiter) && matchesToken(b, character, delimiter);
  });
}

function candidates(...tokens: readonly Token[]): readonly number[] {
  const codes = new Set<number>([0x61]);
  for (const token of tokens) {
    if (!("ranges" in token)) continue;
    for (const [from, to] of token.ranges) for (const code of [from, to, from - 1, to + 1]) codes.add(code);
  }
  return [...codes].filter((code) => code >= 0 && code <= 0x10ffff);
}

function matchesToken(token: Token, character: string, delimiter: string): boolean {
  if ("literal" in token) return token.literal === character;
  if ("star" in token) return token.star === "all" || character !== delimiter;
  const code = character.codePointAt(0) ?? 0;
  return token.ranges.some(([from, to]) => from <= code && code <= to) !== token.negated;
}
