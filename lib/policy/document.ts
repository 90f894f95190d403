import { isUtf8 } from "node:buffer";
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type ParsedNode,
  parseDocument,
  stringify,
  visit,
} from "yaml";
import type { Place, Problems } from "./problem.ts";
import { quote } from "./problem.ts";

/** The largest policy file, in bytes. */
export const largestPolicy: number = 1024 * 1024;

/** Nodes that a file may come to with all its aliases written out, so that a few lines cannot become gigabytes. */
const mostNodes = 100_000;

/** Levels of maps and lists inside each other; a policy needs nine. */
const deepest = 32;
const tooDeep = `more than ${deepest} levels of maps and lists inside each other`;

/** A YAML value with its place: all that the readers see, so that none of them knows the YAML library. */
export type Node = ScalarNode | ListNode | MapNode;

export interface ScalarNode {
  readonly kind: "scalar";
  readonly at: Place;
  readonly value: string | number | boolean | null;
  /** As written, without quotes; empty for a key with nothing behind it. */
  readonly text: string;
}

export interface ListNode {
  readonly kind: "list";
  readonly at: Place;
  readonly items: readonly Node[];
}

export interface MapNode {
  readonly kind: "map";
  readonly at: Place;
  readonly entries: readonly MapEntry[];
}

export interface MapEntry {
  readonly key: string;
  /** Of the key. */
  readonly at: Place;
  readonly value: Node;
}

/**
 * Reads a YAML 1.2 document (core schema) of at most 1 MiB of UTF-8, a byte order mark tolerated. Keys must be strings
 * and unique, aliases are resolved up to a bound, tags and several documents are refused. Pure.
 *
 * @returns the root, or undefined after reporting why there is none
 */
export function readDocument(bytes: Uint8Array, problems: Problems): Node | undefined {
  const text = readText(bytes, problems);
  if (text === undefined) return undefined;
  const counter = new LineCounter();
  // Uniqueness is checked below: the library's own check is quadratic in the number of keys.
  const document = parseDocument(text, {
    lineCounter: counter,
    version: "1.2",
    schema: "core",
    merge: false,
    uniqueKeys: false,
    prettyErrors: false,
  });
  if (document.errors.length > 0 || document.warnings.length > 0) {
    reportFaults(document, counter, problems);
    return undefined;
  }
  if (document.contents === null) {
    problems.error({ line: 1, column: 1 }, "the policy is empty", 'the shortest policy is "holdfast: 1"');
    return undefined;
  }
  return new Converter(counter, problems).convertRoot(document.contents);
}

function reportFaults(document: Document, counter: LineCounter, problems: Problems): void {
  const faults = [...document.errors, ...document.warnings].toSorted((a, b) => a.pos[0] - b.pos[0]);
  const deep = faults.find((fault) => fault.code === "RESOURCE_EXHAUSTION");
  // One wrong character makes the parser complain of all that follows: only its first complaint is about the file.
  const fault = deep ?? faults[0];
  if (fault === undefined) return;
  const quoted = fault.code === "MISSING_CHAR" ? unclosedQuote(document, fault.pos[0]) : undefined;
  const at = place(counter, quoted ?? fault.pos[0]);
  if (quoted !== undefined) problems.error(at, "not valid YAML: the quote that begins here is not closed");
  else if (fault === deep) problems.error(at, tooDeep);
  else if (fault.code === "MULTIPLE_DOCS") problems.error(at, "a policy is one document, and another begins here");
  else problems.error(at, `not valid YAML: ${lowerFirst(fault.message)}`);
}

/** Where the quoted text begins whose end the parser missed at an offset: there the writer looks, not at the file's end. */
function unclosedQuote(document: Document, offset: number): number | undefined {
  let start: number | undefined;
  visit(document, {
    Scalar(_key, node) {
      const isQuoted = node.type === "QUOTE_DOUBLE" || node.type === "QUOTE_SINGLE";
      if (isQuoted && node.range && node.range[0] < offset && offset <= node.range[2]) start = node.range[0];
    },
  });
  return start;
}

function readText(bytes: Uint8Array, problems: Problems): string | undefined {
  if (bytes.length > largestPolicy) {
    problems.error({ line: 1, column: 1 }, `the policy is larger than ${largestPolicy} bytes (1 MiB)`);
    return undefined;
  }
  if (!isUtf8(bytes)) {
    const sound = soundPrefix(bytes);
    const before = new TextDecoder().decode(bytes.subarray(0, sound));
    const lines = before.split("\n");
    const byte = (bytes[sound] ?? 0).toString(16).padStart(2, "0");
    problems.error(
      { line: lines.length, column: [...(lines.at(-1) ?? "")].length + 1 },
      `the policy is not UTF-8: byte 0x${byte} at offset ${sound}`,
    );
    return undefined;
  }
  // The decoder drops a byte order mark.
  const text = new TextDecoder().decode(bytes);
  const control = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.exec(text);
  if (control !== null) {
    const lines = text.slice(0, control.index).split("\n");
    const code = control[0].charCodeAt(0).toString(16).padStart(2, "0");
    problems.error(
      { line: lines.length, column: (lines.at(-1) ?? "").length + 1 },
      `the policy holds a control character (0x${code})`,
    );
    return undefined;
  }
  return text;
}

