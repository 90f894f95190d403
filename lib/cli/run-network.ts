import { isIP } from "node:net";
import { reachOf } from "../egress/addresses.ts";
import { canonicalTarget, TargetError } from "../egress/canonical.ts";
import { comparisonBudget, hostsOverlap } from "../policy/host-pattern.ts";
import { readHostPort, writeHostPort } from "../policy/host-port.ts";
import { anyProgram, type NetworkEndpoint, type NetworkPolicy, readsRequests } from "../policy/network.ts";
import type { Policy } from "../policy/policy.ts";
import type { RunOptions } from "./run-options.ts";
import { usageError } from "./usage.ts";

const httpsPort = 443;

/** What one `--allow` asks for. */
interface Allowed {
  readonly word: string;
  readonly host: string;
  readonly port: number;
  /** Undefined: whatever is said on the connection. */
  readonly path: string | undefined;
}

/** `HOST[:PORT][/PATH]`; an IPv6 address with a port stands in brackets. */
function allowed(word: string): Allowed {
  const scheme = /^([a-z][a-z\d+.-]*):\/\//i.exec(word);
  if (scheme !== null) {
    const rest = word
      .slice(scheme[0].length)
      .replace(/^([^:/]+)(\/|$)/, scheme[1]?.toLowerCase() === "http" ? "$1:80$2" : "$&");
    throw usageError(`--allow ${word}: a URL, where HOST[:PORT][/PATH] is wanted`, `Write --allow ${rest}.`);
  }
  const slash = word.indexOf("/");
  const place = slash < 0 ? word : word.slice(0, slash);
  const target = readHostPort(place);
  if (target === undefined) {
    const [, port] = /^(?:[^:]+|\[.*\]):([^:]*)$/.exec(place) ?? [];
    if (port !== undefined && readHostPort(`h:${port}`) === undefined)
      throw usageError(`--allow ${word}: "${port}" is no port`, "A port is one number from 1 to 65535.");
    throw usageError(
      `--allow ${word}: not HOST, HOST:PORT or HOST:PORT/PATH`,
      "For example --allow api.github.com, --allow db.example.com:5432 or --allow 'api.github.com/repos/**'.",
    );
  }
  const { host, port = httpsPort } = target;
  const path = slash < 0 ? undefined : word.slice(slash);
  if (host === "localhost" || (isIP(host) !== 0 && reachOf(host) === "never")) {
    const isLoopback = host === "localhost" || host === "::1" || host.startsWith("127.");
    throw usageError(
      `--allow ${word}: ${isLoopback ? "this is the sandbox's own loopback, and needs no grant" : "this address is never dialled"}`,
      isLoopback
        ? `This host's is named otherwise: --allow host.holdfast.internal:${port}.`
        : "It is one of this host itself, its links or its cloud.",
    );
  }
  if (isIP(host) !== 0 && /^\/\d{1,3}(?::\d+)?$/.test(path ?? "")) {
    throw usageError(
      `--allow ${word}: a range of addresses is not granted by a flag`,
      "Name an address, or write an endpoint with allowed_ips in a policy.",
    );
  }
  return { word, host, port, path: path === undefined ? undefined : canonicalPattern(word, path) };
}

