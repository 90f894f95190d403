import { pathDoubt } from "./host-pattern.ts";
import type { Matcher } from "./network.ts";
import type { EndpointSection, ReadRule } from "./network-fields.ts";
import type { Place } from "./problem.ts";
import { quote } from "./problem.ts";
import type { Context } from "./reader.ts";

const httpMethods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "*"];
const websocketMethods = ["GET", "WEBSOCKET_TEXT", "*"];
const operationTypes = ["query", "mutation", "subscription"];

/** Checks an endpoint's access preset, rules and deny_rules against each other and its protocol (openshell.md 1.6, 1.11). */
export function checkRules(found: EndpointSection, what: string, context: Context): void {
  checkAllowBase(found, what, context);
  const { values } = found;
  for (const [id, query] of values.graphql_persisted_queries ?? []) {
    const of = `${what}.graphql_persisted_queries.${id}`;
    // Missing, it is the query's own fault.
    const at = query.value.has("operation_type") ? query.value.valuePlace("operation_type") : query.at;
    if (!query.value.isBroken("operation_type")) {
      checkOperationType(query.value.values.operation_type ?? "", at, of, context);
    }
  }
  for (const [index, rule] of (values.rules ?? []).entries()) {
    checkRule(found, rule, `${what}.rules[${index}].allow`, "allow", context);
  }
  for (const [index, rule] of (values.deny_rules ?? []).entries()) {
    checkRule(found, rule, `${what}.deny_rules[${index}]`, "deny", context);
  }
}

/** What lets anything through at all. */
function checkAllowBase(found: EndpointSection, what: string, { problems }: Context): void {
  const { values } = found;
  const protocol = values.protocol;
  const rulesAt = found.valuePlace("rules");
  const denyAt = found.valuePlace("deny_rules");
  const hasRules = found.has("rules");
  const hasAccess = found.has("access");
  if (values.rules?.length === 0) {
    problems.error(rulesAt, `${what}.rules is empty, which would refuse everything`, "write access: full, or rules");
  }
  if (values.deny_rules?.length === 0) problems.error(denyAt, `${what}.deny_rules is empty`, "leave it out");
  if (hasRules && hasAccess) problems.error(found.place("access"), `${what}: rules and access exclude each other`);
  if (protocol === undefined || protocol === "" || protocol === "tcp") {
    const name =
      protocol === "tcp" ? "protocol tcp is not inspected and cannot have" : "without a protocol there is no";
    for (const key of ["rules", "deny_rules"] as const) {
      if (found.has(key)) problems.error(found.place(key), `${what}: ${name} ${key}`, "write protocol: rest");
    }
    if (protocol === "tcp" && hasAccess) problems.error(found.place("access"), `${what}: ${name} access`);
    return;
  }
  if ((protocol === "mcp" || protocol === "json-rpc") && hasAccess) {
    const hint = protocol === "mcp" ? "mcp.allow_all_known_mcp_methods: true, or rules" : 'rules with method: "*"';
    problems.error(found.place("access"), `${what}: protocol ${protocol} has no access presets`, hint);
  } else if (!hasRules && !hasAccess) {
    if (protocol === "mcp" && allowsAllMethods(found)) return;
    const hint = protocol === "json-rpc" || protocol === "mcp" ? "write rules" : "write access: read-only, or rules";
    problems.error(found.valuePlace("protocol"), `${what}: protocol ${protocol} has nothing that it allows`, hint);
  }
}

/** Whether an mcp endpoint needs no rules; also where that was written in a way that is already reported. */
function allowsAllMethods(found: EndpointSection): boolean {
  const options = found.values.mcp;
  const key = "allow_all_known_mcp_methods";
  return found.isBroken("mcp") || options?.values[key] === true || options?.isBroken(key) === true;
}

