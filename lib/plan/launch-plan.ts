import type { Filter } from "./filter.ts";

/**
 * A sandbox as plain data: what is to be done, in order, and nothing decided later. It can be printed, compared and
 * tested without a kernel; native/ carries it out or fails with the step and the errno.
 */
export interface LaunchPlan {
  readonly namespaces: readonly Namespace[];
  readonly identity: Identity;
  readonly hostname: string;
  readonly mounts: readonly MountStep[];
  /** Trees that are cloned and idmapped with the launcher's rights; mount steps name them by place. */
  readonly idMapped: readonly IdMapped[];
  /** What the init does to itself, in the order of `initSteps`; every plan of the product has all of them. */
  readonly steps: readonly InitStep[];
  /** `KEY=value` lines for /proc/sys, set before the namespace's rights are dropped. */
  readonly sysctls: readonly { readonly path: string; readonly value: string; readonly optional?: boolean }[];
  /** What carries connections out; null where there is no network at all. */
  readonly egress: { readonly port: number } | null;
  readonly landlock: {
    readonly abi: number;
    /** What the init and everything below it may do. */
    readonly base: Ruleset;
    /** What every call gets on top: it cannot signal outside itself. */
    readonly call: Ruleset;
    /** What read, glob and grep get on top instead. */
    readonly readOnly: Ruleset;
  };
  readonly seccomp: Filter;
  readonly rlimits: readonly Rlimit[];
  readonly watched: WatchedLimits;
  /** Limits that a cgroup of the sandbox's own holds; null where none is made. */
  readonly cgroup: CgroupLimits | null;
  readonly verify: readonly Verification[];
  /** Granted, as the sandbox sees them: what lies in the writable ones says nothing of what it is by its path. */
  readonly folders: {
    readonly writable: readonly string[];
    readonly readOnly: readonly string[];
    /** Where what can be written of the host lies there: a grant may show it under that path as well. */
    readonly sources: readonly string[];
  };
  /** Only without namespaces. */
  readonly territory?: Territory;
  readonly environment: Readonly<Record<string, string>>;
  readonly cwd: string;
}

/** What the broker holds apart where no namespace does. */
export interface Territory {
  /** Where it makes changes to files that Landlock does not judge; beyond, they are refused. */
  readonly writable: readonly string[];
  /** What else is granted: of other links nobody is told where they lead. */
  readonly readable: readonly string[];
  /** The addresses of 127/8 that stand for the loopback: this even one, for ::1 the next. */
  readonly loopback: number;
}

/**
 * The steps that are no namespace, mount, rule or limit: a session keyring of its own, `lo` up, all capabilities given
 * up, no_new_privs, not dumpable, the base ruleset put on, the filter put on. The order is kernel-notes C1's.
 */
export const initSteps = [
  "keyring",
  "loopback",
  "capabilities",
  "no-new-privs",
  "undumpable",
  "landlock",
  "seccomp",
] as const;

export type InitStep = (typeof initSteps)[number];

export type Namespace = "user" | "mount" | "pid" | "network" | "ipc" | "uts" | "cgroup";

export interface Identity {
  /** Inside. */
  readonly uid: number;
  readonly gid: number;
  /** On the host. Never 0. */
  readonly hostUid: number;
  readonly hostGid: number;
  /** Started by root: the init drops to the uid, and supplementary groups go. An ordinary user cannot drop them. */
  readonly drop: boolean;
}

export interface IdMapped {
  readonly source: string;
  readonly recursive: boolean;
  /** Owner on disk ↔ uid of the sandbox on the host. */
  readonly uidMap: string;
  readonly gidMap: string;
}

export type MountStep = OwnStep | SharedStep;

export type OwnStep =
  | { readonly op: "root"; readonly sizeBytes: number; readonly inodes: number }
  | { readonly op: "mkdir"; readonly path: string; readonly mode: number }
  | { readonly op: "symlink"; readonly target: string; readonly path: string }
  | FileStep
  | BindStep
  /** A small file of the host's, as it is now; passed over where there is none. */
  | { readonly op: "copy"; readonly source: string; readonly path: string; readonly mode: number }
  /** A tmpfs that is not shown itself; folders of it are, each under its own path. */
  | { readonly op: "scratch"; readonly sizeBytes: number; readonly inodes: number }
  | { readonly op: "private"; readonly name: string; readonly path: string; readonly mode: number }
  | { readonly op: "proc"; readonly path: string }
  | { readonly op: "devpts"; readonly path: string }
  | {
      readonly op: "overlay";
      readonly lower: string;
      readonly upper: string;
      readonly work: string;
      readonly path: string;
    }
  | { readonly op: "mask"; readonly path: string }
  | { readonly op: "read-only"; readonly path: string }
  | { readonly op: "unmount"; readonly path: string };

