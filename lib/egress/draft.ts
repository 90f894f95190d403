import { isIP } from "node:net";
import { comparisonBudget, hostsOverlap } from "../policy/host-pattern.ts";
import { writeHostPort } from "../policy/host-port.ts";
import { parsePolicy } from "../policy/load.ts";
import { anyProgram, type NetworkEndpoint, type NetworkPolicy } from "../policy/network.ts";
import { decide, NetworkDecision } from "./decide.ts";
import { insertEntries, type WrittenEntry } from "./draft-text.ts";
import type { Unlisted, UnlistedLog } from "./unlisted.ts";

/** What a draft adds to. */
export interface DraftBase {
  /** The policy file that held, as it was read. */
  readonly text: string;
  /** What flags granted besides. */
  readonly flags: Readonly<Record<string, NetworkPolicy>>;
}

export interface Draft {
  /** A policy file that permits what it can of a run. */
  readonly text: string;
  /** What it permits of what no entry had granted. */
  readonly permitted: readonly Unlisted[];
  /** What it cannot permit, and why. */
  readonly leftOut: readonly { readonly connection: Unlisted; readonly why: string }[];
  /** Whether the entries stand in the base's text; else that could not be added to, and they stand alone. */
  readonly isWhole: boolean;
}

const header = [
  "A draft of `holdfast run --net log`: what one run connected to. Read it before you use it: each line permits its programs",
  "to say anything to its host. `protocol: rest` and rules narrow that.",
];

/** What an entry of a draft has to agree with. */
interface Surroundings {
  /** Endpoints of the policy that held. */
  readonly given: readonly NetworkEndpoint[];
  /** Where requests are read. */
  readonly readPlaces: ReadonlySet<string>;
}

/** The policy that would have permitted what `--net log` permitted. Pure, and judged by the decision that will judge by it. */
export function draftPolicy({ text, flags }: DraftBase, { connections, isCut }: UnlistedLog): Draft {
  const networkPolicies = { ...parsePolicy(text).policy?.networkPolicies, ...flags };
  const around: Surroundings = {
    given: Object.values(networkPolicies).flatMap(({ endpoints }) => endpoints),
    readPlaces: new Set(connections.filter(({ request }) => request !== undefined).map(placeOf)),
  };
  const faults = connections.map((one) => faultOf(one, around));
  const usable = connections.filter((_, index) => faults[index] === undefined);
  const taken = new Set(Object.keys(networkPolicies));
  const entries = [...flagEntries(flags, taken), ...programEntries(usable, around, taken)];
  const comments = [
    // With nothing to add it is the policy that held.
    ...(text.includes(header[0] ?? "") || (connections.length === 0 && entries.length === 0) ? [] : header),
    ...(isCut ? ["There was more than is kept: this is not all of it."] : []),
    ...new Set(
      connections.flatMap((one, index) =>
        faults[index] === undefined ? [] : [`Not in it: ${describeUnlisted(one)}: ${faults[index]}.`],
      ),
    ),
  ];
  const merged = insertEntries(text, comments, entries);
  const isWhole = merged !== undefined && parsePolicy(merged).policy !== null;
  const drafted = isWhole ? merged : (insertEntries("holdfast: 1\nversion: 1\n", comments, entries) ?? "");
  const { policy } = parsePolicy(drafted);
  const decision = policy === null ? null : new NetworkDecision(policy);
  const judged = connections.map((connection, index) => ({
    connection,
    why: faults[index] ?? refusalOf(decision, connection),
  }));
  return {
    text: drafted,
    isWhole,
    permitted: judged.flatMap(({ connection, why }) => (why === undefined ? [connection] : [])),
    leftOut: judged.flatMap(({ connection, why }) => (why === undefined ? [] : [{ connection, why }])),
  };
}

export function describeUnlisted({ program, host, port, request }: Unlisted): string {
  const place = `${writeHostPort(host, port)} by ${program ?? "an unknown program"}`;
  return request === undefined ? place : `${request.method} ${request.path} at ${place}`;
}

/** Why a program cannot be named, so that an entry for it is one for every program; undefined where it can. */
function namelessness({ program, doubt }: Unlisted): string | undefined {
  if (doubt === "writable") return "which the sandbox can write";
  if (doubt === "foreign-code") return "with code that the sandbox can write";
  return program?.includes("*") === true ? "whose name would be a pattern" : undefined;
}

/** Why no entry could permit it. */
function faultOf(one: Unlisted, { given, readPlaces }: Surroundings): string | undefined {
  const { program, doubt, host, isOpaque, request } = one;
  if (program === null) return "the program could not be told";
  if (doubt === "deleted") return "the program was deleted, so that what it was cannot be told";
  if (request !== undefined && [request.method, ...(request.alsoMethods ?? [])].includes("*"))
    return "a rule for this method would be one for every method";
  if (!isOpaque) return undefined;
  if (isIP(host) !== 0) return "TLS to an address that hides the name that it asks for";
  const isRead = readPlaces.has(placeOf(one)) || given.some((other) => isAt(other, one) && other.protocol !== "tcp");
  return isRead ? "TLS that asks for another name, or hides it, where another entry looks at it" : undefined;
}

/** What the draft itself says of it. */
function refusalOf(
  decision: NetworkDecision | null,
  { program, doubt, host, port, request }: Unlisted,
): string | undefined {
  if (decision === null) return "the draft cannot be read";
  const flow = {
    program:
      program === null ? null : { path: program, ...(doubt === undefined || doubt === "changed" ? {} : { doubt }) },
    host,
    port,
  };
  const { allowed, detail } = decide(decision, request === undefined ? flow : { ...flow, request });
  return allowed ? undefined : detail;
}

