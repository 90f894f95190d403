import { defaultLimits, defaultPass, toolNames } from "./default-policy.ts";
import { looksSecret, matchesName, neverPassed } from "./environment.ts";
import { type LimitName, limitKinds, limitNames, readLimit, readSize, withLimit } from "./limits.ts";
import { absolutePath, hiddenBy, relativeFault } from "./paths.ts";
import type { ExtractRule, Limits, Policy, WallName } from "./policy.ts";
import { type Place, quote } from "./problem.ts";
import { protectedNameList } from "./protected-names.ts";
import type { JsonSchema, Read, Reader } from "./reader.ts";
import { dictionary, integer, list, mapped, placed, section, text, word } from "./reader.ts";
import { suggest } from "./spelling.ts";

/** The walls that `requires` can name. */
export const wallNames: readonly WallName[] = Object.freeze([
  "user-namespace",
  "mount-namespace",
  "pid-namespace",
  "network-namespace",
  "ipc-namespace",
  "uts-namespace",
  "landlock-filesystem",
  "landlock-network",
  "landlock-scope",
  "seccomp",
  "no-new-privs",
  "capabilities",
  "cgroup-memory",
  "cgroup-processes",
]);

export const landlockSection: Reader<{ compatibility?: Policy["compatibility"] | undefined }> = mapped(
  section({
    compatibility: word(["best_effort", "hard_requirement"], {
      lax: "openshell",
      laxMeaning: "means best_effort, as any unknown word does",
      omitted: true,
    }),
  }),
  (found) => ({ compatibility: found.values.compatibility }),
);

/** The largest uid; the one above, (uid_t) -1, means "no change" in setuid(2). */
const largestId = 4_294_967_294;

const identity: Reader<number | "sandbox"> = {
  schema: {
    anyOf: [
      { const: "sandbox" },
      { type: "integer", minimum: 1, maximum: largestId },
      { type: "string", pattern: "^[0-9]{1,10}$" },
    ],
  },
  read(node, what, context) {
    const isString = node.kind === "scalar" && typeof node.value === "string";
    const written = node.kind !== "scalar" || node.value === null ? undefined : isString ? `${node.value}` : node.text;
    if (written === "sandbox") return "sandbox";
    // An empty string is an omitted field in OpenShell's wire form.
    if (written === "" && context.dialect === "openshell") return undefined;
    if (written !== undefined && /^\d{1,10}$/.test(written) && Number(written) >= 1 && Number(written) <= largestId) {
      return Number(written);
    }
    const { problems } = context;
    const expected = `must be "sandbox" or a number from 1 to ${largestId}`;
    if (written === "root" || written === "0") {
      problems.error(node.at, `${what} is root: a sandbox never runs as root, inside or outside`, expected);
    } else problems.error(node.at, `${what} ${expected}${written === undefined ? "" : `, not ${quote(written)}`}`);
    return undefined;
  },
};

const identityFields = { run_as_user: identity, run_as_group: identity };
const openshellProcess = section(identityFields);
const holdfastProcess = section({ ...identityFields, mapped_files: word(["any", "executable-only"]) });

export const processSection: Reader<Policy["process"]> = {
  schema: holdfastProcess.schema,
  read(node, what, context) {
    const shape: Reader<Read<typeof openshellProcess>> =
      context.dialect === "holdfast" ? holdfastProcess : openshellProcess;
    const found = shape.read(node, what, context);
    if (found === undefined) return undefined;
    const values = found.values as Read<typeof holdfastProcess>["values"];
    return Object.freeze({
      ...(values.run_as_user === undefined ? {} : { runAsUser: values.run_as_user }),
      ...(values.run_as_group === undefined ? {} : { runAsGroup: values.run_as_group }),
      mappedFiles: values.mapped_files ?? "any",
    });
  },
};

const limitPatterns = {
  count: "^(none|[0-9]+)$",
  size: "^(none|[0-9]+[KMGT]?)$",
  duration: "^(none|[0-9]+(ms|s|m|h))$",
};

function limitSchema({ meaning, unit, least, most }: (typeof limitKinds)[LimitName]): JsonSchema {
  const string = { type: "string", pattern: limitPatterns[unit] };
  const number = { type: "integer", minimum: least, maximum: most };
  return { description: meaning, anyOf: unit === "duration" ? [string] : [string, number] };
}