/**
 * A folder that is read-only and the same in every sandbox with the same key: a file system of its own, which one sandbox
 * makes and hands on to the next, since filling it takes longer than all other mounts.
 */
export interface SharedStep {
  readonly op: "shared";
  readonly path: string;
  readonly key: string;
  readonly sizeBytes: number;
  readonly inodes: number;
  readonly steps: readonly OwnStep[];
}

/** What makes programs inside trust one certificate authority more than the host does; made by lib/egress/trust.ts. */
export interface TrustFiles {
  /** In /etc, after what is there in any case. */
  readonly steps: readonly OwnStep[];
  /** How much room they take. */
  readonly bytes: number;
  readonly environment: Readonly<Record<string, string>>;
}

/** The same as files on the host, where nothing can be mounted. */
export interface TrustFolder {
  readonly files: readonly FileStep[];
  readonly environment: Readonly<Record<string, string>>;
}

export interface FileStep {
  readonly op: "file";
  readonly path: string;
  readonly mode: number;
  readonly content: string | Uint8Array;
}

export interface BindStep {
  readonly op: "bind";
  readonly source: string;
  readonly path: string;
  /** Whether the source is a path of the host or one that an earlier step made inside. */
  readonly from: "host" | "inside";
  readonly readOnly: boolean;
  readonly noExec?: boolean;
  readonly optional?: boolean;
  readonly device?: boolean;
  /** Place in `idMapped`. */
  readonly idMapped?: number;
}

export interface Ruleset {
  readonly handledFs: number;
  readonly handledNet: number;
  readonly scoped: number;
  readonly rules: readonly { readonly access: number; readonly path: string }[];
}

export interface Rlimit {
  readonly resource: "cpu" | "core" | "nofile" | "nproc" | "fsize" | "memlock" | "sigpending" | "nice" | "rtprio";
  readonly soft: number;
  readonly hard: number;
}

/** What a cgroup is given, the room for the init and the kernel's own structures included; null is no limit. */
export interface CgroupLimits {
  readonly memoryBytes: number | null;
  /** Processes and threads (pids.max). */
  readonly tasks: number | null;
}

/** What the init looks at while calls run; 0 is no limit. */
export interface WatchedLimits {
  readonly memoryBytes: number;
  readonly processes: number;
  readonly cpuTimeMs: number;
  readonly openFiles: number;
  readonly tmpPath: string | null;
}

/** One forbidden thing for the init to try before its first child. */
export type Verification =
  | { readonly wall: Exclude<VerifiedWall, "read-only-root" | "landlock-filesystem"> }
  | { readonly wall: "read-only-root"; readonly paths: readonly string[] }
  | { readonly wall: "landlock-filesystem"; readonly path: string };

export type VerifiedWall =
  | "user-namespace"
  | "mount-namespace"
  | "pid-namespace"
  | "network-namespace"
  | "ipc-namespace"
  | "uts-namespace"
  | "cgroup-namespace"
  | "read-only-root"
  | "capabilities"
  | "no-new-privs"
  | "landlock-filesystem"
  | "landlock-network"
  | "landlock-signal"
  | "landlock-abstract"
  | "seccomp"
  | "socket-filter"
  | "not-dumpable";

/** Numbers of native/wire.h, Wall. */
export const wallNumbers: Readonly<Record<VerifiedWall, number>> = Object.freeze({
  "user-namespace": 1,
  "mount-namespace": 2,
  "pid-namespace": 3,
  "network-namespace": 4,
  "ipc-namespace": 5,
  "uts-namespace": 6,
  "read-only-root": 7,
  capabilities: 8,
  "no-new-privs": 9,
  "landlock-filesystem": 10,
  "landlock-network": 11,
  "landlock-signal": 12,
  "landlock-abstract": 13,
  seccomp: 14,
  "not-dumpable": 15,
  "cgroup-namespace": 16,
  "socket-filter": 17,
});
