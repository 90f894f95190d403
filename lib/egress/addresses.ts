import { BlockList, isIP } from "node:net";
import { clusterPorts } from "../policy/address.ts";

/**
 * Which addresses a permitted name may stand for (openshell.md 1.9): a name is only as good as where it leads, and DNS
 * belongs to whoever owns the name.
 */

type Range = readonly [address: string, prefix: number];

/** Never dialled, whatever a policy says: this host itself, its links, and the machines that hand out cloud credentials. */
const never: readonly Range[] = [
  ["0.0.0.0", 8],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
  ["100.100.100.200", 32],
  ["168.63.129.16", 32],
  ["::", 127],
  ["fe80::", 10],
  ["fec0::", 10],
  ["ff00::", 8],
  ["fd00:ec2::254", 128],
  ["fd20:ce::254", 128],
];

/** Dialled only for a host that the policy names exactly, or by `allowed_ips`. */
const notPublic: readonly Range[] = [
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["100.64.0.0", 10],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["fc00::", 7],
  ["64:ff9b:1::", 48],
  ["100::", 64],
  ["2001::", 23],
  ["2001:db8::", 32],
  ["3fff::", 20],
  ["5f00::", 16],
];

function listOf(ranges: readonly Range[]): BlockList {
  const list = new BlockList();
  for (const [address, prefix] of ranges) list.addSubnet(address, prefix, familyOf(address));
  return list;
}

const neverList = listOf(never);
const notPublicList = listOf(notPublic);
const globalUnicast = listOf([["2000::", 3]]);

/**
 * Names of this host's loopback: ours, and those that OpenShell, Docker and Podman give a container's host. What the
 * system's hosts file or a name server say of them does not count.
 */
const hostNames: ReadonlySet<string> = new Set([
  "host.holdfast.internal",
  "host.openshell.internal",
  "host.docker.internal",
  "host.containers.internal",
]);

export const loopback: readonly string[] = ["127.0.0.1", "::1"];

/** Whether it is this host's alone (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3). */
export function isLoopback(address: string): boolean {
  return address === "::1" || /^127(?:\.\d+){3}$/.test(address);
}

export function isHostName(name: string): boolean {
  return hostNames.has(name);
}

export type Reach = "public" | "private" | "never";

function familyOf(address: string): "ipv4" | "ipv6" {
  return isIP(address) === 6 ? "ipv6" : "ipv4";
}

/** The bytes of an IPv6 address; undefined where it is none. */
function bytesOf(address: string): Uint8Array | undefined {
  if (isIP(address) !== 6 || address.includes("%")) return undefined;
  let text = address;
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  if (dotted !== null) {
    const [, start = "", a = "", b = "", c = "", d = ""] = dotted;
    const word = (high: string, low: string): string => ((Number(high) << 8) | Number(low)).toString(16);
    text = `${start}${word(a, b)}:${word(c, d)}`;
  }
  const [left = "", right] = text.split("::");
  const words = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const before = words(left);
  const after = right === undefined ? [] : words(right);
  const middle = right === undefined ? 0 : 8 - before.length - after.length;
  const all = [...before, ...Array<string>(middle).fill("0"), ...after];
  const bytes = new Uint8Array(16);
  for (const [index, text16] of all.entries()) {
    const value = Number.parseInt(text16, 16);
    bytes[2 * index] = value >> 8;
    bytes[2 * index + 1] = value & 0xff;
  }
  return bytes;
}

/** The IPv4 address that an IPv6 address stands for: mapped, compatible, translated, NAT64 (RFC 6052), 6to4 (RFC 3056). */
export function embeddedIpv4(address: string): string | undefined {
  const bytes = bytesOf(address);
  if (bytes === undefined) return undefined;
  const at = (from: number): string => [...bytes.subarray(from, from + 4)].join(".");
  const starts = (...prefix: number[]): boolean => prefix.every((byte, index) => bytes[index] === byte);
  const zeros = (from: number, to: number): boolean => bytes.subarray(from, to).every((byte) => byte === 0);
  if (zeros(0, 10) && bytes[10] === 0xff && bytes[11] === 0xff) return at(12);
  if (zeros(0, 12) && !zeros(12, 15)) return at(12);
  // RFC 2765: translated.
  if (zeros(0, 8) && bytes[8] === 0xff && bytes[9] === 0xff && zeros(10, 12)) return at(12);
  if (starts(0x00, 0x64, 0xff, 0x9b) && zeros(4, 12)) return at(12);
  if (starts(0x20, 0x02)) return at(2);
  return undefined;
}