function isAt({ host, ports }: NetworkEndpoint, one: Unlisted): boolean {
  return ports.includes(one.port) && hostsOverlap(host, one.host, comparisonBudget());
}

function flagEntries(flags: DraftBase["flags"], taken: Set<string>): WrittenEntry[] {
  return Object.entries(flags).map(([key, { endpoints, binaries }]) => ({
    key: freeKey(key.replace(/^--allow /, "").replace(/[^\w.-]+/g, "-"), taken),
    endpoints: endpoints.map((endpoint) => ({ fields: fieldsOf(endpoint) })),
    binaries: binaries.map(({ path }) => path),
  }));
}

function programEntries(usable: readonly Unlisted[], around: Surroundings, taken: Set<string>): WrittenEntry[] {
  const byProgram = Map.groupBy(usable, (one) => (namelessness(one) === undefined ? (one.program ?? "") : anyProgram));
  const opaque = new Set(usable.filter(({ isOpaque }) => isOpaque).map(placeOf));
  return [...byProgram].map(([path, connections]) => ({
    key: freeKey(
      path === anyProgram ? "every-program" : path.slice(path.lastIndexOf("/") + 1).replace(/[^\w.-]+/g, "-"),
      taken,
    ),
    endpoints: [...Map.groupBy(connections, endpointKey).values()].map((alike) => endpointOf(alike, opaque, around)),
    binaries: [path],
  }));
}

function placeOf({ host, port }: Unlisted): string {
  return `${host} ${port}`;
}

/** What stands in one endpoint: connections to a place, or requests there under the same settings. */
function endpointKey(one: Unlisted): string {
  const { request, endpoint } = one;
  return JSON.stringify([placeOf(one), request !== undefined, endpoint?.line, endpoint?.column]);
}

function endpointOf(
  alike: readonly Unlisted[],
  opaque: ReadonlySet<string>,
  { given }: Surroundings,
): WrittenEntry["endpoints"][number] {
  const [first] = alike;
  if (first === undefined) throw new TypeError("no connection");
  const { host, port, request, endpoint } = first;
  const count = alike.reduce((sum, one) => sum + one.count, 0);
  const unreached = alike.every((one) => one.unreached !== undefined) ? first.unreached : undefined;
  const who = new Set(
    alike.flatMap((one) => (namelessness(one) === undefined ? [] : [` by ${one.program}, ${namelessness(one)}`])),
  );
  const times = `${count} ${request === undefined ? "connection" : "request"}${count === 1 ? "" : "s"}${[...who].join(",")}`;
  const comment = unreached === undefined ? times : `${times}, not reached: ${unreached}`;
  if (request === undefined) {
    // All that stand for one place have to agree on how it is carried.
    const beside = given.find((other) => isAt(other, first));
    const isTcp = beside?.protocol === "tcp" || opaque.has(placeOf(first));
    const carried = beside === undefined ? {} : settingsOf({ ...beside, path: "", protocol: "" });
    return { fields: { host, port, ...(isTcp ? { protocol: "tcp" } : {}), ...carried }, comment };
  }
  const rules = alike.flatMap((one) => (one.request === undefined ? [] : rulesFor(one.request)));
  const unique = [...new Map(rules.map((rule) => [JSON.stringify(rule), rule])).values()];
  const settings = endpoint === undefined ? { protocol: "rest", enforcement: "enforce" } : settingsOf(endpoint);
  return { fields: { host, port, ...settings, rules: unique }, comment };
}

/** One for each method that it may be taken by. */
function rulesFor({ method, path, alsoMethods = [] }: NonNullable<Unlisted["request"]>): readonly object[] {
  // A star in a request's path is one; in a rule it would stand for others too.
  const pattern = path.replaceAll("*", "\\*");
  return [method, ...alsoMethods].map((each) => ({ allow: { method: each.toUpperCase(), path: pattern } }));
}

/** How an endpoint is carried and read, in which all that stand for the same place have to agree. */
function settingsOf(endpoint: NetworkEndpoint): Record<string, unknown> {
  const { path, protocol, tls, enforcement, allowedIps, allowEncodedSlash } = endpoint;
  return {
    ...(path === "" ? {} : { path }),
    ...(protocol === "" ? {} : { protocol, enforcement }),
    ...(tls === "skip" ? { tls } : {}),
    ...(allowedIps.length === 0 ? {} : { allowed_ips: allowedIps }),
    ...(allowEncodedSlash && protocol !== "" ? { allow_encoded_slash: true } : {}),
  };
}

function fieldsOf(endpoint: NetworkEndpoint): Record<string, unknown> {
  const { host, ports, access, rules } = endpoint;
  const [port] = ports;
  return {
    ...{ host, ...(ports.length === 1 ? { port } : { ports }) },
    ...settingsOf(endpoint),
    ...(access === undefined ? {} : { access }),
    ...(rules.length === 0 ? {} : { rules: rules.map(({ method, path }) => ({ allow: { method, path } })) }),
  };
}

function freeKey(wanted: string, taken: Set<string>): string {
  const name = /^[A-Za-z0-9]/.test(wanted) ? wanted : `program-${wanted}`;
  let key = name;
  for (let next = 2; taken.has(key); next++) key = `${name}-${next}`;
  taken.add(key);
  return key;
}
