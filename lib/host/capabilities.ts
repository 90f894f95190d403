import { lstatSync, readdirSync, readlinkSync, statSync } from "node:fs";
import { join } from "node:path";
import { native } from "../native.ts";

/** What this host offers, probed: the plan is made from this and the policy alone. */
export interface HostCapabilities {
  readonly architecture: "x86_64" | "aarch64";
  readonly uid: number;
  readonly gid: number;
  /** 0 where Landlock is absent or switched off at boot. */
  readonly landlockAbi: number;
  /** Top-level entries of the root folder: `/bin -> usr/bin` and the like are links, the rest folders. */
  readonly topLevel: readonly { readonly path: string; readonly link: string | null }[];
  /** Which of the shareable names exist in /etc. */
  readonly etc: ReadonlySet<string>;
  /** Device nodes that exist and can be bound. */
  readonly devices: readonly string[];
}

const wantedDevices = ["null", "zero", "full", "random", "urandom", "tty"];

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
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
  return {
    architecture: process.arch === "arm64" ? "aarch64" : "x86_64",
    uid: process.geteuid?.() ?? 0,
    gid: process.getegid?.() ?? 0,
    landlockAbi: native().probe().landlockAbi,
    topLevel,
    etc: new Set(etcNames.filter((name) => exists(join("/etc", name)))),
    devices: wantedDevices.filter((name) => exists(join("/dev", name))),
  };
}
