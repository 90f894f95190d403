import type { MapNode, Node } from "./document.ts";
import type { Place, Problems } from "./problem.ts";
import { quote } from "./problem.ts";
import { nearest, suggest } from "./spelling.ts";

/** What every reader may ask: whose words the file uses, and where to say what is wrong. */
export interface Context {
  readonly dialect: "holdfast" | "openshell";
  readonly problems: Problems;
}

/** A JSON Schema (draft 2020-12) of what a reader accepts, for editors. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * Reads one value of a policy. Reports what is wrong at the value's own place and returns undefined; it never throws,
 * so that a file's problems are found all at once.
 */
export interface Reader<T> {
  /** `what` names the value in messages: `network_policies.api.endpoints[0].port`. */
  read(node: Node, what: string, context: Context): T | undefined;
  readonly schema: JsonSchema;
}

/** The type that a reader gives. */
export type Read<R> = R extends Reader<infer T> ? T : never;

/** What a node is, in a message's words. */
function describe(node: Node): string {
  if (node.kind !== "scalar") return `a ${node.kind}`;
  if (node.value === null) return node.text === "" ? "nothing" : "null";
  if (typeof node.value === "string") return quote(node.value);
  return `the ${typeof node.value} ${node.text}`;
}

function isNothing(node: Node): boolean {
  return node.kind === "scalar" && node.value === null && node.text === "";
}

export const text: Reader<string> = {
  schema: { type: "string" },
  read(node, what, { problems }) {
    if (node.kind === "scalar" && typeof node.value === "string") return node.value;
    const hint = node.kind === "scalar" && node.value !== null ? `write "${node.text}" in quotes` : undefined;
    problems.error(node.at, `${what} must be a string, not ${describe(node)}`, hint);
    return undefined;
  },
};

export const flag: Reader<boolean> = {
  schema: { type: "boolean" },
  read(node, what, { problems }) {
    if (node.kind === "scalar" && typeof node.value === "boolean") return node.value;
    problems.error(node.at, `${what} must be true or false, not ${describe(node)}`);
    return undefined;
  },
};

/** A whole number from `least` to `most`. */
export function integer(least: number, most: number): Reader<number> {
  return {
    schema: { type: "integer", minimum: least, maximum: most },
    read(node, what, { problems }) {
      const whole = node.kind === "scalar" && typeof node.value === "number" && Number.isInteger(node.value);
      const written = whole && /^[-+]?(?:\d+|0x[\da-f]+|0o[0-7]+)$/i.test(node.text);
      if (written && typeof node.value === "number" && node.value >= least && node.value <= most) return node.value;
      const range = `a whole number from ${least} to ${most}`;
      problems.error(node.at, `${what} must be ${range}, not ${describe(node)}`);
      return undefined;
    },
  };
}

/** One of several words. `lax` names the dialect in which another word is a warning and counts as absent. */
export function word<const W extends string>(
  words: readonly W[],
  options: { caseless?: boolean; lax?: "openshell"; laxMeaning?: string; omitted?: boolean } = {},
): Reader<W> {
  const all = options.omitted && !words.some((each) => each === "") ? [...words, ""] : words;
  return {
    schema: options.caseless ? { anyOf: [{ enum: all }, { type: "string", pattern: anyCase(words) }] } : { enum: all },
    read(node, what, context) {
      const value = text.read(node, what, context);
      if (value === undefined || (value === "" && options.omitted)) return undefined;
      const sought = options.caseless ? value.toLowerCase() : value;
      const found = words.find((candidate) => candidate === sought);
      if (found !== undefined) return found;
      const near = nearest(value, words);
      const hint = near === undefined ? undefined : `did you mean "${near}"?`;
      if (options.lax !== undefined && options.lax === context.dialect) {
        context.problems.warning(
          node.at,
          `${what} is ${quote(value)}, which ${options.laxMeaning ?? "is ignored"}`,
          hint,
        );
      } else {
        context.problems.error(node.at, `${what} must be ${choice(words)}, not ${quote(value)}`, hint);
      }
      return undefined;
    },
  };
}

/** A pattern for words in any case; JSON Schema's patterns have no flags. */
function anyCase(words: readonly string[]): string {
  const letters = (each: string): string => each.replaceAll(/[a-z]/g, (letter) => `[${letter}${letter.toUpperCase()}]`);
  return `^(${words.map(letters).join("|")})$`;
}