/** A limit's value; `null` is `none`. */
function limitReader(name: LimitName): Reader<{ value: number | null }> {
  return {
    schema: limitSchema(limitKinds[name]),
    read(node, what, context) {
      const written = node.kind === "scalar" && (typeof node.value === "string" || typeof node.value === "number");
      if (node.kind !== "scalar" || !written) {
        context.problems.error(node.at, `${what} must be a ${limitKinds[name].unit}`);
        return undefined;
      }
      const reading = readLimit(name, typeof node.value === "string" ? node.value : node.text);
      if ("value" in reading) return { value: reading.value };
      context.problems.error(node.at, reading.message, reading.hint);
      return undefined;
    },
  };
}

const limitFields = Object.fromEntries(limitNames.map((name) => [name, limitReader(name)])) as Record<
  LimitName,
  Reader<{ value: number | null }>
>;

export const limitsSection: Reader<Limits> = mapped(section(limitFields), (found) => {
  let limits = defaultLimits;
  for (const name of limitNames) {
    const limit = found.values[name];
    if (limit !== undefined) limits = withLimit(limits, name, limit.value);
  }
  return limits;
});

const passedName = mapped(
  text,
  (name, at, what, { problems }) => {
    if (name === "*") {
      problems.error(at, `${what} is "*": passing every variable would pass every secret`, "name the variables");
    } else if (!/^[A-Za-z_][A-Za-z0-9_]*\*?$/.test(name)) {
      problems.error(at, `${what} is not a variable's name: ${quote(name)}`, "letters, digits, _ and one * at the end");
    } else {
      const secret = neverPassed.find((variable) => matchesName(name, variable));
      if (secret === undefined) {
        if (looksSecret(name))
          problems.warning(at, `${what}: ${name} looks like a secret, and the sandbox will hold it`);
        return name;
      }
      problems.error(at, `${what}: ${secret} is the worker's own and never enters a sandbox`, "name the others");
    }
    return undefined;
  },
  { type: "string", pattern: "^[A-Za-z_][A-Za-z0-9_]*\\*?$" },
);

const environmentShape = section({ pass: list(passedName), set: dictionary(text) });

export const environmentSection: Reader<Policy["environment"]> = mapped(
  environmentShape,
  (found, _at, what, context) => {
    const set: Record<string, string> = {};
    for (const [name, { value, at }] of found.values.set ?? new Map<string, { value: string; at: Place }>()) {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
        context.problems.error(at, `${what}.set: not a variable's name: ${quote(name)}`, "letters, digits and _");
      } else if (neverPassed.includes(name)) {
        context.problems.error(at, `${what}.set: ${name} is the worker's own and never enters a sandbox`);
      } else if (value.includes("\0")) context.problems.error(at, `${what}.set.${name} holds a NUL`);
      else Object.defineProperty(set, name, { value, enumerable: true });
    }
    return Object.freeze({ pass: Object.freeze([...(found.values.pass ?? defaultPass)]), set: Object.freeze(set) });
  },
);

const relativeName = mapped(text, (name, at, what, { problems }) => {
  const fault =
    relativeFault(name.replace(/\/$/, "")) ??
    (/[*?[\]{}]/.test(name) ? `is a name, not a pattern: ${quote(name)}` : undefined);
  if (fault === undefined) return name.replace(/\/$/, "");
  problems.error(at, `${what} ${fault}`);
  return undefined;
});

const protectedChange = section({ add: list(relativeName), grant: list(placed(relativeName)) });

export const protectedNamesSection: Reader<Policy["protectedNames"]> = {
  schema: { anyOf: [list(relativeName).schema, protectedChange.schema] },
  read(node, what, context) {
    if (node.kind === "list") {
      const names = list(relativeName).read(node, what, context);
      return names === undefined ? undefined : frozenNames(names);
    }
    if (node.kind !== "map") {
      context.problems.error(node.at, `${what} must be a list of names, or a map with add and grant`);
      return undefined;
    }
    const change = protectedChange.read(node, what, context);
    if (change === undefined) return undefined;
    const granted = new Set<string>();
    for (const { value, at } of change.values.grant ?? []) {
      if (!protectedNameList.includes(value)) {
        context.problems.error(
          at,
          `${what}.grant: ${quote(value)} is not protected`,
          suggest(value, protectedNameList),
        );
      }
      granted.add(value);
    }
    return frozenNames([...protectedNameList.filter((name) => !granted.has(name)), ...(change.values.add ?? [])]);
  },
};

function frozenNames(names: readonly string[]): Policy["protectedNames"] {
  return Object.freeze({ names: Object.freeze([...new Set(names)]) });
}

