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

/** Rules whose paths begin alike, component by component. */
interface Branch {
  /** Those that end here, or go on with what only their globs can tell. */
  readonly rules: Rule[];
  readonly named: Map<string, Branch>;
  /** Where the next component has stars. */
  any: Branch | undefined;
}

function branch(): Branch {
  return { rules: [], named: new Map(), any: undefined };
}

/**
 * Rules by the components of their paths, so that a request is tried against those that may meet it and no others: the
 * cost does not grow with the number of rules.
 */
export class RuleIndex {
  readonly #root = branch();

  constructor(rules: readonly Rule[], pathOf: (rule: Rule) => string) {
    for (const rule of rules) this.#add(rule, pathOf(rule));
  }

  #add(rule: Rule, pattern: string): void {
    let at = this.#root;
    const components = pattern.startsWith("/") ? pattern.slice(1).split("/") : [];
    for (const component of components) {
      // These may reach into the next component.
      if (component.includes("**") || /[?[\]{}\\]/.test(component)) break;
      if (component.includes("*")) {
        at.any ??= branch();
        at = at.any;
        continue;
      }
      let next = at.named.get(component);
      if (next === undefined) {
        next = branch();
        at.named.set(component, next);
      }
      at = next;
    }
    at.rules.push(rule);
  }

  /** The first rule that the request meets, in no particular order of the file. */
  find(request: Request, parameters: Parameters, kind: "allow" | "deny"): Rule | undefined {
    return findFrom(this.#root, 0, request, parameters, kind);
  }
}

/** @param at the slash before the next component, or the path's end */
function findFrom(
  { rules, named, any }: Branch,
  at: number,
  request: Request,
  parameters: Parameters,
  kind: "allow" | "deny",
): Rule | undefined {
  for (const rule of rules) if (meets(rule, request, parameters, kind)) return rule;
  const { path } = request;
  if (at >= path.length) return undefined;
  const slash = path.indexOf("/", at + 1);
  const end = slash < 0 ? path.length : slash;
  const next = named.get(path.slice(at + 1, end));
  const found = next === undefined ? undefined : findFrom(next, end, request, parameters, kind);
  if (found !== undefined || any === undefined) return found;
  return findFrom(any, end, request, parameters, kind);
}

function meets(rule: Rule, request: Request, parameters: Parameters, kind: "allow" | "deny"): boolean {
  if (rule.method !== undefined) {
    // As OpenShell compares them; some servers do so too, and a rule that denies has to hold there.
    const method = request.method.toUpperCase();
    // A HEAD asks for what a GET gives, so a rule on GET is one on HEAD, whether it allows or denies.
    if (rule.method !== method && !(method === "HEAD" && rule.method === "GET")) return false;
  }
  if (!rule.within(request.path) || !rule.path(request.path)) return false;
  return rule.query.every(([key, globs]) => {
    const { usual, all } = parameters();
    const values = all.flatMap((each) => each.get(key) ?? []);
    if (kind === "allow" ? !usual.has(key) : values.length === 0) return false;
    const matches = (value: string): boolean => globs.some((glob) => glob(value));
    // What a value means is the origin's to say: to allow, every reading must match, to deny any one.
    return kind === "allow"
      ? values.every((readings) => readings.every(matches))
      : values.some((readings) => readings.some(matches));
  });
}

type Parameters = () => {
  readonly usual: ReadonlyMap<string, readonly QueryValue[]>;
  /** By each reading that is in use. */
  readonly all: readonly ReadonlyMap<string, readonly QueryValue[]>[];
};

/** The query's parameters, read when the first rule asks for them. */
export function lazyParameters(query = ""): Parameters {
  let read: ReturnType<Parameters> | undefined;
  return () => {
    if (read === undefined) {
      const usual = queryParameters(query);
      // HTML 4.01 appendix B.2.2, and servers after it: a semicolon separates as well.
      const all = query.includes(";") ? [usual, queryParameters(query, /[&;]/)] : [usual];
      read = { usual, all };
    }
    return read;
  };
}
