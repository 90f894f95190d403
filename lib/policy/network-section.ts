import { checkEndpoint } from "./endpoint.ts";
import {
  type Budget,
  comparisonBudget,
  hostsOverlap,
  pathSpecificity,
  pathsOverlap,
  selectorFault,
} from "./host-pattern.ts";
import type { NetworkEndpoint, NetworkMiddleware, NetworkPolicy } from "./network.ts";
import { type EntrySection, entryShape, type MiddlewareSection, middlewareShape, record } from "./network-fields.ts";
import { type Place, quote } from "./problem.ts";
import type { Context, Placed, Reader } from "./reader.ts";
import { dictionary } from "./reader.ts";

/** OpenShell's bounds (openshell.md 1.14, 1.15). */
const mostMiddlewares = 10;
const mostPatterns = 32;

/** Entries with endpoints past this many pairs are not compared: the check is quadratic. */
const mostEndpoints = 2000;

type Named<T> = Readonly<Record<string, T>>;

const entries = dictionary(entryShape);

/** `network_policies`, with every check of a single entry. */
export const networkPoliciesSection: Reader<Named<NetworkPolicy>> = {
  schema: entries.schema,
  read(node, what, context) {
    const found = entries.read(node, what, context);
    if (found === undefined) return undefined;
    const policies = new Map<string, { value: NetworkPolicy }>();
    const comparable: NamedEndpoint[] = [];
    for (const [key, entry] of found) {
      const value = buildEntry(key, entry, `${what}.${key}`, context);
      policies.set(key, { value });
      for (const [index, section] of (entry.value.values.endpoints ?? []).entries()) {
        const endpoint = value.endpoints[index];
        // One that was not read in full may differ only by what is reported already.
        if (endpoint !== undefined && section.isWhole) comparable.push({ policy: value.name, endpoint });
      }
    }
    checkAmbiguity(comparable, context);
    return record(policies);
  },
};

function buildEntry(key: string, entry: Placed<EntrySection>, what: string, context: Context): NetworkPolicy {
  const { problems } = context;
  const found = entry.value;
  if (key.startsWith("_provider_")) {
    problems.error(entry.at, `${what}: names that begin with _provider_ are reserved`, "choose another name");
  }
  if (found.values.endpoints?.length === 0 || !found.has("endpoints")) {
    problems.warning(entry.at, `${what} has no endpoints and allows nothing`);
  }
  if (found.values.binaries?.length === 0 || !found.has("binaries")) {
    const message = `${what} has no binaries, so that no program may use it`;
    problems.warning(entry.at, message, "OpenShell's documents say any program, its rules say none");
  }
  return Object.freeze({
    line: entry.at.line,
    column: entry.at.column,
    name: found.values.name || key,
    endpoints: Object.freeze(
      (found.values.endpoints ?? []).map((endpoint, index) =>
        checkEndpoint(endpoint, `${what}.endpoints[${index}]`, context),
      ),
    ),
    binaries: Object.freeze([...(found.values.binaries ?? [])]),
  });
}

interface NamedEndpoint {
  readonly policy: string;
  readonly endpoint: NetworkEndpoint;
}

/**
 * Endpoints that can stand for the same connection or request must agree on how it is carried and parsed, else the
 * order of evaluation would decide (openshell.md 1.16). Their rules may differ.
 */
function checkAmbiguity(all: readonly NamedEndpoint[], { problems }: Context): void {
  if (all.length > mostEndpoints) {
    const at = all[mostEndpoints]?.endpoint ?? { line: 1, column: 1 };
    problems.error(at, `the policy has ${all.length} endpoints; ${mostEndpoints} are the most`);
    return;
  }
  const budget = comparisonBudget();
  const alike = all.map(({ endpoint }) => handling(endpoint));
  for (const [index, left] of all.entries()) {
    for (const [offset, right] of all.slice(index + 1).entries()) {
      if (alike[index] === alike[index + 1 + offset]) continue;
      const shared = left.endpoint.ports.filter((port) => right.endpoint.ports.includes(port));
      if (shared.length === 0 || !hostsOverlap(left.endpoint.host, right.endpoint.host, budget)) continue;
      const conflicts = [
        ...connectionConflicts(left.endpoint, right.endpoint),
        ...requestConflicts(left.endpoint, right.endpoint, budget),
      ];
      if (conflicts.length === 0) continue;
      const message =
        `this endpoint of ${quote(right.policy)} and that of ${quote(left.policy)} on line ${left.endpoint.line} ` +
        `overlap on port ${shared.join(", ")} and differ in ${conflicts.join(", ")}`;
      problems.error(right.endpoint, message, "make them agree, or keep them apart by host, port or path");
    }
  }
}