function wordList<W extends string>(words: readonly W[]): Reader<readonly W[]> {
  return mapped(list(word(words)), (found) => Object.freeze([...new Set(found)]));
}

/** Walls that must stand, with the place that asks for each. */
export const requiresSection: Reader<Required<Pick<Policy, "requires" | "requiresAt">>> = mapped(
  list(placed(word(wallNames))),
  (found) => {
    const places = new Map<WallName, Place>();
    for (const { value, at } of found) if (!places.has(value)) places.set(value, at);
    return Object.freeze({
      requires: Object.freeze([...places.keys()]),
      requiresAt: Object.freeze(Object.fromEntries([...places].map(([wall, at]) => [wall, Object.freeze({ ...at })]))),
    });
  },
);

export const toolsSection: Reader<readonly string[]> = mapped(wordList(toolNames), (names, at, what, { problems }) => {
  if (names.length > 0) return names;
  problems.error(at, `${what} names no tool`, `some of ${toolNames.join(", ")}`);
  return undefined;
});

const mountPoint = mapped(absolutePath, (path, at, what, { problems }) => {
  const hidden = hiddenBy(path);
  if (hidden === undefined) return path;
  problems.error(at, `${what} is ${quote(path)}, which would hide ${hidden}`, "a path such as /workspace");
  return undefined;
});

export const workspaceSection: Reader<Policy["workspace"]> = mapped(
  section({
    mode: word(["direct", "overlay", "fresh"]),
    access: word(["read-write", "read-only"]),
    mount_at: mountPoint,
  }),
  ({ values }) =>
    Object.freeze({
      mode: values.mode ?? "direct",
      access: values.access ?? "read-write",
      ...(values.mount_at === undefined ? {} : { mountAt: values.mount_at }),
    }),
);

const relativeGlob = mapped(text, (glob, at, what, { problems }) => {
  const fault = relativeFault(glob);
  if (fault === undefined) return glob;
  problems.error(at, `${what} ${fault}`);
  return undefined;
});

const sizeValue: Reader<number> = {
  schema: { type: ["string", "integer"] },
  read(node, what, context) {
    const written = node.kind === "scalar" && (typeof node.value === "string" || typeof node.value === "number");
    if (node.kind !== "scalar" || !written) {
      context.problems.error(node.at, `${what} must be a size`);
      return undefined;
    }
    const reading = readSize(typeof node.value === "string" ? node.value : node.text);
    if ("value" in reading && reading.value > 0) return reading.value;
    if ("value" in reading) context.problems.error(node.at, `${what} cannot be 0`);
    else context.problems.error(node.at, `${what}: ${reading.message}`, reading.hint);
    return undefined;
  },
};

const fileType = mapped(text, (type, at, what, { problems }) => {
  const bare = type.replace(/^\./, "").toLowerCase();
  if (/^[a-z0-9_+-]+(\.[a-z0-9_+-]+)*$/.test(bare)) return bare;
  problems.error(
    at,
    `${what} is the ending of a file's name, not ${quote(type)}`,
    "such as md or tar.gz; text for any text",
  );
  return undefined;
});

const extractMap = section(
  {
    glob: relativeGlob,
    max_files: integer(1, 1_000_000),
    max_bytes: sizeValue,
    types: list(fileType, { most: 64 }),
    max_depth: integer(0, 63),
  },
  { required: ["glob"] },
);

const extractRule: Reader<ExtractRule> = {
  schema: { anyOf: [relativeGlob.schema, extractMap.schema] },
  read(node, what, context) {
    if (node.kind === "scalar") {
      const glob = relativeGlob.read(node, what, context);
      return glob === undefined ? undefined : Object.freeze({ glob });
    }
    const found = extractMap.read(node, what, context);
    if (found?.values.glob === undefined) return undefined;
    const { glob, types, max_files: maxFiles, max_bytes: maxBytes, max_depth: maxDepth } = found.values;
    return Object.freeze({
      glob,
      ...(maxFiles === undefined ? {} : { maxFiles }),
      ...(maxBytes === undefined ? {} : { maxBytes }),
      ...(types === undefined ? {} : { types: Object.freeze([...types]) }),
      ...(maxDepth === undefined ? {} : { maxDepth }),
    });
  },
};

export const extractSection: Reader<readonly ExtractRule[]> = mapped(list(extractRule, { most: 256 }), (rules) =>
  Object.freeze([...rules]),
);
