import type { KeyObject } from "node:crypto";
import type { Readable, Writable } from "node:stream";
import type { Audit } from "../audit/audit.ts";
import type { Limits, Policy } from "../policy/policy.ts";

/** How far one wall stands on this host for this sandbox. */
export interface WallStatus {
  /** As `holdfast doctor` calls it. */
  readonly wall: string;
  /** `partial`: something weaker stands in for it. */
  readonly status: "enforced" | "partial" | "unavailable";
  /** Why it is not enforced. */
  readonly reason?: string;
}

/** One thing that was refused, folded: equal refusals are counted, not repeated. */
export interface Denial {
  /** What was refused. */
  readonly kind: "syscall" | "connect" | "file" | "limit";
  /** The call's name, `host:port`, the path, or the limit's name. */
  readonly subject: string;
  /** How often. */
  readonly count: number;
  /** The flag or rule that would grant it, where one exists. */
  readonly grant?: string;
  /** Of a connection: why it was refused. */
  readonly detail?: string;
}

/** Connections that were permitted and led nowhere, folded. */
export interface Unreached {
  /** `host:port (by PROGRAM)`, or a port inside that was to be reached from outside. */
  readonly subject: string;
  /** How often. */
  readonly count: number;
  /** Why: the name is not known, nobody listens, … */
  readonly detail: string;
}

/** The resources that a finished call used. */
export interface Usage {
  /** Processor time in programs. */
  readonly userMs: number;
  /** Processor time in the kernel for them. */
  readonly systemMs: number;
  /** The most memory that one of its processes had. */
  readonly maxRssBytes: number;
}

/**
 * What the walls are made of: namespaces and mounts with Landlock and the filter inside, or, where a host refuses user
 * namespaces, Landlock, the filter and the broker alone (docs/hosts.md).
 */
export type Mode = "namespaces" | "landlock";

/** How a sandbox is made. */
export interface SandboxOptions {
  /** What is permitted (`loadPolicy`, `presetPolicy`); the preset `default` when absent. */
  policy?: Policy;
  /** The folder on the host that is the workspace. */
  workdir: string;
  /** Where it appears inside; its own path by default. */
  mountAt?: string;
  /** `direct` binds the folder; `overlay` shows it and keeps writes private; `fresh` starts empty. */
  workspace?: "direct" | "overlay" | "fresh";
  /** Namespaces where the host gives them, else Landlock alone, when absent. */
  mode?: Mode;
  /** A name for logs and the control socket; made up when absent. */
  name?: string;
  /** Make ready what the six tools need inside (a Node for glob and grep). */
  tools?: boolean;
  /** Offer the explicit proxy too, and tell programs of it by HTTP_PROXY and its like. */
  proxyEnv?: boolean;
  /** Where calls, refusals and the end of the sandbox are recorded. */
  audit?: Audit;
  /** An Ed25519 key (`readReceiptKey`): `dispose` leaves `receipt`, signed with it. */
  receiptKey?: KeyObject;
  /** Further writable or readable folders of the session (skills, memory), made inside, private, empty. */
  privateFolders?: readonly string[];
}

/** What one of a call's standard streams is: `inherit` hands on this process's own, byte by byte, never its descriptor. */
export type Stdio = "pipe" | "ignore" | "inherit";

/** Options of a call, named as in node:child_process where it has them. */
export interface SpawnOptions {
  /** Absolute inside the sandbox; the workdir by default. */
  cwd?: string;
  /** Added to the environment that the policy built. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Short for the first of `stdio`. */
  stdin?: "pipe" | "ignore";
  /** One word for all three streams, or a word each; `pipe` by default. */
  stdio?: Stdio | readonly (Stdio | null | undefined)[];
  /** Standard error goes to the same pipe as standard output, in order. */
  mergeStderr?: boolean;
  /** Cancels the call: SIGTERM to the whole group, SIGKILL after `forceKillAfterMs`. */
  signal?: AbortSignal;
  /**
   * Ends the call after so many milliseconds, in the same way; 0: not. Where the program has ended and what it left running
   * holds its pipes, closes those. The policy's `wall-time` holds besides.
   */
  timeoutMs?: number;
  /** The same by child_process's name. */
  timeout?: number;
  /** How long after `killSignal` the whole tree is killed; 5,000 by default. */
  forceKillAfterMs?: number;
  /** What a timeout and `signal` send; SIGTERM by default. */
  killSignal?: NodeJS.Signals | number;
  /**
   * An extra wall on top: `read-only` can write nothing and has no sockets (read, glob and grep run so);
   * `base` is what the policy grants.
   */
  layer?: "base" | "read-only";
  /** When the program ends, what it left running in its session is killed before `exit` is reported. */
  killTreeOnExit?: boolean;
  /** It serves many calls (a shell that is kept): the policy's limits `wall-time` and `output` are those of one call. */
  isSession?: boolean;
}

/** Options of a call that is waited for. */
export interface ExecOptions extends SpawnOptions {
  /** What it reads; nothing by default. */
  input?: string | Uint8Array;
  /** Bytes of stdout and stderr kept each; more is read and dropped, and `truncated` is set. 10 MiB by default. */
  maxBufferBytes?: number;
  /** Reject with an ExecError unless the program ended by itself with status 0. */
  reject?: boolean;
}