/** All that two endpoints could differ in below. */
function handling(endpoint: NetworkEndpoint): string {
  const judged = judgesGraphql(endpoint);
  const apart = { line: 0, column: 0, host: "", ports: [], path: "", rules: [], denyRules: [], access: "" };
  return JSON.stringify({ ...endpoint, ...apart, graphqlPersistedQueries: judged });
}

function differences(pairs: Readonly<Record<string, readonly [unknown, unknown]>>): readonly string[] {
  return Object.entries(pairs).flatMap(([name, [left, right]]) => (left === right ? [] : [name]));
}

function connectionConflicts(left: NetworkEndpoint, right: NetworkEndpoint): readonly string[] {
  const addresses = (endpoint: NetworkEndpoint): string => [...new Set(endpoint.allowedIps)].sort().join(" ");
  return differences({
    "protocol tcp": [left.protocol === "tcp", right.protocol === "tcp"],
    tls: [left.tls, right.tls],
    allowed_ips: [addresses(left), addresses(right)],
  });
}

/** Plain L4 endpoints carry nothing that a request's handling is chosen by. */
function hasRequestMetadata(endpoint: NetworkEndpoint): boolean {
  const inspected = endpoint.protocol !== "" && endpoint.protocol !== "tcp";
  const carried = endpoint.allowedIps.length > 0 || endpoint.tls === "skip" || endpoint.credentialProvider !== "";
  return inspected || carried;
}

function requestConflicts(left: NetworkEndpoint, right: NetworkEndpoint, budget: Budget): readonly string[] {
  if (!hasRequestMetadata(left) || !hasRequestMetadata(right)) return [];
  if (pathSpecificity(left.path) !== pathSpecificity(right.path)) return [];
  if (!pathsOverlap(left.path, right.path, budget)) return [];
  const both = (...protocols: readonly string[]): boolean =>
    left.protocol === right.protocol && protocols.includes(left.protocol);
  const request = (endpoint: NetworkEndpoint): string => (endpoint.protocol === "tcp" ? "" : endpoint.protocol);
  return differences({
    protocol: [request(left), request(right)],
    enforcement: [left.enforcement, right.enforcement],
    allow_encoded_slash: [left.allowEncodedSlash, right.allowEncodedSlash],
    websocket_credential_rewrite: [left.websocketCredentialRewrite, right.websocketCredentialRewrite],
    request_body_credential_rewrite: [left.requestBodyCredentialRewrite, right.requestBodyCredentialRewrite],
    credential_signing: [left.credentialSigning, right.credentialSigning],
    signing_service: [left.signingService, right.signingService],
    signing_region: [left.signingRegion, right.signingRegion],
    credential_binding: [left.credentialProvider, right.credentialProvider],
    ...(both("websocket") && { "GraphQL rules": [judgesGraphql(left), judgesGraphql(right)] as const }),
    ...(both("graphql") && { graphql_max_body_bytes: [left.graphqlMaxBodyBytes, right.graphqlMaxBodyBytes] as const }),
    ...(both("json-rpc", "mcp") && { max_body_bytes: [left.jsonRpcMaxBodyBytes, right.jsonRpcMaxBodyBytes] as const }),
    ...(both("mcp") && { strict_tool_names: [left.mcpStrictToolNames, right.mcpStrictToolNames] as const }),
  });
}

function judgesGraphql(endpoint: NetworkEndpoint): boolean {
  return (
    Object.keys(endpoint.graphqlPersistedQueries).length > 0 ||
    endpoint.persistedQueries === "allow_registered" ||
    [...endpoint.rules, ...endpoint.denyRules].some(
      (rule) => rule.operationType !== "" || rule.operationName !== "" || rule.fields.length > 0,
    )
  );
}

