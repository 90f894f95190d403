import { isIP } from "node:net";
import { blockedOverlap, clusterPorts, readRange } from "./address.ts";
import { hostDoubt, hostFault, pathDoubt } from "./host-pattern.ts";
import type { NetworkEndpoint, Protocol } from "./network.ts";
import type { EndpointSection } from "./network-fields.ts";
import { record } from "./network-fields.ts";
import { quote } from "./problem.ts";
import type { Context } from "./reader.ts";
import { checkRules } from "./rules.ts";

/** What OpenShell inspects of a body when a policy says nothing, in bytes. */
const defaultBodyLimit = 65_536;

/** Fields that mean nothing, or something else, on a raw TCP endpoint. */
const notForTcp = [
  "path",
  "allow_encoded_slash",
  "websocket_credential_rewrite",
  "request_body_credential_rewrite",
  "credential_signing",
  "signing_service",
  "signing_region",
  "credential_binding",
  "persisted_queries",
  "graphql_persisted_queries",
  "graphql_max_body_bytes",
  "json_rpc",
  "mcp",
] as const;

/** Checks one endpoint as OpenShell's validators do (openshell.md 1.6 to 1.9), and makes the policy's form of it. */
export function checkEndpoint(found: EndpointSection, what: string, context: Context): NetworkEndpoint {
  checkHost(found, what, context);
  const ports = checkPorts(found, what, context);
  checkAddresses(found, what, context);
  checkPathAndTls(found, what, ports, context);
  checkSigning(found, what, context);
  // What depends on the protocol cannot be judged without it.
  if (!found.isBroken("protocol")) {
    checkProtocol(found, what, context);
    checkRules(found, what, context);
  }
  return build(found, ports);
}

function checkHost(found: EndpointSection, what: string, { problems }: Context): void {
  const { values } = found;
  const host = values.host ?? "";
  const at = found.valuePlace("host");
  if (found.isBroken("host")) return;
  if (host === "") {
    if (values.protocol === "tcp") {
      problems.error(at, `${what}: protocol tcp needs a DNS host`, "its name is what the sandbox asks for");
    } else if (values.protocol === "mcp") problems.error(at, `${what}: protocol mcp needs a host`);
    else if (!found.has("allowed_ips")) problems.error(at, `${what} needs a host, or allowed_ips`);
    return;
  }
  const fault = hostFault(host);
  if (fault !== undefined) problems.error(at, `${what}.host: ${fault}`, 'a pattern such as "*.example.com"');
  const doubt = hostDoubt(host);
  if (values.protocol === "tcp" && (isIP(host) !== 0 || host.endsWith(".") || /[{}[\]?]/.test(host))) {
    problems.error(at, `${what}.host is ${quote(host)}: protocol tcp needs a DNS host`);
  } else if (doubt !== undefined) problems.warning(at, `${what}.host is ${quote(host)}, which ${doubt}`);
}

function checkPorts(found: EndpointSection, what: string, context: Context): readonly number[] {
  const { values } = found;
  const several = values.ports ?? [];
  const single = values.port ?? 0;
  if (several.length > 0 && single > 0) {
    const message = `${what} has port and ports`;
    if (context.dialect === "openshell") context.problems.warning(found.place("port"), message, "ports counts");
    else context.problems.error(found.place("port"), message, "write ports alone");
  }
  if (several.length === 0 && single === 0 && !found.isBroken("port") && !found.isBroken("ports")) {
    context.problems.error(found.valuePlace("port"), `${what} needs a port`, "port: 443, or ports: [80, 443]");
  }
  const ports = several.length > 0 ? several.map((port) => port.value) : single > 0 ? [single] : [];
  const isPublicAlone = values.host?.includes("*") === true && !found.has("allowed_ips");
  for (const port of isPublicAlone ? [] : ports.filter((each) => clusterPorts.has(each))) {
    const at = found.place(several.length > 0 ? "ports" : "port");
    context.problems.warning(at, `${what}: port ${port} is a cluster's own and never dialled`);
  }
  return ports;
}

function checkAddresses(found: EndpointSection, what: string, { problems }: Context): void {
  for (const { value, at } of found.values.allowed_ips ?? []) {
    const range = readRange(value);
    if (range === undefined) {
      problems.error(at, `${what}.allowed_ips: ${quote(value)} is not an address or a range`, "10.0.5.0/24, fd00::/8");
      continue;
    }
    const blocked = blockedOverlap(range);
    if (blocked !== undefined) {
      problems.error(at, `${what}.allowed_ips: ${quote(value)} meets ${blocked}, which is never reached`);
    } else if (range.prefix < 16) {
      problems.warning(
        at,
        `${what}.allowed_ips: ${quote(value)} is wider than /16`,
        "name the networks that are meant",
      );
    }
  }
}

function checkPathAndTls(found: EndpointSection, what: string, ports: readonly number[], context: Context): void {
  const { values } = found;
  const { problems } = context;
  const path = values.path ?? "";
  if (path !== "" && path !== "**" && !path.startsWith("/")) {
    problems.error(found.valuePlace("path"), `${what}.path must start with "/" or be "**", not ${quote(path)}`);
  } else {
    const doubt = isInspected(values.protocol) ? pathDoubt(path, values.allow_encoded_slash === true) : undefined;
    if (doubt !== undefined) problems.warning(found.valuePlace("path"), `${what}.path: ${quote(path)} ${doubt}`);
  }
  if (values.tls === "terminate" || values.tls === "passthrough") {
    const hint = "leave it out, or write skip to pass the bytes on";
    problems.warning(found.valuePlace("tls"), `${what}.tls: ${values.tls} is deprecated and has no effect`, hint);
  }
  if (values.tls === "skip" && isInspected(values.protocol) && ports.includes(443)) {
    problems.warning(
      found.valuePlace("tls"),
      `${what}.tls: skip leaves nothing that ${values.protocol} rules could inspect`,
    );
  }
}