/** How a call ended. */
export interface ExecResult {
  /** What it printed, up to `maxBufferBytes`. */
  readonly stdout: Buffer;
  /** The same of standard error. */
  readonly stderr: Buffer;
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
  /** What ended it, if a signal did. */
  readonly signal: NodeJS.Signals | null;
  /** It took longer than `timeoutMs` or the policy's `wall-time`. */
  readonly timedOut: boolean;
  /** The AbortSignal ended it. */
  readonly isCanceled: boolean;
  /** A signal ended it, whoever sent that. */
  readonly isTerminated: boolean;
  /** The AbortSignal's reason, where it ended the call. */
  readonly cause: unknown;
  /** More was printed than `maxBufferBytes`. */
  readonly truncated: boolean;
  /** The policy's limit that ended the call, if one did. */
  readonly limit: string | null;
  /** From the request to the end of its output. */
  readonly durationMs: number;
  /** With all that it started and waited for. */
  readonly usage: Usage;
  /** What was refused in the sandbox since the last look (`takeDenials`). */
  readonly denials: readonly Denial[];
  /** Which walls it ran behind. */
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

/** What a write came to. */
export type WriteOutcome =
  | { readonly kind: "written"; readonly path: string }
  | { readonly kind: "outside" }
  | { readonly kind: "read-only"; readonly root: string }
  | { readonly kind: "directory" | "other"; readonly path: string }
  | { readonly kind: "error"; readonly errno: string; readonly resolving: boolean };

/** Where a path may lead. */
export interface PathRules {
  /** Folders that a path may resolve into; the workdir first. Relative paths are taken from the first. */
  readonly roots: readonly string[];
  /** Folders in which writes are refused by name. */
  readonly readOnlyRoots?: readonly string[];
  /** False: a link on the way below a root is an error (ELOOP). */
  readonly followLinks?: boolean;
}

/** Where a file is written, and as what. */
export interface WriteRules extends PathRules {
  /** Permission bits; those that the file had when absent, 0600 for a new one. */
  readonly mode?: number;
}

/** File operations for the tools, done by the init inside the sandbox. */
export interface SandboxFiles {
  /** Opens a regular file for reading; the descriptor is the caller's to close. A fifo or device is never opened. */
  open(path: string, rules: PathRules): Promise<OpenOutcome>;
  /**
   * Replaces or creates a file: parents made 0700, temporary file beside the target, flushed, renamed over it;
   * a new file is 0600, an existing one keeps its permission bits; a final link is followed.
   */
  write(path: string, content: Uint8Array, rules: WriteRules): Promise<WriteOutcome>;
}

/**
 * Behaves like a ChildProcess: events `spawn`, `exit`, `close`, and `error` where it could not be started or its
 * AbortSignal ended it, in the same order. Besides, `stopped` with the name of the signal.
 */
export interface SandboxProcess extends NodeJS.EventEmitter, Disposable {
  /** Inside; undefined until `spawn`. */
  readonly pid: number | undefined;
  /** Null unless it is a pipe. */
  readonly stdin: Writable | null;
  /** Null unless it is a pipe. */
  readonly stdout: Readable | null;
  /** Null unless it is a pipe of its own. */
  readonly stderr: Readable | null;
  /** All three. */
  readonly stdio: readonly [Writable | null, Readable | null, Readable | null];
  /** The program. */
  readonly spawnfile: string;
  /** Its arguments, the program the first of them. */
  readonly spawnargs: readonly string[];
  /** False: there is no channel for messages. */
  readonly connected: boolean;
  /** Null while it runs, and when a signal ended it. */
  readonly exitCode: number | null;
  /** The signal that ended it. */
  readonly signalCode: NodeJS.Signals | null;
  /** Whether `kill()` has sent something. */
  readonly killed: boolean;
  /** The policy's limit that ended it, if one did. */
  readonly limit: string | null;
  /** A timeout, or the limit `wall-time`, ended it. */
  readonly timedOut: boolean;
  /** Its AbortSignal ended it. */
  readonly isCanceled: boolean;
  /** Known when it has ended. */
  readonly usage: Usage;
  /**
   * Sends a signal to the call's whole process group; SIGKILL ends its whole tree. False when it has ended.
   *
   * @throws TypeError ERR_UNKNOWN_SIGNAL
   */
  kill(signal?: NodeJS.Signals | number): boolean;
  /** The limit of the policy that it, or something that it started, has reached by now; it is being ended for that. */
  limitReached(): string | null;
  /** Keeps this process alive while it runs, as it does at first. */
  ref(): void;
  /** No longer keeps this process alive. */
  unref(): void;
}

/** What the tools need of a sandbox. */
export interface SandboxLike extends AsyncDisposable {
  readonly name: string;
  /** The workspace's path inside. */
  readonly workdir: string;
  readonly enforcement: readonly WallStatus[];
  /** What the policy lets a call use up. */
  readonly limits: Limits;
  readonly files: SandboxFiles;
  /** Where the tools' own Node and programs are inside; null when the sandbox was made without tools. */
  readonly toolRuntime: { readonly node: string; readonly programs: string } | null;
  spawn(file: string, args?: readonly string[], options?: SpawnOptions): SandboxProcess;
  exec(file: string, args?: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  dispose(): Promise<void>;
}