function checkRule(
  found: EndpointSection,
  rule: ReadRule,
  what: string,
  kind: "allow" | "deny",
  context: Context,
): void {
  const protocol = found.values.protocol;
  const { problems } = context;
  const { section, body } = rule;
  const isHttp = protocol === "rest" || protocol === "websocket";
  if (isHttp) {
    const known = protocol === "rest" ? httpMethods : websocketMethods;
    if (body.method !== "" && !known.includes(body.method.toUpperCase())) {
      const message = `${what}.method is ${quote(body.method)}, which is not a standard method`;
      problems.warning(section.valuePlace("method"), message, `known: ${known.join(", ")}`);
    }
  }
  if (body.path.endsWith("/**/")) {
    problems.warning(
      section.valuePlace("path"),
      `${what}.path: ${quote(body.path)} matches only paths that end in "/"`,
      'write "/**"',
    );
  }
  const doubt = isHttp ? pathDoubt(body.path, found.values.allow_encoded_slash === true) : undefined;
  if (doubt !== undefined) {
    problems.warning(section.valuePlace("path"), `${what}.path: ${quote(body.path)} ${doubt}`);
  }
  if (protocol === "rest" && body.command !== "") {
    problems.warning(section.place("command"), `${what}.command has no effect unless protocol is sql`);
  }
  if (protocol === "json-rpc") checkJsonRpc(rule, what, context);
  else if (protocol === "mcp") checkMcp(found, rule, what, kind, context);
  else {
    for (const key of ["tool", "params"] as const) {
      if (section.has(key)) problems.error(section.place(key), `${what}.${key} is for protocol mcp`);
    }
  }
  checkGraphql(found, rule, what, context);
}

function hasGlob(value: string): boolean {
  return /[*?[\]{}]/.test(value);
}

function refusePathAndQuery(rule: ReadRule, what: string, protocol: string, { problems }: Context): void {
  for (const key of ["path", "query"] as const) {
    const used = key === "path" ? rule.body.path !== "" : Object.keys(rule.body.query).length > 0;
    if (used)
      problems.error(rule.section.place(key), `${what}.${key}: protocol ${protocol} has no ${key}`, "use method");
  }
}

function checkJsonRpc(rule: ReadRule, what: string, context: Context): void {
  const { problems } = context;
  const { section, body } = rule;
  if (section.isBroken("method")) return;
  if (body.method === "") problems.error(section.valuePlace("method"), `${what}.method is missing`);
  else if (body.method !== "*" && hasGlob(body.method)) {
    const message = `${what}.method: JSON-RPC methods are exact, or "*", not ${quote(body.method)}`;
    problems.error(section.valuePlace("method"), message);
  }
  if (section.has("params")) {
    problems.error(section.place("params"), `${what}.params: JSON-RPC rules do not support params matchers`);
  }
  if (section.has("tool")) problems.error(section.place("tool"), `${what}.tool is for protocol mcp`);
  refusePathAndQuery(rule, what, "json-rpc", context);
}

function namesTool(rule: ReadRule): boolean {
  return rule.section.has("tool") || Object.hasOwn(rule.body.params, "name");
}

