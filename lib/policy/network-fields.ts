import type { Binary, Matcher, Protocol, RuleBody } from "./network.ts";
import { quote } from "./problem.ts";
import type { Placed, Reader, Section } from "./reader.ts";
import { dictionary, flag, integer, list, placed, section, text, word } from "./reader.ts";

const nonEmpty: Reader<string> = {
  schema: { type: "string", minLength: 1 },
  read(node, what, context) {
    const value = text.read(node, what, context);
    if (value !== "") return value;
    context.problems.error(node.at, `${what} must not be empty`);
    return undefined;
  },
};

/** OPA's globs forgive a bracket without its partner; the writer hardly meant it. */
function globFault(glob: string): string | undefined {
  for (const [open, close] of ["[]", "{}"] as const) {
    let depth = 0;
    for (const character of glob) {
      if (character === open) depth += 1;
      if (character === close) depth -= 1;
      if (depth < 0) return `has a "${close}" without its "${open}"`;
    }
    if (depth > 0) return `has a "${open}" without its "${close}"`;
  }
  return undefined;
}

const glob: Reader<string> = {
  schema: { type: "string" },
  read(node, what, context) {
    const value = text.read(node, what, context);
    const fault = value === undefined ? undefined : globFault(value);
    if (fault !== undefined) context.problems.warning(node.at, `${what} ${fault}: ${quote(value ?? "")}`);
    return value;
  },
};

const matcherMap = section({ any: list(glob) }, { required: ["any"] });

const matcher: Reader<Matcher> = {
  schema: { anyOf: [glob.schema, matcherMap.schema] },
  read(node, what, context) {
    if (node.kind === "scalar") {
      const value = glob.read(node, what, context);
      return value === undefined ? undefined : Object.freeze({ any: Object.freeze([value]) });
    }
    const found = matcherMap.read(node, what, context);
    const any = found?.values.any;
    if (found === undefined || any === undefined) return undefined;
    if (any.length > 0) return Object.freeze({ any: Object.freeze([...any]) });
    context.problems.error(found.place("any"), `${what}.any is empty`, "a matcher needs at least one glob");
    return undefined;
  },
};

/** Matchers of `params`: a map that has other keys than a matcher's is a level of nesting. */
const params: Reader<Readonly<Record<string, Matcher>>> = {
  schema: { type: "object" },
  read(node, what, context) {
    if (node.kind !== "map") {
      context.problems.error(node.at, `${what} must be a map of matchers`);
      return undefined;
    }
    const flat: Record<string, Matcher> = {};
    for (const { key, value } of node.entries) {
      const nested = value.kind === "map" && !value.entries.some((entry) => entry.key === "any");
      if (nested) {
        const inner = params.read(value, `${what}.${key}`, context) ?? {};
        for (const [name, found] of Object.entries(inner)) define(flat, `${key}.${name}`, found);
      } else {
        const found = matcher.read(value, `${what}.${key}`, context);
        if (found !== undefined) define(flat, key, found);
      }
    }
    return Object.freeze(flat);
  },
};

/** Assignment would take the key `__proto__` for something else. */
function define<T>(target: Record<string, T>, key: string, value: T): void {
  Object.defineProperty(target, key, { value, enumerable: true });
}

export function record<T>(map: ReadonlyMap<string, { readonly value: T }> | undefined): Readonly<Record<string, T>> {
  const plain: Record<string, T> = {};
  for (const [key, { value }] of map ?? []) define(plain, key, value);
  return Object.freeze(plain);
}

/** The keys of a rule's body. */
export interface BodyFields {
  readonly method: Reader<string>;
  readonly path: Reader<string>;
  readonly command: Reader<string>;
  readonly query: Reader<ReadonlyMap<string, Placed<Matcher>>>;
  readonly operation_type: Reader<string>;
  readonly operation_name: Reader<string>;
  readonly fields: Reader<readonly string[]>;
  readonly tool: Reader<Matcher>;
  readonly params: Reader<Readonly<Record<string, Matcher>>>;
}

const bodyFields: BodyFields = {
  method: text,
  path: glob,
  command: text,
  query: dictionary(matcher),
  operation_type: text,
  operation_name: glob,
  fields: list(glob),
  tool: matcher,
  params,
};

/** A rule's body beside the section that it was read from, which knows what was written where. */
export interface ReadRule {
  readonly section: Section<BodyFields>;
  readonly body: RuleBody;
}

const bodyShape = section<BodyFields>(bodyFields);