function isInspected(protocol: Protocol | undefined): boolean {
  return protocol !== undefined && protocol !== "" && protocol !== "tcp";
}

function checkProtocol(found: EndpointSection, what: string, { problems }: Context): void {
  const { values } = found;
  const protocol = values.protocol;
  const name = protocol ?? "";
  const family = protocol === "mcp" || protocol === "json-rpc";
  if (protocol === "tcp") {
    const fields = notForTcp.filter((field) => found.has(field));
    for (const field of fields) {
      problems.error(found.place(field), `${what}: protocol tcp is not inspected and cannot have ${field}`);
    }
  }
  if (isInspected(protocol) && !found.has("enforcement")) {
    const message = `${what} has no enforcement, so that its rules are logged and nothing is refused`;
    problems.warning(found.place("protocol"), message, "write enforcement: enforce");
  }
  if (protocol === "sql" && values.enforcement === "enforce") {
    problems.error(
      found.valuePlace("enforcement"),
      `${what}: protocol sql cannot be enforced`,
      "write enforcement: audit",
    );
  }
  const graphql = ["persisted_queries", "graphql_persisted_queries", "graphql_max_body_bytes"] as const;
  for (const field of graphql) {
    if (!found.has(field) || protocol === "graphql" || protocol === "websocket" || protocol === "tcp") continue;
    problems.warning(found.place(field), `${what}.${field} has no effect unless protocol is graphql or websocket`);
  }
  if (found.has("json_rpc") && !family && protocol !== "tcp") {
    problems.warning(found.place("json_rpc"), `${what}.json_rpc has no effect unless protocol is json-rpc or mcp`);
  }
  if (found.has("mcp") && protocol !== "mcp" && protocol !== "tcp") {
    problems.error(found.place("mcp"), `${what}.mcp is for protocol mcp, not ${quote(name)}`);
  }
  if (values.websocket_credential_rewrite && protocol !== "rest" && protocol !== "websocket" && protocol !== "tcp") {
    const message = `${what}.websocket_credential_rewrite has no effect unless protocol is rest or websocket`;
    problems.warning(found.place("websocket_credential_rewrite"), message);
  }
  if (values.request_body_credential_rewrite && protocol !== "rest" && protocol !== "tcp") {
    const message = `${what}.request_body_credential_rewrite has no effect unless protocol is rest`;
    problems.warning(found.place("request_body_credential_rewrite"), message);
  }
}

function checkSigning(found: EndpointSection, what: string, { problems }: Context): void {
  const { values } = found;
  if (values.credential_signing === undefined) return;
  const at = found.valuePlace("credential_signing");
  if ((values.signing_service ?? "") === "" && !found.isBroken("signing_service")) {
    problems.error(at, `${what}.credential_signing needs signing_service`, "the AWS service, such as s3 or bedrock");
  }
  if (values.request_body_credential_rewrite) {
    problems.error(at, `${what}: credential_signing and request_body_credential_rewrite exclude each other`);
  }
}

function build(found: EndpointSection, ports: readonly number[]): NetworkEndpoint {
  const { values } = found;
  const registered = [...(values.graphql_persisted_queries ?? [])].map(
    ([id, query]) =>
      [
        id,
        {
          value: Object.freeze({
            operationType: query.value.values.operation_type ?? "",
            operationName: query.value.values.operation_name ?? "",
            fields: Object.freeze([...(query.value.values.fields ?? [])]),
          }),
        },
      ] as const,
  );
  return Object.freeze({
    line: found.at.line,
    column: found.at.column,
    host: (values.host ?? "").toLowerCase(),
    ports: Object.freeze([...new Set(ports)]),
    path: values.path ?? "",
    protocol: values.protocol ?? "",
    tls: values.tls === "skip" ? "skip" : "auto",
    enforcement: values.enforcement ?? "audit",
    ...(values.access === undefined ? {} : { access: values.access }),
    rules: Object.freeze((values.rules ?? []).map((rule) => rule.body)),
    denyRules: Object.freeze((values.deny_rules ?? []).map((rule) => rule.body)),
    allowedIps: Object.freeze((values.allowed_ips ?? []).map((range) => range.value.trim().toLowerCase())),
    allowEncodedSlash: values.allow_encoded_slash ?? false,
    websocketCredentialRewrite: values.websocket_credential_rewrite ?? false,
    requestBodyCredentialRewrite: values.request_body_credential_rewrite ?? false,
    allowUninspectedCredentials: values.allow_uninspected_credentials ?? false,
    credentialSigning: values.credential_signing ?? "",
    signingService: values.signing_service ?? "",
    signingRegion: values.signing_region ?? "",
    credentialProvider: values.credential_binding?.values.provider ?? "",
    persistedQueries: values.persisted_queries ?? "deny",
    graphqlPersistedQueries: record(new Map(registered)),
    graphqlMaxBodyBytes: values.graphql_max_body_bytes ?? defaultBodyLimit,
    jsonRpcMaxBodyBytes:
      values.mcp?.values.max_body_bytes ?? values.json_rpc?.values.max_body_bytes ?? defaultBodyLimit,
    mcpStrictToolNames: values.mcp?.values.strict_tool_names ?? true,
    mcpAllowAllKnownMethods: values.mcp?.values.allow_all_known_mcp_methods ?? false,
  });
}