function choice(all: readonly string[]): string {
  const words = all.filter((candidate) => candidate !== "");
  if (words.length === 1) return words[0] ?? "";
  return `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

/** Makes a reader of one type from a reader of another; `change` reports what it refuses. */
export function mapped<A, B>(
  reader: Reader<A>,
  change: (value: A, at: Place, what: string, context: Context) => B | undefined,
  schema: Reader<B>["schema"] = reader.schema,
): Reader<B> {
  return {
    schema,
    read(node, what, context) {
      const value = reader.read(node, what, context);
      return value === undefined ? undefined : change(value, node.at, what, context);
    },
  };
}

/** A value with the place that it came from. */
export interface Placed<T> {
  readonly value: T;
  readonly at: Place;
}

/** Keeps the place of what another reader gives. */
export function placed<T>(reader: Reader<T>): Reader<Placed<T>> {
  return {
    schema: reader.schema,
    read(node, what, context) {
      const value = reader.read(node, what, context);
      return value === undefined ? undefined : { value, at: node.at };
    },
  };
}

/** A list; elements that cannot be read are reported and left out. */
export function list<T>(element: Reader<T>, options: { most?: number } = {}): Reader<readonly T[]> {
  return {
    schema: { type: "array", items: element.schema },
    read(node, what, context) {
      if (isNothing(node) && context.dialect === "openshell") return [];
      if (node.kind !== "list") {
        context.problems.error(node.at, `${what} must be a list, not ${describe(node)}`, nothingHint(node, "[]"));
        return undefined;
      }
      if (options.most !== undefined && node.items.length > options.most) {
        context.problems.error(node.at, `${what} has ${node.items.length} elements; ${options.most} is the most`);
        return undefined;
      }
      const values = node.items.flatMap((item, index) => {
        const value = element.read(item, `${what}[${index}]`, context);
        return value === undefined ? [] : [value];
      });
      // Empty because nothing in it could be read is not what the writer would call empty.
      return values.length === 0 && node.items.length > 0 ? undefined : values;
    },
  };
}

/** A map whose keys are names of the writer's own. */
export function dictionary<T>(element: Reader<T>): Reader<ReadonlyMap<string, Placed<T>>> {
  return {
    schema: { type: "object", additionalProperties: element.schema },
    read(node, what, context) {
      if (isNothing(node) && context.dialect === "openshell") return new Map();
      if (node.kind !== "map") {
        context.problems.error(node.at, `${what} must be a map, not ${describe(node)}`, nothingHint(node, "{}"));
        return undefined;
      }
      const values = new Map<string, Placed<T>>();
      for (const entry of node.entries) {
        const value = element.read(entry.value, `${what}.${entry.key}`, context);
        if (value !== undefined) values.set(entry.key, { value, at: entry.at });
      }
      return values;
    },
  };
}

/** The values of a section that were there and could be read, with the places of their keys. */
export interface Section<F> {
  readonly at: Place;
  /** Whether nothing in it was refused: else it may not be what the writer meant. */
  readonly isWhole: boolean;
  readonly values: { readonly [K in keyof F]?: Read<F[K]> };
  /** Whether the key is written in the file, readable or not, or another was written that is near to it. */
  has(key: keyof F): boolean;
  /** Whether what the key stands for is already known to be wrong, so that nothing more is to be said about it. */
  isBroken(key: keyof F): boolean;
  /** The key's place, or the section's where the key is not written. */
  place(key: keyof F): Place;
  /** The place of the key's value, or the section's. */
  valuePlace(key: keyof F): Place;
}

export interface SectionOptions {
  readonly required?: readonly string[];
  /** A sentence of its own for an unknown key, instead of the nearest name. */
  unknown?(key: string, context: Context): { message: string; hint?: string } | undefined;
}

/** A map with known keys. Every other key is an error, with the nearest known name. */
export function section<F extends { readonly [K in keyof F]: Reader<unknown> }>(
  fields: F,
  options: SectionOptions = {},
): Reader<Section<F>> {
  const readers: Readonly<Record<string, Reader<unknown>>> = fields;
  const names = Object.keys(readers);
  const properties = Object.fromEntries(names.map((name) => [name, readers[name]?.schema]));
  const required = options.required ?? [];
  return {
    schema: { type: "object", properties, required, additionalProperties: false },
    read(node, what, context) {
      let map: MapNode;
      if (node.kind === "map") map = node;
      else if (isNothing(node) && context.dialect === "openshell") map = { kind: "map", at: node.at, entries: [] };
      else {
        const subject = what === "" ? "the policy" : what;
        context.problems.error(node.at, `${subject} must be a map, not ${describe(node)}`, nothingHint(node, "{}"));
        return undefined;
      }
      const prefix = what === "" ? "" : `${what}.`;
      const errorsBefore = context.problems.errorCount;
      const written = new Set(map.entries.map((entry) => entry.key));
      const values: Record<string, unknown> = {};
      const places = new Map<PropertyKey, Place>();
      const valuePlaces = new Map<PropertyKey, Place>();
      for (const entry of map.entries) {
        const field = Object.hasOwn(readers, entry.key) ? readers[entry.key] : undefined;
        if (field === undefined) {
          const own = options.unknown?.(entry.key, context);
          const message = own?.message ?? `unknown key ${quote(entry.key)}${what === "" ? "" : ` in ${what}`}`;
          context.problems.error(entry.at, message, own === undefined ? suggest(entry.key, names) : own.hint);
          // The key that was meant is not missing as well: that would be two errors for one.
          const meant = own === undefined ? nearest(entry.key, names) : undefined;
          if (meant !== undefined && !written.has(meant)) {
            places.set(meant, entry.at);
            valuePlaces.set(meant, entry.value.at);
          }
          continue;
        }
        places.set(entry.key, entry.at);
        valuePlaces.set(entry.key, entry.value.at);
        const value = field.read(entry.value, `${prefix}${entry.key}`, context);
        if (value !== undefined) values[entry.key] = value;
      }
      for (const name of required) {
        if (!places.has(name)) context.problems.error(map.at, `${prefix}${name} is missing`);
      }
      return {
        at: map.at,
        isWhole: context.problems.errorCount === errorsBefore,
        values: values as Section<F>["values"],
        has: (key) => places.has(key),
        isBroken: (key) => places.has(key) && !Object.hasOwn(values, key),
        place: (key) => places.get(key) ?? map.at,
        valuePlace: (key) => valuePlaces.get(key) ?? map.at,
      };
    },
  };
}

function nothingHint(node: Node, empty: string): string | undefined {
  return isNothing(node) ? `write ${empty} or remove the key` : undefined;
}
