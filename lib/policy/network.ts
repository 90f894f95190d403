import type { Place } from "./problem.ts";

export type Protocol = "" | "tcp" | "rest" | "websocket" | "graphql" | "sql" | "json-rpc" | "mcp";

/** Any one of the globs matches (openshell.md 1.7 has the glob's rules, which differ by field). */
export interface Matcher {
  readonly any: readonly string[];
}

/** The body of an allow or deny rule; empty fields match everything. */
export interface RuleBody extends Place {
  readonly method: string;
  readonly path: string;
  readonly command: string;
  readonly query: Readonly<Record<string, Matcher>>;
  readonly operationType: string;
  readonly operationName: string;
  readonly fields: readonly string[];
  readonly tool?: Matcher;
  /** Nested maps are flattened to dotted keys. */
  readonly params: Readonly<Record<string, Matcher>>;
}

/** One destination of a network policy, as validated; meanings in openshell.md 1.6. */
export interface NetworkEndpoint extends Place {
  /** Lower case; empty with `allowedIps` only: any host whose address is in the list. */
  readonly host: string;
  readonly ports: readonly number[];
  readonly path: string;
  readonly protocol: Protocol;
  readonly tls: "auto" | "skip";
  readonly enforcement: "audit" | "enforce";
  readonly access?: "read-only" | "read-write" | "full";
  readonly rules: readonly RuleBody[];
  readonly denyRules: readonly RuleBody[];
  readonly allowedIps: readonly string[];
  readonly allowEncodedSlash: boolean;
  readonly websocketCredentialRewrite: boolean;
  readonly requestBodyCredentialRewrite: boolean;
  readonly allowUninspectedCredentials: boolean;
  readonly credentialSigning: "" | "sigv4" | "sigv4:body" | "sigv4:no_body";
  readonly signingService: string;
  readonly signingRegion: string;
  readonly credentialProvider: string;
  readonly persistedQueries: "deny" | "allow_registered";
  readonly graphqlPersistedQueries: Readonly<Record<string, RegisteredQuery>>;
  readonly graphqlMaxBodyBytes: number;
  readonly jsonRpcMaxBodyBytes: number;
  readonly mcpStrictToolNames: boolean;
  readonly mcpAllowAllKnownMethods: boolean;
}

export interface RegisteredQuery {
  readonly operationType: string;
  readonly operationName: string;
  readonly fields: readonly string[];
}

/** Which programs an entry speaks of. */
export interface Binary {
  /** A path or glob. */
  readonly path: string;
  /** What its content has to be: SHA-256, lower-case hexadecimal. */
  readonly sha256?: string;
}

/** An entry of `network_policies`: an endpoint and a binary of the same entry must both match. */
export interface NetworkPolicy extends Place {
  readonly name: string;
  readonly endpoints: readonly NetworkEndpoint[];
  readonly binaries: readonly Binary[];
}

/** An entry of `network_middlewares`. */
export interface NetworkMiddleware extends Place {
  readonly name: string;
  readonly middleware: string;
  readonly order: number;
  readonly config: Readonly<Record<string, unknown>>;
  readonly onError: "fail_closed" | "fail_open";
  readonly include: readonly string[];
  readonly exclude: readonly string[];
}

/** The network section of a policy. */
interface Network {
  readonly networkPolicies: Readonly<Record<string, NetworkPolicy>>;
  readonly networkMode?: "log";
  readonly inference?: object;
}

/** Whether connections lead out at all. */
export function hasEgress({ networkPolicies, networkMode, inference }: Network): boolean {
  return networkMode === "log" || inference !== undefined || Object.keys(networkPolicies).length > 0;
}

/** Whoever asks: no program is told from another, so it does not matter who could have written it. */
export const anyProgram = "/**";

/** Whether a list's entry stands for every program. */
export function isAnyProgram({ path, sha256 }: Binary): boolean {
  return path === anyProgram && sha256 === undefined;
}

/**
 * Whether what may connect depends on the program, so that its identity has to hold. A draft names programs, so what
 * would hold of them is looked at where one is made.
 */
export function namesPrograms({ networkPolicies, networkMode }: Network): boolean {
  if (networkMode === "log") return true;
  return Object.values(networkPolicies).some(({ binaries }) => binaries.length > 0 && !binaries.some(isAnyProgram));
}

/** Whether what is said at an endpoint is read request by request, unless its TLS is passed on. */
export function readsRequests({ protocol }: NetworkEndpoint): boolean {
  return protocol === "rest" || protocol === "websocket";
}

/** Whether requests are looked at anywhere: then TLS is ended on the way, and programs inside must trust who ends it. */
export function hasInspection({ networkPolicies, inference }: Network): boolean {
  return (
    inference !== undefined ||
    Object.values(networkPolicies).some(({ endpoints }) =>
      endpoints.some((endpoint) => endpoint.tls !== "skip" && readsRequests(endpoint)),
    )
  );
}
