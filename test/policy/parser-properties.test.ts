import { readFileSync } from "node:fs";
import test from "ava";
import fc from "fast-check";
import { parse, stringify } from "yaml";
import { parsePolicy, policySchema } from "../../lib/policy/load.ts";
import { formatProblem } from "../../lib/policy/problem.ts";

/** The keys of a JSON Schema's maps that have known keys, each map as a list. */
function keyLists(schema: unknown): readonly (readonly string[])[] {
  if (typeof schema !== "object" || schema === null) return [];
  const inner = Object.values(schema).flatMap(keyLists);
  const properties = "properties" in schema ? schema.properties : undefined;
  return typeof properties === "object" && properties !== null ? [Object.keys(properties), ...inner] : inner;
}

type Path = readonly (string | number)[];

/** Where the known keys of a document are: its maps, without those whose keys are names of the writer's own. */
function keyPaths(value: unknown, path: Path, own: readonly string[]): readonly Path[] {
  if (typeof value !== "object" || value === null) return [];
  const named = own.includes(String(path.at(-1)));
  return Object.entries(value).flatMap(([key, inner]) => {
    const here = [...path, Array.isArray(value) ? Number(key) : key];
    return [...(Array.isArray(value) || named ? [] : [here]), ...keyPaths(inner, here, own)];
  });
}

function renamed(value: unknown, [head, ...rest]: Path, name: string): unknown {
  if (typeof value !== "object" || value === null || head === undefined) return value;
  if (Array.isArray(value)) return value.map((item, index) => (index === head ? renamed(item, rest, name) : item));
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      if (key !== head) return [key, inner];
      return rest.length === 0 ? [name, inner] : [key, renamed(inner, rest, name)];
    }),
  );
}

/** One slip of the finger in a key: a letter doubled, left out, swapped with its neighbour, or another. */
const slip = fc.record({
  kind: fc.constantFrom("double", "drop", "swap", "other"),
  at: fc.nat(),
  letter: fc.constantFrom(..."qxz"),
});

function mistyped(key: string, { kind, at, letter }: { kind: string; at: number; letter: string }): string {
  const index = at % key.length;
  const [before, here, after] = [key.slice(0, index), key[index] ?? "", key.slice(index + 1)];
  if (kind === "double") return `${before}${here}${here}${after}`;
  if (kind === "drop") return `${before}${after}`;
  if (kind === "swap") return `${before}${after.slice(0, 1)}${here}${after.slice(1)}`;
  return `${before}${letter}${after}`;
}

const ownNames = [
  "network_policies",
  "network_middlewares",
  "query",
  "graphql_persisted_queries",
  "set",
  "config",
  "params",
];

const documents: readonly (readonly [string, string])[] = [
  ["OpenShell's", readFileSync(new URL("files/load-protocols.yaml", import.meta.url), "utf8")],
  [
    "holdfast's",
    `holdfast: 1
version: 1
filesystem_policy: {include_workdir: true, read_only: [/usr], read_write: [/tmp]}
landlock: {compatibility: best_effort}
process: {run_as_user: sandbox, run_as_group: sandbox, mapped_files: any}
network_policies: {}
network_middlewares: {}
limits: {processes: 9, memory: 1G, cpu-time: 1s, wall-time: 1s, open-files: 9, file-size: 1K, tmp-size: 1K, output: 1K}
environment: {pass: [TERM], set: {A: b}}
protected_names: {add: [x], grant: [.vscode]}
requires: [seccomp]
workspace: {mode: overlay, access: read-write, mount_at: /w}
tools: [bash]
extract: [{glob: x, max_files: 1, max_bytes: 1K}]
`,
  ],
];

const known = keyLists(policySchema);

for (const [whose, text] of documents) {
  const value: unknown = parse(text);
  const paths = keyPaths(value, [], ownNames);
  test(`Any mistyped key of ${whose} dialect is refused, by one error that suggests the right name`, (t) => {
    t.true(parsePolicy(Buffer.from(text), "p").policy !== null);
    fc.assert(
      fc.property(fc.constantFrom(...paths), slip, (path, how) => {
        const key = String(path.at(-1));
        const wrong = mistyped(key, how);
        // What a slip turns into another key of the same map is not a misspelling.
        fc.pre(wrong !== "" && !known.some((names) => names.includes(key) && names.includes(wrong)));
        const { policy, problems } = parsePolicy(Buffer.from(stringify(renamed(value, path, wrong))), "p");
        const told = problems.filter(({ severity }) => severity === "error").map(formatProblem);
        if (policy !== null) throw new Error(`${wrong} for ${path.join(".")} was accepted`);
        // One error for one slip: the key that was meant is not missing as well.
        if (told.length !== 1 || !told[0]?.includes(`unknown key ${JSON.stringify(wrong)}`))
          throw new Error(`${wrong} for ${path.join(".")}: ${told.join("\n")}`);
        if (!told[0].includes(`(did you mean "${key}"?)`))
          throw new Error(`${wrong} for ${path.join(".")}: ${told[0]}`);
      }),
      { numRuns: 120 },
    );
  });
}

test("Parsing never throws, and a policy comes with no error, whatever the bytes", (t) => {
  const pieces = fc.constantFrom(
    "holdfast: 1\n",
    "version: 1\n",
    "limits",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "- ",
    "&a ",
    "*a",
    "\n",
    "  ",
    '"',
    "'",
    "!!",
    "|\n",
    "#",
    "\u0000",
    "\ufeff",
    "__proto__",
  );
  const mixed = fc
    .array(fc.oneof(pieces, fc.string({ unit: "binary" })), { maxLength: 40 })
    .map((parts) => Buffer.from(parts.join("")));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), mixed), (content) => {
      const { policy, problems } = parsePolicy(content, "p");
      const failed = problems.some((problem) => problem.severity === "error");
      const placed = problems.every(
        (problem) => problem.line >= 1 && problem.column >= 1 && !/\p{Cc}/u.test(problem.message),
      );
      return failed === (policy === null) && placed;
    }),
    { numRuns: 600 },
  );
  t.pass();
});

test("Any value at all in the place of another is refused or read, and never thrown over", (t) => {
  const [, text] = documents[1] ?? ["", ""];
  const value: unknown = parse(text);
  const paths = keyPaths(value, [], []);
  fc.assert(
    fc.property(fc.constantFrom(...paths), fc.jsonValue(), ([...path], other) => {
      const replaced = replace(value, path, other);
      const { policy, problems } = parsePolicy(Buffer.from(stringify(replaced)), "p");
      return (policy === null) === problems.some((problem) => problem.severity === "error");
    }),
    { numRuns: 200 },
  );
  t.pass();
});

function replace(value: unknown, [head, ...rest]: Path, other: unknown): unknown {
  if (head === undefined) return other;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item, index) => (index === head ? replace(item, rest, other) : item));
  return { ...value, [head]: replace((value as Record<string, unknown>)[head], rest, other) };
}