/** The number of bytes before the first that is not part of valid UTF-8. */
function soundPrefix(bytes: Uint8Array): number {
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (startsSound(bytes.subarray(0, middle))) low = middle;
    else high = middle - 1;
  }
  // An unfinished character at the very end decodes as a stream; its first byte is the fault.
  while (low > 0 && !isUtf8(bytes.subarray(0, low))) low -= 1;
  return low;
}

function startsSound(prefix: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(prefix, { stream: true });
    return true;
  } catch {
    return false;
  }
}

function place(counter: LineCounter, offset: number): Place {
  const { line, col } = counter.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

function lowerFirst(message: string): string {
  const line = message.split("\n")[0] ?? message;
  return line.charAt(0).toLowerCase() + line.slice(1);
}

/** Why the conversion stopped; reported once, at its place. */
class Stop extends Error {}

class Converter {
  readonly #counter: LineCounter;
  readonly #problems: Problems;
  readonly #open = new Set<ParsedNode>();
  /**
   * What each anchor stands for so far. Kept here because the library looks through the whole document for every alias,
   * which is quadratic.
   */
  readonly #anchors = new Map<string, ParsedNode>();
  #expanding = 0;
  #nodes = 0;

  constructor(counter: LineCounter, problems: Problems) {
    this.#counter = counter;
    this.#problems = problems;
  }

  convertRoot(root: ParsedNode): Node | undefined {
    try {
      return this.#convert(root, 0);
    } catch (error) {
      if (error instanceof Stop) return undefined;
      throw error;
    }
  }

  #convert(node: ParsedNode | null, depth: number, fallback?: Place): Node {
    if (node === null) return { kind: "scalar", at: fallback ?? { line: 1, column: 1 }, value: null, text: "" };
    const at = place(this.#counter, node.range[0]);
    this.#nodes += 1;
    if (this.#nodes > mostNodes) this.#stop(at, `the policy comes to more than ${mostNodes} values with its aliases`);
    if (depth > deepest) this.#stop(at, tooDeep);
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source);
      if (target === undefined) return this.#stop(at, `the alias *${node.source} has no anchor before it`);
      if (this.#open.has(target)) this.#stop(at, `the alias *${node.source} contains itself`);
      this.#expanding += 1;
      const expanded = this.#convert(target, depth + 1);
      this.#expanding -= 1;
      return expanded;
    }
    if (node.tag !== undefined) {
      const tag = node.tag.replace("tag:yaml.org,2002:", "!!");
      this.#problems.error(at, `a policy has no tags: ${tag}`, "leave it out");
    }
    if (node.anchor !== undefined && this.#expanding === 0) this.#anchors.set(node.anchor, node);
    if (isScalar(node)) return this.#convertScalar(node.value, node.source, at);
    this.#open.add(node);
    const converted = isSeq(node)
      ? { kind: "list" as const, at, items: node.items.map((item) => this.#convert(item, depth + 1, at)) }
      : this.#convertMap(node, depth, at);
    this.#open.delete(node);
    return converted;
  }

  #convertScalar(value: unknown, source: string, at: Place): ScalarNode {
    const known = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
    return { kind: "scalar", at, value: known ? value : null, text: source };
  }

  #convertMap(node: ParsedNode, depth: number, at: Place): MapNode {
    const entries: MapEntry[] = [];
    const seen = new Map<string, Place>();
    if (!isMap<ParsedNode, ParsedNode | null>(node)) this.#stop(at, "expected a map, a list or a value");
    for (const pair of (node as { items: { key: ParsedNode; value: ParsedNode | null }[] }).items) {
      const key = this.#convert(pair.key, depth + 1, at);
      if (key.kind !== "scalar" || typeof key.value !== "string") {
        this.#problems.error(key.at, "a key must be a string", "put it in quotes");
        continue;
      }
      const first = seen.get(key.value);
      if (first !== undefined) {
        this.#problems.error(key.at, `the key ${quote(key.value)} is there twice`, `first on line ${first.line}`);
        continue;
      }
      seen.set(key.value, key.at);
      entries.push({ key: key.value, at: key.at, value: this.#convert(pair.value, depth + 1, key.at) });
    }
    return { kind: "map", at, entries };
  }

  #stop(at: Place, message: string): never {
    this.#problems.error(at, message);
    throw new Stop(message);
  }
}

/** A value as YAML. */
export function writeDocument(value: object): string {
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
}
