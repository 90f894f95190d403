import type { Credential } from "./credentials.ts";
import type { Inference } from "./inference.ts";
import type { LeakGuardSettings } from "./leak-guard.ts";
import type { NetworkMiddleware, NetworkPolicy } from "./network.ts";

/** A path that a policy grants, with the place in the file that grants it (absent for flags and presets built in code). */
export interface PathGrant {
  /** Absolute. */
  readonly path: string;
  /** From 1. */
  readonly line?: number;
  /** From 1. */
  readonly column?: number;
  /** Nobody asked for it by name (a preset, OpenShell's baseline): passed over in silence where it does not exist. */
  readonly optional?: boolean;
}

/** A wall of the sandbox that a policy can require by name. */
export type WallName =
  | "user-namespace"
  | "mount-namespace"
  | "pid-namespace"
  | "network-namespace"
  | "ipc-namespace"
  | "uts-namespace"
  | "landlock-filesystem"
  | "landlock-network"
  | "landlock-scope"
  | "seccomp"
  | "no-new-privs"
  | "capabilities"
  | "cgroup-memory"
  | "cgroup-processes";

/**
 * What a sandbox may use up. Sizes in bytes, durations in milliseconds. Absent means no limit: what a file leaves out
 * was filled in from the default preset when it was read.
 */
export interface Limits {
  /** Processes and threads that live at once. */
  readonly processes?: number;
  /** Memory of all processes together. */
  readonly memoryBytes?: number;
  /** Processor time of a call. */
  readonly cpuTimeMs?: number;
  /** How long a call may take. */
  readonly wallTimeMs?: number;
  /** Open descriptors of a process. */
  readonly openFiles?: number;
  /** The largest file that can be written. */
  readonly fileSizeBytes?: number;
  /** The size of the private /tmp and home. */
  readonly tmpSizeBytes?: number;
  /** What a call may print, both streams together. */
  readonly outputBytes?: number;
}

/** Who is asked where names lead. Servers are `ADDRESS` or `ADDRESS:PORT`, an IPv6 address with a port in brackets. */
export interface DnsSettings {
  /** For every name without servers of its own; empty: the system's resolver. */
  readonly servers: readonly string[];
  /** Names of their own servers. */
  readonly split: readonly {
    /** Each with all below it; lower case. */
    readonly domains: readonly string[];
    readonly servers: readonly string[];
  }[];
}

/** The proxy of a closed site, which its connections to the outside have to take. */
export interface UpstreamProxySettings {
  /** `http`, `https` (both CONNECT) or `socks5`, with host and port and nothing else. */
  readonly url: string;
  /** Where `USER:PASSWORD` is kept, outside the policy and the sandbox. */
  readonly credentials?: { readonly env: string } | { readonly file: string };
  /** Hosts, domains and addresses, of one port or all, and ranges that are dialled without it; lower case. */
  readonly noProxy: readonly string[];
  /** `here`: names are resolved and checked, and the proxy is told an address. `proxy`: it is told the name. */
  readonly resolve: "here" | "proxy";
}

/** Which files may leave the workspace. */
export interface ExtractRule {
  /** Glob relative to the workspace. */
  readonly glob: string;
  /** At most so many files; 1,000 when absent. */
  readonly maxFiles?: number;
  /** Together at most so many bytes; 100 MiB when absent. */
  readonly maxBytes?: number;
  /** Endings of names (`md`, `tar.gz`), and `text`; the content has to agree (lib/sandbox/extract-type.ts). */
  readonly types?: readonly string[];
  /** At most so many folders between the workspace and the file; 0: directly in it. */
  readonly maxDepth?: number;
}

/** A policy's own words, for its hash; not among what JSON shows. */
export const policyText: unique symbol = Symbol("policyText");

