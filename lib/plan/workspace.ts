import type { PathGrant } from "../policy/policy.ts";
import type { TrustFolder } from "./launch-plan.ts";

/** One path of the host that the sandbox is to see, with its links followed before the plan is made. */
export interface ResolvedGrant {
  readonly path: string;
  readonly source: string;
  readonly kind: "directory" | "file" | "device" | "other";
  readonly access: "read" | "write";
  readonly links: readonly { readonly path: string; readonly target: string }[];
  /** Owner on disk: under root a granted tree is shown as the sandbox's own. */
  readonly owner: { readonly uid: number; readonly gid: number };
  /** A folder of the system, shown as it is. */
  readonly system: boolean;
}

/** All that a plan needs to know of one session besides policy and host; made by lib/sandbox/workspace.ts. */
export interface Workspace {
  readonly mode: "direct" | "overlay" | "fresh";
  readonly access: "read-write" | "read-only" | "none";
  /** On the host. */
  readonly hostPath: string;
  /** Inside. */
  readonly path: string;
  readonly owner: { readonly uid: number; readonly gid: number };
  readonly grants: readonly ResolvedGrant[];
  /** Granted, not there, and not forgiven: a plan is refused for them. */
  readonly missing?: readonly (PathGrant & { readonly fault?: string })[];
  /** Relative to the workspace: folders made mount points so that they cannot be renamed away, then read-only names. */
  readonly pinned: readonly string[];
  readonly readOnly: readonly string[];
  /** Protected names, or folders above one, that are links, which cannot be mount points: looked at when all has ended. */
  readonly protectedLinks?: readonly { readonly path: string; readonly target: string }[];
  /** Host folder with `up` and `work` for an overlay, or the private copy that stands in for the workspace. */
  readonly privateFolder: string | null;
  /** In overlay mode where no overlay can be mounted: when the copy that stands in for one was complete (`copyTree`). */
  readonly copiedAt?: bigint;
  /** And the inode of each of its folders, by path. */
  readonly copiedFolders?: ReadonlyMap<string, bigint>;
  /** Folders outside the workspace that exist only inside and only for this session. */
  readonly privateFolders: readonly string[];
  /** Set in a sandbox without namespaces: folders of its own on the host, since none can be shown at other paths. */
  readonly own?: OwnFolders;
  /** Folders of holdfast's own, inside, that lie in what is shown: they are covered. */
  readonly covered: readonly string[];
  readonly toolRuntime: { readonly node: string; readonly programs: string } | null;
  /** The caller's environment, as far as the policy passes it on. */
  readonly environment: Readonly<Record<string, string>>;
  readonly seccomp: { readonly traceOpens: boolean };
  /** Whether a cgroup holds memory and processes, so that the init need not watch them. */
  readonly cgroup: HeldByCgroup;
}

/** Where they lie; they are made before the launch, and gone with the sandbox. */
export interface OwnFolders {
  readonly folder: string;
  readonly tmp: string;
  readonly home: string;
  /** A file that nothing grants, which the init tries to open. */
  readonly canary: string;
  /** What makes programs trust the sandbox's own certificate authority; absent where nothing is inspected. */
  readonly trust?: TrustFolder;
  /** An address of 127/8 that no other sandbox has (Territory). */
  readonly loopback: number;
  /** The broker makes the sockets and hands them in: here it could not have those that programs make (pidfd_getfd). */
  readonly madeSockets: boolean;
  /** Processes and threads that the user it runs as has already. */
  readonly userTasks: number;
}

/** Which limits a cgroup holds for this session, and why it holds no more. */
export interface HeldByCgroup {
  readonly memory: boolean;
  readonly processes: boolean;
  /** Why this host gives no cgroup for what it does not hold; absent where the policy wants none. */
  readonly reasons?: { readonly memory?: string; readonly processes?: string };
}

/** Where the tools' own Node and programs are inside. */
export const toolFolder = "/.holdfast";
/** The sandbox's home, private and empty. */
export const homeFolder = "/home/sandbox";
