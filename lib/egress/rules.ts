import type { NetworkEndpoint, RuleBody } from "../policy/network.ts";
import { type QueryValue, queryParameters } from "./canonical.ts";
import type { Request } from "./flow.ts";
import { compileGlob, type Glob } from "./glob.ts";

/** One allow or deny rule, ready to be tried. */
export interface Rule {
  readonly text: string;
  /** Upper case; undefined: any. */
  readonly method: string | undefined;
  readonly path: Glob;
  readonly query: readonly (readonly [key: string, values: readonly Glob[]])[];
  readonly policy: string;
  readonly endpoint: NetworkEndpoint;
  /** The endpoint's own path, which a rule does not reach beyond. */
  readonly within: Glob;
}

/** The access presets of openshell.md 1.8. */
const presets: Readonly<Record<"rest" | "websocket", Readonly<Record<string, readonly string[]>>>> = {
  rest: {
    "read-only": ["GET", "HEAD", "OPTIONS"],
    "read-write": ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"],
    full: ["*"],
  },
  websocket: { "read-only": ["GET"], "read-write": ["GET", "WEBSOCKET_TEXT"], full: ["*"] },
};

const everything: Glob = () => true;

export function pathGlob(pattern: string): Glob {
  return pattern === "" || pattern === "**" ? everything : compileGlob(pattern, "/");
}

/** The rules of an endpoint, its preset written out. */
export function rulesOf(policy: string, endpoint: NetworkEndpoint): { allow: Rule[]; deny: Rule[] } {
  const within = pathGlob(endpoint.path);
  const compile = (body: Pick<RuleBody, "method" | "path" | "query">): Rule => {
    const method = body.method.toUpperCase();
    return {
      text: `${method === "" ? "*" : method} ${body.path === "" ? "**" : body.path}`,
      method: method === "" || method === "*" ? undefined : method,
      path: pathGlob(body.path),
      query: Object.entries(body.query).map(([key, matcher]) => [key, matcher.any.map((one) => compileGlob(one, "."))]),
      policy,
      endpoint,
      within,
    };
  };
  const family = endpoint.protocol === "websocket" ? "websocket" : "rest";
  const preset = endpoint.access === undefined ? [] : (presets[family][endpoint.access] ?? []);
  return {
    allow: [...endpoint.rules.map(compile), ...preset.map((method) => compile({ method, path: "**", query: {} }))],
    deny: endpoint.denyRules.map(compile),
  };
}

/**
 * Rules by the part of their path that has no wildcard, so that a request is tried against those that begin as it does
 * and no others: the cost does not grow with the number of rules.
 */
export class RuleIndex {
  readonly #byStart = new Map<string, Rule[]>();

  constructor(rules: readonly Rule[], pathOf: (rule: Rule) => string) {
    for (const rule of rules) {
      const start = literalStart(pathOf(rule));
      const known = this.#byStart.get(start);
      if (known === undefined) this.#byStart.set(start, [rule]);
      else known.push(rule);
    }
  }

  /** The first rule that the request meets, in no particular order of the file. */
  find(
    request: Request,
    parameters: () => ReadonlyMap<string, readonly QueryValue[]>,
    kind: "allow" | "deny",
  ): Rule | undefined {
    for (const start of starts(request.path)) {
      for (const rule of this.#byStart.get(start) ?? []) if (meets(rule, request, parameters, kind)) return rule;
    }
    return undefined;
  }
}

/** `/repos/*\/x` begins with `/repos`; what has a wildcard in its first component begins with nothing. */
function literalStart(pattern: string): string {
  if (!pattern.startsWith("/")) return "";
  const parts = pattern.split("/");
  let start = "";
  for (const part of parts.slice(1)) {
    if (/[*?[\]{}\\]/.test(part)) return start;
    start += `/${part}`;
  }
  return start;
}

function* starts(path: string): Generator<string> {
  yield "";
  for (let at = path.indexOf("/", 1); at > 0; at = path.indexOf("/", at + 1)) yield path.slice(0, at);
  yield path;
}

function meets(
  rule: Rule,
  request: Request,
  parameters: () => ReadonlyMap<string, readonly QueryValue[]>,
  kind: "allow" | "deny",
): boolean {
  // A HEAD asks for what a GET gives, so a rule on GET is one on HEAD, whether it allows or denies.
  const methods = request.method === "HEAD" ? ["HEAD", "GET"] : [request.method];
  if (rule.method !== undefined && !methods.includes(rule.method)) return false;
  if (!rule.within(request.path) || !rule.path(request.path)) return false;
  return rule.query.every(([key, globs]) => {
    const values = parameters().get(key);
    if (values === undefined) return false;
    const matches = (value: string): boolean => globs.some((glob) => glob(value));
    // What a value means is the origin's to say: to allow, every reading must match, to deny any one.
    return kind === "allow"
      ? values.every((readings) => readings.every(matches))
      : values.some((readings) => readings.some(matches));
  });
}

/** The query's parameters, read when the first rule asks for them. */
export function lazyParameters(query: string | undefined): () => ReadonlyMap<string, readonly QueryValue[]> {
  let read: ReadonlyMap<string, readonly QueryValue[]> | undefined;
  return () => {
    read ??= queryParameters(query ?? "");
    return read;
  };
}
