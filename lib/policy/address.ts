import { BlockList, isIP } from "node:net";

/** Ranges that are never dialled, whatever a policy says: unspecified, loopback, link-local (openshell.md 1.9). */
const alwaysBlocked: readonly (readonly [string, number])[] = [
  ["0.0.0.0", 32],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["::", 128],
  ["::1", 128],
  ["fe80::", 10],
  ["::ffff:0.0.0.0", 128],
  ["::ffff:127.0.0.0", 104],
  ["::ffff:169.254.0.0", 112],
];

export interface AddressRange {
  readonly address: string;
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

/** Reads `10.0.0.0/8`, `fc00::/7` or a single address. */
export function readRange(text: string): AddressRange | undefined {
  const match = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text.trim());
  const address = match?.[1] ?? "";
  const version = isIP(address);
  // A zone (fe80::1%eth0) names an interface, not a range.
  if (match === null || version === 0 || address.includes("%")) return undefined;
  const longest = version === 4 ? 32 : 128;
  const prefix = match[2] === undefined ? longest : Number(match[2]);
  if (prefix > longest) return undefined;
  return { address, prefix, family: version === 4 ? "ipv4" : "ipv6" };
}

/** The always blocked range that this one meets, or undefined. */
export function blockedOverlap(range: AddressRange): string | undefined {
  for (const [address, prefix] of alwaysBlocked) {
    const family = isIP(address) === 4 ? "ipv4" : "ipv6";
    if (family !== range.family) continue;
    // One of two ranges that meet holds the other's first address.
    if (holds(range, address) || holds({ address, prefix, family }, range.address)) return `${address}/${prefix}`;
  }
  return undefined;
}

function holds(range: AddressRange, address: string): boolean {
  const list = new BlockList();
  list.addSubnet(range.address, range.prefix, range.family);
  return list.check(address, range.family);
}

/** Services of clusters that no agent is to reach by a private address (openshell.md 1.9). */
export const clusterPorts: ReadonlySet<number> = new Set([2379, 2380, 6443, 10250, 10255]);
