import { lstatSync, readdirSync, readFileSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { native } from "../native.ts";

/** Ids from `first` on, `count` of them, that are those from `outside` on in the namespace above. */
export interface IdRange {
  readonly first: number;
  readonly outside: number;
  readonly count: number;
}

/** What this host offers, probed: the plan is made from this and the policy alone. */
export interface HostCapabilities {
  /** As `uname -m` has it. */
  readonly architecture: "x86_64" | "aarch64";
  /** Who this process is. */
  readonly uid: number;
  /** Its group. */
  readonly gid: number;
  /**
   * The ids that root may become here: all on a host, few or only its own in a user namespace (a rootless container).
   * Empty for an ordinary user.
   */
  readonly ids: { readonly uid: readonly IdRange[]; readonly gid: readonly IdRange[] };
  /** 0 where Landlock is absent or switched off at boot. */
  readonly landlockAbi: number;
  /** Top-level entries of the root folder: `/bin -> usr/bin` and the like are links, the rest folders. */
  readonly topLevel: readonly { readonly path: string; readonly link: string | null }[];
  /** Which of the shareable names exist in /etc: small files, which are copied, and what is bound. */
  readonly etc: ReadonlyMap<string, "small" | "other">;
  /** Device nodes that exist and can be bound. */
  readonly devices: readonly string[];
}

/** A mount takes the kernel as long to make, and to take down, as a copy of this many bytes. */
const smallBytes = 128 * 1024;

function etcEntries(names: readonly string[]): Map<string, "small" | "other"> {
  const found = new Map<string, "small" | "other">();
  for (const name of names) {
    const status = statSync(join("/etc", name), { throwIfNoEntry: false });
    // What only its owner may read is not for everybody in a copy either.
    const isSmall = status?.isFile() === true && status.size <= smallBytes && (status.mode & 0o004) !== 0;
    if (status !== undefined) found.set(name, isSmall ? "small" : "other");
  }
  return found;
}

const wantedDevices = ["null", "zero", "full", "random", "urandom", "tty"];

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** The lines of proc_pid_uid_map(5). */
export function idRanges(map: string): IdRange[] {
  return map
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .map(([first = 0, outside = 0, count = 0]) => ({ first, outside, count }));
}

/**
 * Probes what every launch needs to know. The walls themselves are probed by raising them: a launch that cannot says
 * which step the kernel refused, and `holdfast doctor` asks for each by itself.
 */
export function probeHost(etcNames: readonly string[]): HostCapabilities {
  const topLevel = readdirSync("/").map((name) => {
    const path = join("/", name);
    return { path, link: lstatSync(path).isSymbolicLink() ? readlinkSync(path) : null };
  });
  const uid = process.geteuid?.() ?? 0;
  const ranges = (file: string): IdRange[] => (uid === 0 ? idRanges(readFileSync(file, "utf8")) : []);
  return {
    architecture: process.arch === "arm64" ? "aarch64" : "x86_64",
    uid,
    gid: process.getegid?.() ?? 0,
    ids: { uid: ranges("/proc/self/uid_map"), gid: ranges("/proc/self/gid_map") },
    landlockAbi: native().probe().landlockAbi,
    topLevel,
    etc: etcEntries(etcNames),
    devices: wantedDevices.filter((name) => exists(join("/dev", name))),
  };
}