/** A validated, frozen policy: the only thing that the plan is made from. */
export interface Policy {
  /** The file's path, or `<preset NAME>`. */
  readonly source: string;
  /** The bytes that it was read from; none where it was made in code. */
  readonly [policyText]?: Uint8Array;
  /** Whose words the file uses: a file without a marker is OpenShell's, one with `holdfast: 1` is ours. */
  readonly dialect: "holdfast" | "openshell";
  /** What of the host can be seen, and what of it written. */
  readonly filesystem: {
    readonly includeWorkdir: boolean;
    readonly readOnly: readonly PathGrant[];
    readonly readWrite: readonly PathGrant[];
  };
  /** `best_effort` forgives missing paths, never a wall; a file of holdfast's must ask for it. */
  readonly compatibility: "best_effort" | "hard_requirement";
  /** As whom programs run. */
  readonly process: {
    /** The uid inside; `sandbox` means 1000. Absent: the caller's own uid, or an unprivileged one under root. */
    readonly runAsUser?: number | "sandbox";
    readonly runAsGroup?: number | "sandbox";
    /**
     * Rules on execution. `mapped_files: executable-only`: a file that the sandbox can write may be mapped as code only
     * when it has an execute bit, so that naming the dynamic loader does not run it.
     */
    readonly mappedFiles: "any" | "executable-only";
  };
  /** As parsed and validated (openshell.md 1.5); refused at launch while non-empty, until egress exists. */
  readonly networkPolicies: Readonly<Record<string, NetworkPolicy>>;
  /** As parsed and validated; refused with the policies. */
  readonly networkMiddlewares: Readonly<Record<string, NetworkMiddleware>>;
  /**
   * `log`: what no entry grants is permitted as well, and kept for a draft of the entries that would (`--net log`,
   * `takeUnlisted`). What is refused by name stays so, and the rules on addresses hold. No file can say it.
   */
  readonly networkMode?: "log";
  /** Absent: the system's resolver alone is asked. */
  readonly dns?: DnsSettings;
  /** Absent: connections are made without one. */
  readonly upstreamProxy?: UpstreamProxySettings;
  /** Secrets that programs use without seeing them, by name. */
  readonly credentials?: Readonly<Record<string, Credential>>;
  /** Servers of models that programs ask at one name. */
  readonly inference?: Inference;
  /** Absent: `defaultLeakGuard`. */
  readonly leakGuard?: LeakGuardSettings;
  /** What a sandbox may use up. */
  readonly limits: Limits;
  /** Which variables there are inside. */
  readonly environment: {
    /** Names taken over from the caller's environment; one that ends in `*` stands for all that begin so. */
    readonly pass: readonly string[];
    readonly set: Readonly<Record<string, string>>;
  };
  /** What stays read-only in a writable workspace. */
  readonly protectedNames: {
    /** Names relative to any folder of a writable workspace, read-only unless granted: `.git/hooks`, `.vscode`, … */
    readonly names: readonly string[];
  };
  /** Walls that must stand; empty means all that this kernel offers. Never fewer than Landlock and seccomp. */
  readonly requires: readonly WallName[];
  /** Where the file requires each wall; absent for presets and policies built in code. */
  readonly requiresAt?: Readonly<Partial<Record<WallName, { readonly line: number; readonly column: number }>>>;
  /** How the workspace is shown. */
  readonly workspace: {
    readonly mode: "direct" | "overlay" | "fresh";
    /** Whether the workspace can be written; only where `includeWorkdir` grants it at all. */
    readonly access: "read-write" | "read-only";
    readonly mountAt?: string;
  };
  /** Tools that the worker offers; absent: all six. */
  readonly tools?: readonly string[];
  /** Which files may leave at the end. */
  readonly extract: readonly ExtractRule[];
}

/** A problem in a policy file, at its place. All of a file's problems are reported at once. */
export interface PolicyProblem {
  /** A warning keeps nothing from running. */
  readonly severity: "error" | "warning";
  /** As it was called when it was read. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
  /** What is wrong. */
  readonly message: string;
  /** The nearest valid name, or what would be accepted. */
  readonly hint?: string;
}