const ruleBody: Reader<ReadRule> = {
  schema: bodyShape.schema,
  read(node, what, context) {
    const found = bodyShape.read(node, what, context);
    if (found === undefined) return undefined;
    const { values } = found;
    const body: RuleBody = Object.freeze({
      line: found.at.line,
      column: found.at.column,
      method: values.method ?? "",
      path: values.path ?? "",
      command: values.command ?? "",
      query: record(values.query),
      operationType: values.operation_type ?? "",
      operationName: values.operation_name ?? "",
      fields: Object.freeze([...(values.fields ?? [])]),
      ...(values.tool === undefined ? {} : { tool: values.tool }),
      params: values.params ?? Object.freeze({}),
    });
    return { section: found, body };
  },
};

const allowShape = section({ allow: ruleBody }, { required: ["allow"] });

const allowRule: Reader<ReadRule> = {
  schema: allowShape.schema,
  read: (node, what, context) => allowShape.read(node, what, context)?.values.allow,
};

/** The keys of a registered GraphQL query. */
export interface RegisteredFields {
  readonly operation_type: Reader<string>;
  readonly operation_name: Reader<string>;
  readonly fields: Reader<readonly string[]>;
}

const registeredShape = section<RegisteredFields>({ operation_type: text, operation_name: glob, fields: list(glob) });

const bodyLimit = integer(1, 4_294_967_295);

/** Fields that OpenShell sets itself and a writer never does (openshell.md 1.6). */
const internalMarks = ["provider_credentialed", "advisor_proposed"];

/** The keys of an endpoint. */
export interface EndpointFields {
  readonly host: Reader<string>;
  readonly port: Reader<number>;
  readonly ports: Reader<readonly Placed<number>[]>;
  readonly path: Reader<string>;
  readonly protocol: Reader<Protocol>;
  readonly tls: Reader<"skip" | "terminate" | "passthrough">;
  readonly enforcement: Reader<"audit" | "enforce">;
  readonly access: Reader<"read-only" | "read-write" | "full">;
  readonly rules: Reader<readonly ReadRule[]>;
  readonly deny_rules: Reader<readonly ReadRule[]>;
  readonly allowed_ips: Reader<readonly Placed<string>[]>;
  readonly allow_encoded_slash: Reader<boolean>;
  readonly websocket_credential_rewrite: Reader<boolean>;
  readonly request_body_credential_rewrite: Reader<boolean>;
  readonly allow_uninspected_credentials: Reader<boolean>;
  readonly credential_signing: Reader<"sigv4" | "sigv4:body" | "sigv4:no_body">;
  readonly signing_service: Reader<string>;
  readonly signing_region: Reader<string>;
  readonly credential_binding: Reader<Section<{ readonly provider: Reader<string> }>>;
  readonly persisted_queries: Reader<"deny" | "allow_registered">;
  readonly graphql_persisted_queries: Reader<ReadonlyMap<string, Placed<Section<RegisteredFields>>>>;
  readonly graphql_max_body_bytes: Reader<number>;
  readonly json_rpc: Reader<Section<{ readonly max_body_bytes: Reader<number> }>>;
  readonly mcp: Reader<Section<McpFields>>;
}

export interface McpFields {
  readonly max_body_bytes: Reader<number>;
  readonly strict_tool_names: Reader<boolean>;
  readonly allow_all_known_mcp_methods: Reader<boolean>;
}

const endpointShape = section<EndpointFields>(
  {
    host: text,
    port: integer(0, 65_535),
    ports: list(placed(integer(1, 65_535))),
    path: glob,
    protocol: word(["tcp", "rest", "websocket", "graphql", "sql", "json-rpc", "mcp", ""], { caseless: true }),
    tls: word(["skip", "terminate", "passthrough"], { omitted: true }),
    enforcement: word(["audit", "enforce"], { omitted: true }),
    access: word(["read-only", "read-write", "full"], {
      lax: "openshell",
      laxMeaning: "is ignored, as any unknown preset is",
      omitted: true,
    }),
    rules: list(allowRule),
    deny_rules: list(ruleBody),
    allowed_ips: list(placed(text)),
    allow_encoded_slash: flag,
    websocket_credential_rewrite: flag,
    request_body_credential_rewrite: flag,
    allow_uninspected_credentials: flag,
    credential_signing: word(["sigv4", "sigv4:body", "sigv4:no_body"], { omitted: true }),
    signing_service: text,
    signing_region: text,
    credential_binding: section({ provider: nonEmpty }, { required: ["provider"] }),
    persisted_queries: word(["deny", "allow_registered"], { omitted: true }),
    graphql_persisted_queries: dictionary(registeredShape),
    graphql_max_body_bytes: bodyLimit,
    json_rpc: section({ max_body_bytes: bodyLimit }),
    mcp: section({ max_body_bytes: bodyLimit, strict_tool_names: flag, allow_all_known_mcp_methods: flag }),
  },
  {
    unknown: (key) =>
      internalMarks.includes(key)
        ? { message: `${key} is a mark of OpenShell's own and cannot be written in a policy` }
        : undefined,
  },
);