/** The path in the form that requests are judged in. Where it has globs it has to be written so. */
function canonicalPattern(word: string, path: string): string {
  if (/[?#]/.test(path)) {
    throw usageError(
      `--allow ${word}: a path has no query`,
      "Leave it out: a path that is permitted is so with every query.",
    );
  }
  const hasGlob = /[*[\]{}\\]/.test(path);
  try {
    const plain = hasGlob ? path.replace(/[*[\]{}\\^]/g, "x") : path;
    const canonical = canonicalTarget(plain).path;
    if (!hasGlob || canonical === plain) return hasGlob ? path : canonical;
  } catch (error) {
    if (!(error instanceof TargetError)) throw error;
    throw usageError(`--allow ${word}: ${error.message}`, "For example --allow 'api.github.com/repos/**'.");
  }
  throw usageError(
    `--allow ${word}: requests are judged in another form of this path and never match`,
    "Write it without dot segments and doubled slashes, and percent-encoded only where it has to be.",
  );
}

/** An entry of `network_policies`, as a file would have it. */
function entryOf({ host, port, path }: Allowed, binaries: readonly { readonly path: string }[]): object {
  if (path === undefined) return { endpoints: [{ host, port }], binaries };
  // Whoever writes /repos/** means /repos as well, which the glob alone leaves out.
  const paths = path.endsWith("/**") && path !== "/**" ? [path, path.slice(0, -3)] : [path];
  const rules = paths.map((each) => ({ allow: { method: "*", path: each } }));
  return { endpoints: [{ host, port, protocol: "rest", enforcement: "enforce", rules }], binaries };
}

/**
 * What `--allow` and `--allow-binary` grant, through the reader that policy files go through.
 *
 * @param base what the flags add to
 */
export async function allowedNetwork(
  options: RunOptions,
  base: Policy,
): Promise<Readonly<Record<string, NetworkPolicy>>> {
  if (options.allow.length === 0) {
    if (options.allowBinary.length === 0) return {};
    throw usageError(
      "--allow-binary grants nothing by itself",
      "Say with --allow HOST[:PORT] where it may connect to.",
    );
  }
  for (const path of options.allowBinary) {
    if (!path.startsWith("/"))
      throw usageError(`--allow-binary ${path}: not an absolute path`, "For example --allow-binary /usr/bin/curl.");
  }
  const wanted = options.allow.map(allowed);
  checkOverlaps(wanted);
  const binaries = (options.allowBinary.length > 0 ? options.allowBinary : [anyProgram]).map((path) => ({ path }));
  const entries = Object.fromEntries(wanted.map((one) => [keyOf(one), entryOf(one, binaries)]));
  const { parsePolicy } = await import("../policy/load.ts");
  const file = { holdfast: 1, version: 1, network_policies: entries };
  const { policy, problems } = parsePolicy(Buffer.from(JSON.stringify(file)), "--allow");
  // What is only doubtful in a file was written for this run alone here.
  const [first] = problems;
  if (policy === null || first !== undefined) {
    throw usageError(
      (first?.message ?? "--allow: not understood").replace(
        /^network_policies\.(.*)\.endpoints\[0\](?:\.(?:host|rules\[\d\]\.allow\.path))?/,
        "$1",
      ),
      first?.hint ?? "For example --allow api.github.com.",
    );
  }
  const given = Object.values(base.networkPolicies).flatMap(({ endpoints }) => endpoints);
  return Object.fromEntries(
    wanted.map((one) => [keyOf(one), beside(given, one, policy.networkPolicies[keyOf(one)])] as const),
  );
}

function keyOf({ word }: Allowed): string {
  return `--allow ${word}`;
}

function overlap(left: Pick<NetworkEndpoint, "host" | "ports">, { host, port }: Allowed): boolean {
  return left.ports.includes(port) && hostsOverlap(left.host, host, comparisonBudget());
}

/** Requests are read or they are not: a connection cannot be granted whole by one flag and in part by another. */
function checkOverlaps(wanted: readonly Allowed[]): void {
  for (const part of wanted) {
    const whole = wanted.find((one) => one.path === undefined && overlap({ host: one.host, ports: [one.port] }, part));
    if (part.path === undefined || whole === undefined) continue;
    throw usageError(
      `--allow ${part.word} and --allow ${whole.word}: the one permits a path, the other everything`,
      "Take one of them away.",
    );
  }
}

/** A flag adds to what the policy says of the same place: what is read there is read, what is not is not. */
function beside(given: readonly NetworkEndpoint[], one: Allowed, entry: NetworkPolicy | undefined): NetworkPolicy {
  const [own] = entry?.endpoints ?? [];
  if (entry === undefined || own === undefined) throw new TypeError(`no endpoint for --allow ${one.word}`);
  const others = given.filter((endpoint) => overlap(endpoint, one));
  const read = others.filter((endpoint) => endpoint.tls !== "skip" && readsRequests(endpoint));
  if (one.path !== undefined && read.length < others.length) {
    throw usageError(
      `--allow ${one.word}: the policy passes what is said at ${writeHostPort(one.host, one.port)} on unread`,
      "A path can be added where the policy's endpoint has protocol: rest.",
    );
  }
  const [first] = read;
  if (one.path !== undefined || first === undefined || read.length < others.length) return entry;
  const { host, ports } = own;
  const whole: NetworkEndpoint = { ...first, host, ports, path: "", rules: [], denyRules: [], access: "full" };
  return { ...entry, endpoints: [whole] };
}