const middlewares = dictionary(middlewareShape);

/** `network_middlewares`, with every check that needs no network policy. */
export const networkMiddlewaresSection: Reader<Named<NetworkMiddleware>> = {
  schema: middlewares.schema,
  read(node, what, context) {
    const found = middlewares.read(node, what, context);
    if (found === undefined) return undefined;
    if (found.size > mostMiddlewares) {
      context.problems.error(node.at, `${what} has ${found.size} entries; ${mostMiddlewares} are the most`);
    }
    const built = new Map<string, { value: NetworkMiddleware }>();
    const orders = new Map<number, string>();
    for (const [key, entry] of found) {
      const middleware = buildMiddleware(key, entry, `${what}.${key}`, context);
      const other = orders.get(middleware.order);
      if (other !== undefined && !entry.value.isBroken("order")) {
        const message = `${what}.${key} has the order ${middleware.order}, as ${quote(other)} does`;
        context.problems.error(entry.value.valuePlace("order"), message, "give each its own order");
      }
      orders.set(middleware.order, key);
      built.set(key, { value: middleware });
    }
    return record(built);
  },
};

function buildMiddleware(
  key: string,
  entry: Placed<MiddlewareSection>,
  what: string,
  { problems }: Context,
): NetworkMiddleware {
  const { values } = entry.value;
  const selector = values.endpoints?.values;
  const include = selector?.include ?? [];
  const exclude = selector?.exclude ?? [];
  if (key === "") problems.error(entry.at, `${what}: the name is empty`);
  if (selector?.include?.length === 0) {
    problems.error(entry.value.place("endpoints"), `${what}.endpoints.include is empty`, "name at least one host");
  }
  if (include.length + exclude.length > mostPatterns) {
    const count = include.length + exclude.length;
    problems.error(entry.value.place("endpoints"), `${what} has ${count} patterns; ${mostPatterns} are the most`);
  }
  for (const pattern of [...include, ...exclude]) {
    const fault = selectorFault(pattern.value);
    if (fault !== undefined) problems.error(pattern.at, `${what}.endpoints: a pattern ${fault}`);
  }
  if (values.middleware?.startsWith("openshell/") && values.middleware !== "openshell/regex") {
    const message = `${what}.middleware: there is no built-in ${quote(values.middleware)}`;
    problems.error(entry.value.valuePlace("middleware"), message, 'did you mean "openshell/regex"?');
  }
  return Object.freeze({
    line: entry.at.line,
    column: entry.at.column,
    name: values.name || key,
    middleware: values.middleware ?? "",
    order: values.order ?? 0,
    config: record(values.config),
    onError: values.on_error ?? "fail_closed",
    include: Object.freeze(include.map((pattern) => pattern.value)),
    exclude: Object.freeze(exclude.map((pattern) => pattern.value)),
  });
}

/** A middleware that must see the traffic cannot cover an endpoint whose bytes are passed on unread. */
export function checkMiddlewareCover(
  found: Named<NetworkMiddleware>,
  policies: Named<NetworkPolicy>,
  { problems }: Context,
): void {
  const budget = comparisonBudget();
  const unread = Object.values(policies).flatMap((policy) => policy.endpoints.filter(({ tls }) => tls === "skip"));
  for (const middleware of Object.values(found)) {
    if (middleware.onError !== "fail_closed") continue;
    for (const endpoint of unread) {
      const covered = middleware.include.some((pattern) => hostsOverlap(pattern, endpoint.host, budget));
      const spared = middleware.exclude.some((pattern) => pattern.toLowerCase() === endpoint.host);
      if (!covered || spared) continue;
      const at: Place = middleware;
      const message =
        `the middleware ${quote(middleware.name)} fails closed and can cover ${quote(endpoint.host)} ` +
        `(line ${endpoint.line}), which has tls: skip and cannot be inspected`;
      problems.error(at, message, "exclude the host, or write on_error: fail_open");
    }
  }
}