export type EndpointSection = Section<EndpointFields>;

const sha256: Reader<string> = {
  schema: { type: "string", pattern: "^[0-9A-Fa-f]{64}$" },
  read(node, what, context) {
    // Digits alone are a number to YAML, and lose some of theirs.
    const written = node.kind === "scalar" && typeof node.value === "string" ? node.value : undefined;
    if (written !== undefined && /^[0-9a-f]{64}$/i.test(written)) return written.toLowerCase();
    const found = written === undefined ? "" : `, not ${quote(written)}`;
    context.problems.error(node.at, `${what} must be 64 hexadecimal digits in quotes${found}`, "sha256sum prints them");
    return undefined;
  },
};

const openshellBinary = section({ path: glob, harness: flag }, { required: ["path"] });
const holdfastBinary = section({ path: glob, harness: flag, sha256 }, { required: ["path"] });

/** A program, with what its content has to be in files of ours. */
export const binary: Reader<Binary> = {
  schema: holdfastBinary.schema,
  read(node, what, context) {
    const shape: Reader<Section<{ readonly path: Reader<string>; readonly sha256?: Reader<string> }>> =
      context.dialect === "holdfast" ? holdfastBinary : openshellBinary;
    const found = shape.read(node, what, context);
    const path = found?.values.path;
    // Without the pin that was meant, the entry would grant more than its writer wants.
    if (found === undefined || path === undefined || found.isBroken("sha256")) return undefined;
    if (!path.startsWith("/")) {
      context.problems.warning(node.at, `${what}.path is ${quote(path)}, which matches no program`, "an absolute path");
    }
    const pin = found.values.sha256;
    return Object.freeze(pin === undefined ? { path } : { path, sha256: pin });
  },
};

/** The keys of an entry of `network_policies`. */
export interface EntryFields {
  readonly name: Reader<string>;
  readonly endpoints: Reader<readonly EndpointSection[]>;
  readonly binaries: Reader<readonly Binary[]>;
}

export type EntrySection = Section<EntryFields>;

export const entryShape: Reader<EntrySection> = section<EntryFields>({
  name: text,
  endpoints: list(endpointShape),
  binaries: list(binary),
});

/** A value of any shape, for the part of a middleware's entry that is the middleware's own. */
const anything: Reader<unknown> = {
  schema: {},
  read(node, what, context) {
    if (node.kind === "scalar") return node.value;
    if (node.kind === "list") return Object.freeze(node.items.map((item) => anything.read(item, what, context)));
    const map: Record<string, unknown> = {};
    for (const entry of node.entries) define(map, entry.key, anything.read(entry.value, what, context));
    return Object.freeze(map);
  },
};

/** The keys of an entry of `network_middlewares`. */
export interface MiddlewareFields {
  readonly name: Reader<string>;
  readonly middleware: Reader<string>;
  readonly order: Reader<number>;
  readonly config: Reader<ReadonlyMap<string, Placed<unknown>>>;
  readonly on_error: Reader<"fail_closed" | "fail_open">;
  readonly endpoints: Reader<Section<SelectorFields>>;
}

export interface SelectorFields {
  readonly include: Reader<readonly Placed<string>[]>;
  readonly exclude: Reader<readonly Placed<string>[]>;
}

export type MiddlewareSection = Section<MiddlewareFields>;

export const middlewareShape: Reader<MiddlewareSection> = section<MiddlewareFields>(
  {
    name: text,
    middleware: nonEmpty,
    order: integer(-2_147_483_648, 2_147_483_647),
    config: dictionary(anything),
    on_error: word(["fail_closed", "fail_open"], { omitted: true }),
    endpoints: section({ include: list(placed(text)), exclude: list(placed(text)) }, { required: ["include"] }),
  },
  { required: ["middleware", "endpoints"] },
);
