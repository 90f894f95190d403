import { isIP } from "node:net";
import { isPlainHost, pathSpecificity } from "../policy/host-pattern.ts";
import { writeHostPort } from "../policy/host-port.ts";
import { type NetworkEndpoint, type NetworkPolicy, type Protocol, readsRequests } from "../policy/network.ts";
import type { Policy } from "../policy/policy.ts";
import {
  type AddressRule,
  addressFault,
  compileRanges,
  isHostName,
  portFault,
  reachOf,
  sameAddress,
} from "./addresses.ts";
import { type Binding, Bindings } from "./bindings.ts";
import type { Flow, Program, ProgramDoubt, Reason, Request, Verdict } from "./flow.ts";
import { compileGlob, type Glob, hostGlob } from "./glob.ts";
import { contentFault, programMatcher } from "./program-match.ts";
import { lazyParameters, type Rule, RuleIndex, rulesOf } from "./rules.ts";

/** An endpoint with the entry that it stands in. */
interface Destination {
  readonly key: string;
  readonly entry: Entry;
  readonly endpoint: NetworkEndpoint;
}

interface Entry {
  readonly key: string;
  readonly policy: NetworkPolicy;
  readonly grants: (program: Program) => boolean;
}

/**
 * What one program may do at one host and port. Everything that a request needs is compiled into it, and it is made once
 * for each program and destination.
 */
export interface Grant {
  /** How the bytes are carried: `tcp` and `tunnel` pass them on, `inspect` reads requests. */
  readonly carry: "tcp" | "tunnel" | "inspect";
  /** The entry that is named in records: the first by name. */
  readonly policy: string;
  readonly host: string;
  readonly port: number;
  readonly program: string;
  readonly addresses: AddressRule;
  /** Whether an endpoint keeps `%2F` in paths. */
  readonly encodedSlash: boolean;
  readonly endpoints: readonly NetworkEndpoint[];
  /** Null where nothing is inspected. */
  readonly requests: RequestRules | null;
  /** Which credentials requests may carry here; empty as a rule. */
  readonly credentials: readonly Binding[];
  /** Those that any program's requests may carry here: none is to be in an answer. */
  readonly scrubbed: readonly string[];
  /** Set where no entry grants it but `--net log` does: what was missing. */
  readonly missing?: Verdict;
}

interface RequestRules {
  readonly allow: RuleIndex;
  readonly deny: RuleIndex;
  /** Most specific path first. */
  readonly configurations: readonly { readonly matches: Glob; readonly endpoint: NetworkEndpoint }[];
}

export type Connection = { readonly grant: Grant } | Refused;

interface Refused {
  readonly refusal: Verdict;
  /** Whether the endpoint is an inspected one of other programs: then HTTP is spoken there, and the refusal can be said. */
  readonly isInspected?: boolean;
}

/** Hosts and programs beyond this many are decided anew each time: what a sandbox asks for must not fill memory. */
const mostKept = 4096;

/**
 * A policy's network section, compiled once. `connect` answers for a connection, `request` for a request on it; both
 * follow from the policy and the flow alone.
 */
export class NetworkDecision {
  readonly #entries: readonly Entry[];
  readonly #exact = new Map<string, Destination[]>();
  readonly #patterns: { readonly matches: Glob; readonly destination: Destination }[] = [];
  readonly #hostless: Destination[] = [];
  readonly #kept = new Map<string, Connection>();
  readonly #bindings: Bindings;
  /** Whether what no entry grants is permitted as well. */
  readonly #isLog: boolean;