/** How far an address may be reached. Anything that is no address is never reached. */
export function reachOf(address: string): Reach {
  if (isIP(address) === 0 || address.includes("%")) return "never";
  const embedded = embeddedIpv4(address);
  if (embedded !== undefined) {
    // A form that stands for another address is no better than that one; in itself it is nobody's public address.
    return reachOf(embedded) === "never" ? "never" : address.startsWith("2002:") ? "private" : reachOf(embedded);
  }
  const family = familyOf(address);
  if (neverList.check(address, family)) return "never";
  // RFC 4291 section 2.4: all that is given out as public; the rest is nobody's yet.
  if (family === "ipv6" && !globalUnicast.check(address, family)) return "private";
  return notPublicList.check(address, family) ? "private" : "public";
}

/** What the endpoint says of addresses. */
export interface AddressRule {
  /** `allowed_ips`, compiled; undefined where the endpoint has none. */
  readonly allowed: BlockList | undefined;
  /** The endpoint's host is an address itself. */
  readonly literal: string | undefined;
  /** The host is named exactly, not by a wildcard: the policy's author knows where it leads. */
  readonly exact: boolean;
  /** The host is this host's own name, named exactly: its loopback is what is granted, and nothing else. */
  readonly isThisHost: boolean;
}

/** Why nothing is dialled on a port for this rule, wherever the name leads. */
export function portFault(port: number, rule: AddressRule): string | undefined {
  const special = rule.allowed !== undefined || rule.literal !== undefined || rule.exact;
  return special && clusterPorts.has(port) ? `port ${port} is a cluster's own and never dialled` : undefined;
}

/** Why an address is not dialled for this rule, in words for the record; undefined where it is. */
export function addressFault(address: string, port: number, rule: AddressRule): string | undefined {
  const reach = reachOf(address);
  const isOwn = rule.isThisHost && loopback.includes(address);
  if (reach === "never" && !isOwn)
    return `${address} is an address of this host, its links or its cloud, which is never dialled`;
  const family = familyOf(address);
  const isListed = rule.allowed?.check(address, family) === true;
  const ofPort = portFault(port, rule);
  if (ofPort !== undefined) return ofPort;
  if (rule.allowed !== undefined) return isListed ? undefined : `${address} is not in the endpoint's allowed_ips`;
  if (rule.literal !== undefined) {
    return sameAddress(rule.literal, address) ? undefined : `${address} is not the address that the endpoint names`;
  }
  if (reach === "private" && !rule.exact) {
    return `${address} is not public: name the host exactly, or its addresses in allowed_ips`;
  }
  return undefined;
}

/** The bytes of an address, as certificates and DNS hold them. Throws a RangeError when it is none. */
export function addressBytes(address: string): Uint8Array {
  if (isIP(address) === 4) return Uint8Array.from(address.split("."), Number);
  const bytes = bytesOf(address);
  if (bytes === undefined) throw new RangeError(`${address} is not an address`);
  return bytes;
}

export function sameAddress(left: string, right: string): boolean {
  if (left === right) return true;
  const [a, b] = [bytesOf(left), bytesOf(right)];
  return a !== undefined && b !== undefined && Buffer.compare(a, b) === 0;
}

/** A list to check addresses against, from `10.0.0.0/8`, `fc00::/7` and single ones. */
export function compileRanges(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of ranges) {
    const [address = "", prefix] = text.split("/");
    const family = familyOf(address);
    list.addSubnet(address, prefix === undefined ? (family === "ipv4" ? 32 : 128) : Number(prefix), family);
  }
  return list;
}