/** Whether a method matcher takes in `tools/call`. */
function coversToolCalls(method: string): boolean {
  if (method === "tools/call") return true;
  const pattern = method
    .replaceAll(/[.+^$()|\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  try {
    return hasGlob(method) && new RegExp(`^(?:${pattern})$`, "u").test("tools/call");
  } catch {
    return false;
  }
}

function checkMcp(
  found: EndpointSection,
  rule: ReadRule,
  what: string,
  kind: "allow" | "deny",
  context: Context,
): void {
  const { problems } = context;
  const { section, body } = rule;
  const options = found.values.mcp?.values;
  const methodAt = section.valuePlace("method");
  const tool = namesTool(rule);
  if (body.method === "") {
    if (!section.isBroken("method") && !allowsAllMethods(found)) {
      problems.error(methodAt, `${what}.method is missing`, "or write mcp.allow_all_known_mcp_methods: true");
    }
  } else {
    if (hasGlob(body.method) && !body.method.startsWith("tools/")) {
      problems.error(methodAt, `${what}.method: MCP methods have globs only under "tools/", not ${quote(body.method)}`);
    }
    if (tool && body.method !== "tools/call") {
      problems.error(methodAt, `${what}.method must be tools/call beside a tool, not ${quote(body.method)}`);
    }
  }
  const selective = (found.values.rules ?? []).some(namesTool);
  if (selective && !tool && coversToolCalls(body.method)) {
    const message = `${what}.method ${kind === "allow" ? "allows" : "denies"} every tool call, against the rules that name tools`;
    problems.error(methodAt, message, "name the tools here, or take them out there");
  }
  if (section.has("tool") && Object.hasOwn(body.params, "name")) {
    problems.error(section.place("tool"), `${what} has tool and params.name`, "write one of them");
  }
  for (const key of Object.keys(body.params)) {
    if (key !== "name") {
      problems.error(
        section.place("params"),
        `${what}.params.${key}: tool arguments cannot be matched`,
        "only params.name",
      );
    }
  }
  if (options?.strict_tool_names === false) {
    refuseToolGlobs(body.tool, section.place("tool"), `${what}.tool`, context);
    refuseToolGlobs(body.params["name"], section.place("params"), `${what}.params.name`, context);
  }
  refusePathAndQuery(rule, what, "mcp", context);
}

function refuseToolGlobs(matcher: Matcher | undefined, at: Place, what: string, { problems }: Context): void {
  if (matcher?.any.some(hasGlob)) {
    problems.error(at, `${what}: patterns of tool names need mcp.strict_tool_names`, "leave strict_tool_names out");
  }
}

function usesGraphql(rule: ReadRule): boolean {
  return rule.body.operationType !== "" || rule.body.operationName !== "" || rule.section.has("fields");
}

/** Whether a WebSocket endpoint judges GraphQL operations in its messages. */
export function hasGraphqlPolicy(found: EndpointSection): boolean {
  const { values } = found;
  return (
    (values.graphql_persisted_queries?.size ?? 0) > 0 ||
    values.persisted_queries === "allow_registered" ||
    (values.rules ?? []).some(usesGraphql) ||
    (values.deny_rules ?? []).some(usesGraphql)
  );
}

function checkGraphql(found: EndpointSection, rule: ReadRule, what: string, context: Context): void {
  const protocol = found.values.protocol;
  const { problems } = context;
  const { section, body } = rule;
  const used = usesGraphql(rule);
  if (protocol === "websocket" && hasGraphqlPolicy(found) && body.method.toUpperCase() === "WEBSOCKET_TEXT") {
    const message = `${what}.method: WEBSOCKET_TEXT cannot stand beside GraphQL rules`;
    problems.error(section.valuePlace("method"), message, "name operation_type and fields instead");
  }
  if (protocol === "websocket" && used && (section.has("method") || section.has("path") || section.has("query"))) {
    problems.error(
      section.at,
      `${what} combines method, path or query with GraphQL operation fields`,
      "split it in two",
    );
  }
  if (protocol === "graphql" || (protocol === "websocket" && used)) {
    if (!section.isBroken("operation_type")) {
      checkOperationType(body.operationType, section.valuePlace("operation_type"), what, context);
    }
    if (section.has("fields") && section.values.fields?.length === 0) {
      problems.error(section.place("fields"), `${what}.fields is empty`, "leave it out to match every field");
    }
  } else if (used) {
    problems.warning(section.at, `${what}: GraphQL fields have no effect unless protocol is graphql or websocket`);
  }
}

function checkOperationType(type: string, at: Place, what: string, { problems }: Context): void {
  const expected = `one of ${operationTypes.join(", ")}`;
  if (type === "") problems.error(at, `${what}.operation_type is missing`, expected);
  else if (!operationTypes.includes(type.toLowerCase())) {
    problems.error(at, `${what}.operation_type is ${quote(type)}`, expected);
  }
}
