import type { Outcome } from "../result.ts";
import { paired } from "../rounds.ts";

export type Kind = "kept alive" | "one connection" | "new connections" | "download";

/** What came of one slice: the client's counts, and the proxy's processor time. */
export interface Slice {
  readonly count: number;
  readonly bytes: number;
  readonly us: number;
  readonly medianUs: number;
  readonly processorUs: number;
}

/** What one launcher was measured with. */
export interface Found {
  /** Of the ways to the server. */
  readonly names: readonly string[];
  /** Why others are not among them. */
  readonly skipped: readonly string[];
  /** By `WAY: KIND`, one of each round. */
  readonly slices: Record<string, readonly Slice[]>;
}

interface Measure {
  readonly unit: string;
  readonly isRate: boolean;
  readonly of: (slice: Slice) => number;
}

const rate: Measure = { unit: "req/s", isRate: true, of: ({ count, us }) => (count / us) * 1e6 };
const connections: Measure = { ...rate, unit: "conn/s" };
const speed: Measure = { unit: "MB/s", isRate: true, of: ({ bytes, us }) => bytes / us };
const latency: Measure = { unit: "us", isRate: false, of: ({ medianUs }) => medianUs };
const processor: Measure = { unit: "CPU us", isRate: false, of: ({ processorUs, count }) => processorUs / count };
const processorOfBytes: Measure = {
  unit: "CPU s/GiB",
  isRate: false,
  of: ({ processorUs, bytes }) => (processorUs / 1e6 / bytes) * 2 ** 30,
};

const [own, explicit, skip, tcp] = ["holdfast", "holdfast, explicit proxy", "holdfast, tls: skip", "holdfast, tcp"];
const [direct, nginx, tunnel] = ["direct", "nginx, TLS to TLS", "Node tunnel"];
const [squidTunnel, bump, mitmproxy] = ["squid, tunnel", "squid, ssl-bump", "mitmproxy"];

/** What is held against what: a bar is one of issue 4's, and null only informs. */
const comparisons: readonly (readonly [
  kind: Kind,
  measure: Measure,
  name: string,
  base: string,
  bar: number | null,
])[] = [
  ["kept alive", rate, own, direct, 0.28],
  ["kept alive", rate, own, mitmproxy, 15],
  ["kept alive", rate, own, bump, 1.5],
  ["kept alive", rate, own, nginx, null],
  ["kept alive", processor, own, nginx, 2.2],
  ["kept alive", processor, own, bump, null],
  ["kept alive", rate, explicit, direct, null],
  ["one connection", latency, own, direct, 2],
  ["one connection", latency, own, nginx, null],
  ["one connection", latency, own, bump, null],
  ["new connections", connections, own, direct, 0.8],
  ["new connections", connections, own, mitmproxy, 6],
  ["new connections", connections, own, bump, null],
  ["new connections", connections, own, nginx, null],
  ["new connections", processor, own, nginx, null],
  ["download", speed, own, direct, 0.6],
  ["download", speed, own, mitmproxy, 2],
  ["download", speed, own, bump, null],
  ["download", speed, own, nginx, null],
  ["download", processorOfBytes, own, nginx, null],
  ...[skip, tcp].flatMap(
    (name) =>
      [
        ["kept alive", rate, name, direct, 0.6],
        ["kept alive", rate, name, squidTunnel, null],
        ["kept alive", processor, name, tunnel, null],
        ["download", speed, name, direct, 0.95],
        ["download", speed, name, squidTunnel, null],
        ["download", processorOfBytes, name, tunnel, null],
      ] as const,
  ),
];

/** The lines of the table that what was measured is enough for, of all launchers together. */
export function lines(all: readonly Found[]): readonly Outcome[] {
  const { names = [], skipped = [] } = all[0] ?? {};
  const slicesOf = (name: string, kind: Kind): readonly Slice[] =>
    all.flatMap(({ slices }) => slices[`${name}: ${kind}`] ?? []);
  const made = comparisons
    .filter(([, , name, base]) => names.includes(name) && names.includes(base))
    .map(([kind, { unit, isRate, of }, name, base, bar]): Outcome => {
      const [values = [], baseValues = []] = [name, base].map((each) => slicesOf(each, kind).map(of));
      return {
        ...{ name: "egress", what: `${kind}: ${name}`, base, unit, isRate, bar },
        ...paired(values, baseValues, isRate ? Math.max : Math.min),
      };
    });
  return [...made, ...skipped.map((why) => ({ name: "egress", skipped: why }))];
}