  constructor(policy: Pick<Policy, "networkPolicies" | "networkMode" | "credentials">) {
    this.#bindings = new Bindings(policy);
    this.#isLog = policy.networkMode === "log";
    this.#entries = Object.entries(policy.networkPolicies)
      .map(([key, entry]): Entry => ({ key, policy: entry, grants: programMatcher(entry.binaries) }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    for (const entry of this.#entries) {
      for (const endpoint of entry.policy.endpoints) this.#add({ key: entry.key, entry, endpoint });
    }
  }

  #add(destination: Destination): void {
    const { host } = destination.endpoint;
    if (host === "") this.#hostless.push(destination);
    else if (host.includes("*")) this.#patterns.push({ matches: hostGlob(host), destination });
    else {
      const known = this.#exact.get(host);
      if (known === undefined) this.#exact.set(host, [destination]);
      else known.push(destination);
    }
  }

  /** Whether the sandbox may be told of a name at all. A question about one has no program, so any entry's will do. */
  knows(name: string): boolean {
    return this.#at(name).length > 0 || (this.#isLog && isPlainHost(name));
  }

  #at(host: string): readonly Destination[] {
    const found = [...(this.#exact.get(host) ?? [])];
    if (isIP(host) === 6) {
      for (const [name, destinations] of this.#exact) {
        if (name !== host && isIP(name) === 6 && sameAddress(name, host)) found.push(...destinations);
      }
    }
    // A pattern is of labels: no address and no name that ends in a dot has them.
    if (isIP(host) === 0 && !host.includes("\0")) {
      for (const { matches, destination } of this.#patterns) if (matches(host)) found.push(destination);
    }
    // What it stands for is looked up outside, so it has to be a name that can be.
    return this.#hostless.length > 0 && isPlainHost(host) ? [...found, ...this.#hostless] : found;
  }

  /** Whether, and how, a program's connection is carried. */
  connect(program: Program | null, host: string, port: number): Connection {
    const key =
      program === null ? "" : `${program.doubt ?? ""}\0${program.sha256 ?? ""}\0${program.path}\0${host}\0${port}`;
    const kept = this.#kept.get(key);
    if (kept !== undefined && key !== "") return kept;
    const made = this.#orLogged(this.#connect(program, host, port), program, host, port);
    if (this.#kept.size >= mostKept) this.#kept.clear();
    if (key !== "") this.#kept.set(key, made);
    return made;
  }

  #orLogged(connection: Connection, program: Program | null, host: string, port: number): Connection {
    if (!this.#isLog || !("refusal" in connection) || !isPlainHost(host)) return connection;
    // Another content than the one that was pinned is refused by name.
    if (connection.refusal.expectedSha256 !== undefined) return connection;
    return { grant: logGrant(connection.refusal, program, host, port) };
  }

  #connect(program: Program | null, host: string, port: number): Connection {
    const named = this.#at(host);
    const destinations = named.filter(({ endpoint }) => endpoint.ports.includes(port));
    const where = writeHostPort(host, port);
    if (destinations.length === 0) {
      const isNamed = named.some(({ endpoint }) => endpoint.host !== "");
      const reason: Reason = isNamed ? "port" : "host";
      const detail = isNamed ? `no endpoint names port ${port} of ${host}` : `no endpoint names ${host}`;
      // A flag that names what is never dialled is refused itself.
      const isNameable = port > 0 && isPlainHost(host) && (isIP(host) === 0 || reachOf(host) !== "never");
      return { refusal: refuse(reason, detail, null, isNameable ? `--allow ${where}` : undefined) };
    }
    const [first] = destinations;
    const policy = first?.key ?? null;
    const isInspected = destinations.every(({ endpoint }) => endpoint.tls !== "skip" && readsRequests(endpoint));
    const refused = (refusal: Verdict): Refused => ({ refusal, isInspected });
    if (program === null) return refused(refuse("identity", "the program that connects could not be told", policy));
    const granted = destinations.filter(({ entry }) => entry.grants(program));
    if (granted.length === 0) {
      if (program.doubt !== undefined && program.doubt !== "changed")
        return refused(refuse("identity", `${program.path} ${doubts[program.doubt]}`, policy));
      const binaries = destinations.flatMap(({ entry }) => entry.policy.binaries);
      const fault = contentFault(program, binaries);
      if (fault !== undefined)
        return refused({ ...refuse("identity", fault.detail, policy), expectedSha256: fault.expected });
      const names = [...new Set(binaries.map(({ path }) => path))];
      const who = names.length === 0 ? "no program" : names.join(", ");
      const detail = `${where} is granted to ${who}, not to ${program.path}`;
      return refused(refuse("program", detail, policy, `--allow ${where} --allow-binary ${program.path}`));
    }
    const credentials = this.#bindings.of(program, host, port);
    const scrubbed = this.#bindings.namesAt(host, port);
    return { grant: { ...grantOf(granted, host, port, program.path), credentials, scrubbed } };
  }

  /** Whether an address that the host's name led to may be dialled. */
  address(grant: Grant, address: string): Verdict {
    const fault = addressFault(address, grant.port, grant.addresses);
    if (fault === undefined) return allow(grant.policy, whereOf(grant), "the address may be dialled");
    // A flag names the host, and whoever names one knows where it leads.
    const { exact, literal, allowed } = grant.addresses;
    const isNameable = (reachOf(address) === "private" || isHostName(grant.host)) && allowed === undefined;
    const remedy = isNameable && !exact && literal === undefined ? `--allow ${whereOf(grant)}` : undefined;
    return refuse("address", fault, grant.policy, remedy);
  }

  /** The protocol of the endpoint that a path of an inspected connection belongs to. */
  protocolOf(grant: Grant, path: string): Protocol {
    return configurationOf(grant, path)?.protocol ?? "";
  }

  /** Whether a request on an inspected connection is carried. */
  request(grant: Grant, request: Request): Verdict {
    const verdict = this.#request(grant, request);
    for (const method of request.alsoMethods ?? []) {
      if (!verdict.allowed) break;
      const also = this.#request(grant, { ...request, method });
      if (!also.allowed || also.reason !== undefined)
        return { ...also, method, detail: `${also.detail} (named by a field of the ${request.method})` };
    }
    return verdict;
  }

  #request(grant: Grant, request: Request): Verdict {
    const { requests } = grant;
    if (requests === null) return allow(grant.policy, whereOf(grant), "nothing is inspected here");
    const asked = `${request.method} ${request.path}`;
    const configuration = configurationOf(grant, request.path);
    if (configuration === undefined) {
      const detail = `no endpoint of ${whereOf(grant)} has the path ${request.path}`;
      return this.#orUnlisted(refuse("path", detail, grant.policy, remedyFor(grant, request)));
    }
    if (!configuration.allowEncodedSlash && /%2F/i.test(request.path)) {
      return refuse("malformed", "the path holds an encoded slash (allow_encoded_slash lets it pass)", grant.policy);
    }
    const parameters = lazyParameters(request.query);
    const denied = requests.deny.find(request, parameters, "deny");
    const allowed = denied === undefined ? requests.allow.find(request, parameters, "allow") : undefined;
    if (allowed !== undefined) return allow(allowed.policy, allowed.text, `${asked} is allowed`);
    const refusal =
      denied === undefined
        ? refuse("rule", `no rule allows ${asked} at ${grant.host}`, grant.policy, remedyFor(grant, request))
        : { ...refuse("deny-rule", `${asked} is denied by ${denied.text}`, denied.policy), rule: denied.text };
    if (configuration.enforcement !== "enforce") return { ...refusal, allowed: true };
    return denied === undefined ? this.#orUnlisted(refusal) : refusal;
  }

  #orUnlisted(refusal: Verdict): Verdict {
    return this.#isLog ? { ...refusal, allowed: true, unlisted: true } : refusal;
  }
}

const doubts: Readonly<Record<Exclude<ProgramDoubt, "changed">, string>> = {
  writable: "lies where the sandbox can write, or was changed by another name: what it is cannot be told by its path",
  deleted: "has been deleted: what it was cannot be told",
  "foreign-code": "has code of a file mapped that the sandbox can write",
};

/** The whole of it, from the policy and one flow: what `holdfast policy test` and the proxy both ask. */
export function decide(decision: NetworkDecision, flow: Flow): Verdict {
  const connection = decision.connect(flow.program, flow.host, flow.port);
  if ("refusal" in connection) return connection.refusal;
  const { grant } = connection;
  // A name has yet to be looked up; an address is what it is.
  const address = isIP(flow.host) === 0 ? undefined : decision.address(grant, flow.host);
  if (address?.allowed === false) return address;
  const fault = address === undefined ? portFault(flow.port, grant.addresses) : undefined;
  if (fault !== undefined) return refuse("address", fault, grant.policy);
  if (flow.request !== undefined) return decision.request(grant, flow.request);
  const where = address === undefined && grant.addresses.allowed !== undefined ? " to what is in allowed_ips" : "";
  return permit(grant, `${grant.program} may connect${where} (${grant.carry})`);
}

/** It was permitted, and led nowhere, for which whoever wrote the policy is not to be blamed. */
export function unreachable(grant: Grant, cause: unknown): Verdict {
  const detail = cause instanceof Error ? cause.message : String(cause);
  return { ...permit(grant, detail), detail, reason: "unreachable" };
}

/** A connection is carried by its grant. */
export function permit(grant: Grant, detail: string): Verdict {
  const verdict = allow(grant.policy, whereOf(grant), detail);
  const { missing } = grant;
  if (missing === undefined) return verdict;
  const reason = missing.reason === undefined ? {} : { reason: missing.reason };
  return { ...verdict, ...reason, detail: `${detail}: ${missing.detail}`, unlisted: true };
}

/** The endpoint whose settings hold for a path of an inspected connection. */
export function configurationOf({ requests }: Grant, path: string): NetworkEndpoint | undefined {
  return requests?.configurations.find(({ matches }) => matches(path))?.endpoint;
}

function allow(policy: string, rule: string, detail: string): Verdict {
  return { allowed: true, policy, rule, detail };
}

function refuse(reason: Reason, detail: string, policy: string | null, remedy?: string): Verdict {
  return { allowed: false, policy, rule: null, reason, detail, ...(remedy === undefined ? {} : { remedy }) };
}

function whereOf({ host, port }: Grant): string {
  return writeHostPort(host, port);
}

/** A rule of the policy, or, where a flag granted the connection, the flag. */
function remedyFor(grant: Grant, { method, path }: Request): string {
  if (!grant.policy.startsWith("--allow ")) {
    const pattern = path.replaceAll("*", "\\*");
    // As YAML, and as a person would write it.
    const text = /^\/[\w./~%@+=-]*$/.test(pattern) ? pattern : JSON.stringify(pattern);
    return `- allow: { method: ${method}, path: ${text} }`;
  }
  const word = `${whereOf(grant)}${path}`;
  return `--allow ${/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`}`;
}

function grantOf(
  granted: readonly Destination[],
  host: string,
  port: number,
  program: string,
): Omit<Grant, "credentials" | "scrubbed"> {
  const endpoints = granted.map(({ endpoint }) => endpoint);
  const inspected = granted.filter(({ endpoint }) => readsRequests(endpoint));
  const isSkipped = endpoints.some(({ tls }) => tls === "skip");
  const isTcp = endpoints.some(({ protocol }) => protocol === "tcp");
  const carry = isTcp ? "tcp" : isSkipped || inspected.length === 0 ? "tunnel" : "inspect";
  const exact = endpoints.some((endpoint) => endpoint.host === host);
  const ranges = endpoints.flatMap(({ allowedIps }) => allowedIps);
  return {
    carry,
    policy: granted[0]?.key ?? "",
    host,
    port,
    program,
    addresses: {
      allowed: ranges.length > 0 ? compileRanges(ranges) : undefined,
      literal: isIP(host) === 0 ? undefined : host,
      exact,
      isThisHost: exact && isHostName(host),
    },
    encodedSlash: endpoints.some(({ allowEncodedSlash }) => allowEncodedSlash),
    endpoints,
    requests: carry === "inspect" ? requestRules(inspected) : null,
  };
}

/** Nobody named the host, so that it may lead to public addresses alone. */
function logGrant(missing: Verdict, program: Program | null, host: string, port: number): Grant {
  return {
    ...{ carry: "tunnel", policy: "--net log", host, port, program: program?.path ?? "an unknown program" },
    addresses: { allowed: undefined, literal: undefined, exact: false, isThisHost: false },
    ...{ encodedSlash: false, endpoints: [], requests: null, credentials: [], scrubbed: [], missing },
  };
}

function requestRules(inspected: readonly Destination[]): RequestRules {
  const all = inspected.map(({ key, endpoint }) => rulesOf(key, endpoint));
  const pathOf = ({ text }: Rule): string => text.slice(text.indexOf(" ") + 1);
  return {
    allow: new RuleIndex(
      all.flatMap(({ allow: rules }) => rules),
      pathOf,
    ),
    deny: new RuleIndex(
      all.flatMap(({ deny }) => deny),
      pathOf,
    ),
    configurations: inspected
      .map(({ endpoint }) => ({ matches: configurationGlob(endpoint.path), endpoint }))
      .sort((a, b) => pathSpecificity(b.endpoint.path) - pathSpecificity(a.endpoint.path)),
  };
}

/** The engine that chooses an endpoint's settings lets a star cross slashes, and `/x/**` stand for `/x` too. */
function configurationGlob(path: string): Glob {
  if (path === "" || path === "**" || path === "/**") return () => true;
  const crossing = [path, path.replaceAll("**/", ""), ...(path.endsWith("/**") ? [path.slice(0, -3)] : [])].map((one) =>
    compileGlob(one, "\0"),
  );
  return (text) => crossing.some((matches) => matches(text));
}
