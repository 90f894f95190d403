import type { Readable, Writable } from "node:stream";
import type { Audit } from "../audit/audit.ts";
import type { Policy } from "../policy/policy.ts";

/** How far one wall stands on this host for this sandbox. */
export interface WallStatus {
  readonly wall: string;
  readonly status: "enforced" | "partial" | "unavailable";
  readonly reason?: string;
}

/** One thing that was refused, folded: equal refusals are counted, not repeated. */
export interface Denial {
  readonly kind: "syscall" | "connect" | "file" | "limit";
  /** The call's name, `host:port`, the path, or the limit's name. */
  readonly subject: string;
  readonly count: number;
  /** The flag or rule that would grant it, where one exists. */
  readonly grant?: string;
}

/** The resources that a finished call used. */
export interface Usage {
  readonly userMs: number;
  readonly systemMs: number;
  readonly maxRssBytes: number;
}

export interface SandboxOptions {
  policy?: Policy;
  /** The folder on the host that is the workspace. */
  workdir: string;
  /** Where it appears inside; its own path by default. */
  mountAt?: string;
  /** `direct` binds the folder; `overlay` shows it and keeps writes private; `fresh` starts empty. */
  workspace?: "direct" | "overlay" | "fresh";
  /** A name for logs and the control socket; made up when absent. */
  name?: string;
  /** Make ready what the six tools need inside (a Node for glob and grep). */
  tools?: boolean;
  /** Where calls, refusals and the end of the sandbox are recorded. */
  audit?: Audit;
  /** Further writable or readable folders of the session (skills, memory), made inside, private, empty. */
  privateFolders?: readonly string[];
}

export interface SpawnOptions {
  /** Absolute inside the sandbox; the workdir by default. */
  cwd?: string;
  /** Added to the environment that the policy built. */
  env?: Readonly<Record<string, string>>;
  stdin?: "pipe" | "ignore";
  /** Standard error goes to the same pipe as standard output, in order. */
  mergeStderr?: boolean;
  /** Cancels the call: SIGTERM to the whole group, SIGKILL after `forceKillAfterMs`. */
  signal?: AbortSignal;
  /** Ends the call; where the program has ended and what it left running holds its pipes, closes those. */
  timeoutMs?: number;
  forceKillAfterMs?: number;
  killSignal?: NodeJS.Signals;
  /**
   * An extra wall on top: `read-only` can write nothing and has no sockets (read, glob and grep run so);
   * `base` is what the policy grants.
   */
  layer?: "base" | "read-only";
  /** When the program ends, what it left running in its session is killed before `exit` is reported. */
  killTreeOnExit?: boolean;
}

export interface ExecOptions extends SpawnOptions {
  input?: string | Uint8Array;
  /** Bytes of stdout and stderr kept each; more is read and dropped, and `truncated` is set. 10 MiB by default. */
  maxBufferBytes?: number;
}

export interface ExecResult {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly timedOut: boolean;
  readonly isCanceled: boolean;
  readonly truncated: boolean;
  /** The limit that ended the call, if one did. */
  readonly limit: string | null;
  readonly durationMs: number;
  readonly usage: Usage;
  readonly denials: readonly Denial[];
  readonly enforcement: readonly WallStatus[];
}

/** What a path came to, resolved by the kernel inside the sandbox under the tool's own Landlock layer. */
export type OpenOutcome =
  | {
      readonly kind: "file";
      readonly fd: number;
      readonly path: string;
      readonly size: number;
      readonly mode: number;
      readonly mtimeNs: bigint;
    }
  | { readonly kind: "directory" | "other"; readonly path: string }
  | { readonly kind: "outside" }
  | {
      readonly kind: "error";
      readonly errno: string /** while following the path (17.1) or on the file itself */;
      readonly resolving: boolean;
    };

export type WriteOutcome =
  | { readonly kind: "written"; readonly path: string }
  | { readonly kind: "outside" }
  | { readonly kind: "read-only"; readonly root: string }
  | { readonly kind: "directory" | "other"; readonly path: string }
  | { readonly kind: "error"; readonly errno: string; readonly resolving: boolean };

export interface PathRules {
  /** Folders that a path may resolve into; the workdir first. Relative paths are taken from the first. */
  readonly roots: readonly string[];
  /** Folders in which writes are refused by name. */
  readonly readOnlyRoots?: readonly string[];
}

/** File operations for the tools, done by the init inside the sandbox. */
export interface SandboxFiles {
  /** Opens a regular file for reading; the descriptor is the caller's to close. A fifo or device is never opened. */
  open(path: string, rules: PathRules): Promise<OpenOutcome>;
  /**
   * Replaces or creates a file: parents made 0700, temporary file beside the target, flushed, renamed over it;
   * a new file is 0600, an existing one keeps its permission bits; a final link is followed.
   */
  write(path: string, content: Uint8Array, rules: PathRules): Promise<WriteOutcome>;
}

/** Behaves like a ChildProcess: events `spawn`, `exit`, `close`, `error` in its order. */
export interface SandboxProcess extends NodeJS.EventEmitter {
  readonly pid: number | undefined;
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  readonly exitCode: number | null;
  readonly signalCode: NodeJS.Signals | null;
  /** Sends a signal to the call's whole process group; SIGKILL ends its whole tree. */
  kill(signal?: NodeJS.Signals): boolean;
  ref(): void;
  unref(): void;
}

export interface SandboxLike extends AsyncDisposable {
  readonly name: string;
  /** The workspace's path inside. */
  readonly workdir: string;
  readonly enforcement: readonly WallStatus[];
  readonly files: SandboxFiles;
  /** Where the tools' own Node and programs are inside; null when the sandbox was made without tools. */
  readonly toolRuntime: { readonly node: string; readonly programs: string } | null;
  spawn(file: string, args?: readonly string[], options?: SpawnOptions): SandboxProcess;
  exec(file: string, args?: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  dispose(): Promise<void>;
}
