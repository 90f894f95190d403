/** What is wrong with a value by a JSON Schema, of which it knows the words that `policy.schema.json` uses. */
export function schemaFaults(schema: unknown, value: unknown, at = "$"): readonly string[] {
  const rules = schema as Readonly<Record<string, unknown>>;
  return Object.entries(rules).flatMap(([word, rule]) => {
    const check = words[word];
    if (check === undefined) throw new Error(`a word that this reading does not know: ${word}`);
    return check(rule, value, at, rules);
  });
}

type Check = (rule: unknown, value: unknown, at: string, rules: Readonly<Record<string, unknown>>) => readonly string[];

const isMap = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const fault = (isFine: boolean, at: string, what: string): readonly string[] => (isFine ? [] : [`${at}: ${what}`]);
const nothing: Check = () => [];

const types: Readonly<Record<string, (value: unknown) => boolean>> = {
  object: isMap,
  array: Array.isArray,
  string: (value) => typeof value === "string",
  boolean: (value) => typeof value === "boolean",
  integer: Number.isInteger,
};

const words: Readonly<Record<string, Check>> = {
  $schema: nothing,
  title: nothing,
  description: nothing,
  const: (rule, value, at) => fault(value === rule, at, `is not ${JSON.stringify(rule)}`),
  enum: (rule, value, at) => fault((rule as unknown[]).includes(value), at, "is none of the words"),
  type: (rule, value, at) =>
    fault(
      [rule].flat().some((name) => types[String(name)]?.(value)),
      at,
      `is no ${String(rule)}`,
    ),
  pattern: (rule, value, at) =>
    fault(typeof value !== "string" || new RegExp(String(rule), "u").test(value), at, `does not match ${String(rule)}`),
  minLength: (rule, value, at) => fault(typeof value !== "string" || value.length >= Number(rule), at, "is too short"),
  minimum: (rule, value, at) => fault(typeof value !== "number" || value >= Number(rule), at, "is too small"),
  maximum: (rule, value, at) => fault(typeof value !== "number" || value <= Number(rule), at, "is too large"),
  anyOf: (rule, value, at) =>
    fault(
      (rule as unknown[]).some((each) => schemaFaults(each, value, at).length === 0),
      at,
      "is none of what it may be",
    ),
  items: (rule, value, at) =>
    Array.isArray(value) ? value.flatMap((item, index) => schemaFaults(rule, item, `${at}[${index}]`)) : [],
  required: (rule, value, at) =>
    isMap(value) ? (rule as string[]).flatMap((key) => fault(Object.hasOwn(value, key), at, `has no ${key}`)) : [],
  properties: (rule, value, at) =>
    isMap(value)
      ? Object.entries(rule as Record<string, unknown>).flatMap(([key, inner]) =>
          Object.hasOwn(value, key) ? schemaFaults(inner, value[key], `${at}.${key}`) : [],
        )
      : [],
  additionalProperties: (rule, value, at, rules) => {
    if (!isMap(value)) return [];
    const known = Object.keys((rules["properties"] ?? {}) as object);
    return Object.keys(value)
      .filter((key) => !known.includes(key))
      .flatMap((key) =>
        rule === false ? [`${at}: unknown key ${key}`] : schemaFaults(rule, value[key], `${at}.${key}`),
      );
  },
};
