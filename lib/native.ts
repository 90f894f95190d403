/**
 * The only importer of the addon. Casts happen here and nowhere else: what the addon returns is taken at its word.
 */

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "./errors.ts";

export interface IdMappedTree {
  readonly source: string;
  readonly recursive: boolean;
  readonly uidMap: string;
  readonly gidMap: string;
}

/** Files of the sandbox's cgroup whose counters say that a limit was reached; empty where there is none. */
export interface CgroupEventFiles {
  /** Counts processes that the kernel killed for want of memory: `oom_kill N`. */
  readonly memoryKills: string;
  /** v2: counts how often this cgroup's own limit was met, `oom N`. v1: the most bytes that were in use. */
  readonly memoryReached: string;
  /** Bytes in use. */
  readonly memoryUsed: string;
  /** In bytes, as the cgroup has it. */
  readonly memoryLimit: number;
  /** Counts forks that were refused: `max N`. */
  readonly tasksRefused: string;
}

/** Of a sandbox without a cgroup. */
export const noCgroupEvents: CgroupEventFiles = Object.freeze({
  memoryKills: "",
  memoryReached: "",
  memoryUsed: "",
  memoryLimit: 0,
  tasksRefused: "",
});

export interface LaunchRequest {
  /** What `begin` returned, or 0. One with other namespaces than `cloneFlags` is abandoned. */
  readonly begun: number;
  readonly cloneFlags: number;
  readonly uidMap: string;
  readonly gidMap: string;
  readonly denySetgroups: boolean;
  readonly program: Uint8Array;
  readonly idMapped: readonly IdMappedTree[];
  /** What another sandbox handed on, or -1; taken over. */
  readonly handed: number;
  /** Files that the init's pid is written to before it is set up. */
  readonly cgroupProcs: readonly string[];
  readonly cgroupEvents: CgroupEventFiles;
  readonly initFile: string;
}

export interface Launched {
  readonly pid: number;
  readonly pidfd: number;
  readonly control: number;
  readonly events: number;
}

/** What a rejected launch carries (native/result.h). */
export interface NativeFailure {
  readonly step: string;
  readonly syscall: string;
  readonly path: string;
  readonly errno: number;
  readonly wall: number;
}

export interface DenialRecord {
  readonly number: number;
  readonly subject: string;
  readonly count: number;
}

/** How one of a child's standard descriptors is made (native/exec.h). */
export type StdioKind = 0 | 1 | 2 | 3;
export const stdioNull: StdioKind = 0;
export const stdioPipe: StdioKind = 1;
export const stdioPty: StdioKind = 2;
export const stdioMerge: StdioKind = 3;

/** What a sandbox without namespaces may change beyond what Landlock judges, and as whom (native/territory.h). */
export interface BrokerTerritory {
  readonly writable: readonly string[];
  readonly readable: readonly string[];
  /** Its own, as a number: even, with the next one (native/own_loopback.h). */
  readonly loopback: number;
  readonly uid: number;
  readonly gid: number;
  /** Connections are carried on, by a listener on the host's loopback. */
  readonly hasEgress: boolean;
}

/** Whose files say nothing of what they are by their paths (native/own_files.h). Paths as the sandbox sees them. */
export interface BrokerOwnFiles {
  readonly writable: readonly string[];
  readonly readOnly: readonly string[];
  /** As whom it runs on the host. */
  readonly uid: number;
  readonly gid: number;
}

export interface Ready {
  /** Of the broker that answers what the filter hands out; 0 where it hands out nothing. */
  readonly broker: number;
  /** Sockets at the sandbox's name server; -1 where it has none. */
  readonly resolverDatagrams: number;
  readonly resolverStreams: number;
  /** A folder for the next sandbox; -1 where the plan has none. */
  readonly handed: number;
}

/** An executable, as its open file says (native/flows.h). */
export interface ProgramFacts {
  /** As the sandbox sees it; ends in ` (deleted)` where it has no name any more. A name that is no UTF-8 is as it can be shown. */
  readonly path: string;
  /** `DEVICE:INODE:NS`, with when it was changed last (st_ctim): another one is another content. */
  readonly state: string;
  readonly links: number;
  /** Its file is not the sandbox's own (native/own_files.h). */
  readonly isReadOnly: boolean;
  /** Code of a file was mapped into it that the sandbox can write; looked at where a network rule names programs. */
  readonly hasForeignCode: boolean;
  /** A script among its arguments; empty where there is none. */
  readonly script: string;
  /** Its parents' executables, nearest first. */
  readonly ancestors: readonly string[];
  /** O_PATH; to be closed. */
  readonly file: number;
}

/** A connection that the broker made for a program: our end of it. */
export interface CarriedFlow {
  readonly socket: number;
  /** What the program asked for. */
  readonly address: string;
  readonly port: number;
  readonly pid: number;
  readonly program: ProgramFacts | null;
}

/** What `prepareSearch` made. */
export interface NativeSearch {
  readonly __search: never;
}

export interface Native {
  /** Starts an init that waits for its set-up, on the launcher's thread. Goes to `launch` or to `abandon`. */
  begin(cloneFlags: number, initFile: string): number;
  abandon(begun: number): void;
  /** Resolves when the init has what it needs. Then it raises the walls, and tells of it by a record, or ends. */
  launch(request: LaunchRequest): Promise<Launched>;
  /**
   * After that record, or the end of the records. `notify` has the fields of NotifyRule (native/notify.h), one rule after
   * another. `territory` is that of a sandbox without namespaces. Throws what failed.
   */
  ready(
    control: number,
    pid: number,
    notify: Int32Array,
    territory: BrokerTerritory | null,
    own: BrokerOwnFiles,
  ): Ready;
  /** Resolves when the init's process is gone, and reaps it. */
  waitExit(pidfd: number): Promise<number>;
  kill(pidfd: number): number;
  /** Returns our ends of the pipes, -1 where there is none. */
  exec(
    control: number,
    message: Uint8Array,
    stdin: StdioKind,
    stdout: StdioKind,
    stderr: StdioKind,
  ): [number, number, number];
  request(control: number, message: Uint8Array, content: Uint8Array | null): void;
  receive(control: number): { data: Buffer; fd: number } | null;
  takeDenials(broker: number): DenialRecord[];
  unwatch(broker: number): void;
  /** Calls when there may be something for `takeLimits`. */
  onLimitReached(broker: number, listener: () => void): void;
  /** Limits that a process inside met and only the broker saw: LimitKind of native/wire.h, and the sessions it lies in. */
  takeLimits(broker: number): { kind: number; sessions: number[] }[];
  /** Calls when there are connections for `takeFlows`. */
  onFlow(broker: number, listener: () => void): void;
  takeFlows(broker: number): CarriedFlow[];
  /**
   * Carries on between two connected TCP sockets, both ways, on a thread of the addon's (native/relay.h); nobody else may read or
   * write them meanwhile. Calls when both ways have ended, or both connections were reset since one had failed: then they are to
   * be closed. Throws a NativeFailure.
   */
  startRelay(one: number, other: number, ended: () => void): number;
  /** Resets both connections, at once; `ended` is not called any more. */
  resetRelay(relay: number): void;
  /** Hands on what comes on a stream, read by a thread of the addon's; null at its end. */
  watchEvents(fd: number, listener: (chunk: Buffer | null) => void): void;
  /** A process that outlives this one to clear what the list says; the list is a memfd that this process writes. */
  startReaper(initFile: string): Promise<number>;
  /**
   * The addresses that a name has for this host, by a thread of its own: `code` is getaddrinfo's (0: found), `words` what it
   * means. Throws a NativeFailure where there can be no more threads.
   */
  lookUpHost(name: string): Promise<{ code: number; words: string; addresses: string[] }>;
  probe(): { landlockAbi: number; landlockErrno: number };
  /** 0, or the errno of clone(2) with these CLONE_NEW* flags. */
  probeClone(flags: number): number;
  probeSeccompAction(action: number): boolean;
  probePidfdGetfd(): number;
  probeMemfdExec(): number;
  setWindowSize(fd: number, rows: number, columns: number): void;
  /** `[rows, columns]` of a terminal, null when it is none. */
  windowSize(fd: number): [number, number] | null;
  /** What a terminal is set to (struct termios2, 44 bytes); null when it is none. */
  getTerminal(fd: number): Buffer | null;
  /** Sets a terminal, `raw`: as cfmakeraw(3) changes the settings. 0 or the errno; never stops the process. */
  setTerminal(fd: number, settings: Uint8Array, raw: boolean): number;
  /** Whether this process may read the terminal without being stopped for it. */
  inForeground(fd: number): boolean;
  peerCredentials(fd: number): { pid: number; uid: number; gid: number } | null;
  /** lgetxattr(2); null where there is no such attribute. */
  getXattr(path: string | Buffer, name: string): Buffer | null;
  /** lsetxattr(2); 0 or the errno. */
  setXattr(path: string | Buffer, name: string, value: Buffer): number;
  /** close(2): a runtime's own closes only what it opened itself (Deno). */
  close(fd: number): void;
  /** recv(2) of what has come on a socket, which stays there: the bytes it put in, or minus the errno (EAGAIN: none has). */
  peek(fd: number, into: Uint8Array): number;
  /** pwrite(2) at a position, write(2) where it is below 0; the bytes written, or minus the errno. */
  write(fd: number, data: Uint8Array, position: number): number;
  /**
   * The folders below a root, relative to it, that git takes for repositories: with a `.git`, or bare. Looks at no more
   * than so many folders, nearest first, and says whether those were all. Folders that were changed since (in nanoseconds
   * since 1970; below 0: none) and whose mode keeps their owner out are opened to him, and told of with the mode that was.
   */
  findRepositories(
    root: string,
    mostFolders: number,
    openedSince: bigint,
  ): {
    found: readonly { readonly path: Buffer; readonly bare: boolean }[];
    complete: boolean;
    opened: readonly { readonly path: Buffer; readonly mode: number }[];
  };
  /** The names below a root, relative to it, of regular files with these inode numbers. */
  findNames(root: string, inodes: readonly bigint[], mostFolders: number): readonly Buffer[];
  /** A Buffer, null at the end, undefined when nothing is there yet. */
  readNow(fd: number): Buffer | null | undefined;
  /**
   * Zeros that are never swapped, dumped or forked (native/locked_memory.h), and wiped when the Buffer is collected; `fill(0)`
   * wipes them before. Throws a NativeFailure where RLIMIT_MEMLOCK leaves no room.
   */
  secretBuffer(bytes: number): Buffer;
  /**
   * What finds secrets in some bytes in all their forms (native/form_search.h), and marks: what a token begins with. It keeps
   * the forms as `secretBuffer` does. Throws a NativeFailure where RLIMIT_MEMLOCK leaves no room.
   *
   * @param areSecret false: what is looked for is in everybody's sight, and need not be locked
   */
  prepareSearch(secrets: readonly Buffer[], marks: readonly Buffer[], areSecret: boolean): NativeSearch;
  /**
   * Where the end of the data begins that more may make a form of, its length where none does; where something was found an
   * array of that, and for each find the secret's index, the form's number (FormSearch::Form), from and until.
   *
   * @param more whether more may come
   */
  search(search: NativeSearch, data: Buffer, more: boolean): number | readonly number[];
  /** It finds nothing any more. */
  wipeSearch(search: NativeSearch): void;
  /** getrandom(2). */
  random(bytes: number): Buffer;
  /**
   * Connects a non-blocking TCP socket to the loopback of the network namespace that it was made in; with the broker of a
   * sandbox that has none, to a server of the sandbox's on the host's. 0, EINPROGRESS or EALREADY until it is settled (then
   * it is to be called again), or another errno.
   */
  connectLoopback(fd: number, port: number, broker: number): number;
  /**
   * What `make` makes, one TLS context of a server, sends no session tickets (SSL_CTX_set_num_tickets(3)), for which Node has
   * no option. Where the runtime's TLS is not OpenSSL it is as `make` made it.
   */
  withoutTickets<Context>(make: () => Context): Context;
  /** A listening Unix stream socket, non-blocking, its file of mode 0600; or minus the errno. */
  listenUnix(path: string): number;
}

function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  // findPackageJSON is missing in Bun and Deno; binding.gyp stands only at the root.
  while (!existsSync(join(folder, "binding.gyp"))) {
    const above = dirname(folder);
    if (above === folder) return dirname(fileURLToPath(import.meta.url));
    folder = above;
  }
  return folder;
}

/** The package's own folder. */
export const root: string = packageRoot();

let loaded: Native | undefined;

/**
 * The addon, loaded at first use.
 *
 * @throws HoldfastError ERR_HOLDFAST_ADDON_MISSING when neither a build nor a prebuild fits this platform
 */
export function native(): Native {
  if (loaded !== undefined) return loaded;
  const require = createRequire(import.meta.url);
  try {
    const load: (folder: string) => unknown = require("node-gyp-build");
    loaded = load(root) as Native;
  } catch (cause) {
    throw new HoldfastError(`the native addon could not be loaded for ${process.platform}-${process.arch}`, {
      code: "ERR_HOLDFAST_ADDON_MISSING",
      step: "probe",
      hint: "In a checkout run `npm run build`; from npm run `npm rebuild holdfast` with a C++ compiler, make and Python 3.",
      cause,
    });
  }
  return loaded;
}

/** Random bytes as hexadecimal text. Not by node:crypto, which takes a tenth of a short run's time to load. */
export function randomText(bytes: number): string {
  return native().random(bytes).toString("hex");
}

/** The file that the addon is loaded from: by the loader's own choice, which environment variables can change. */
export function addonFile(): string {
  const { resolve } = createRequire(import.meta.url)("node-gyp-build") as { resolve: (folder: string) => string };
  return resolve(root);
}

/** Whether a value is what the addon rejects with. */
export function isNativeFailure(value: unknown): value is Error & NativeFailure {
  return value instanceof Error && "step" in value && "wall" in value;
}

/** The init as a file, for hosts that forbid executing a memfd (native/launch.cc compares it with the built-in one). */
export function initFile(): string {
  if (init === undefined) {
    const built = join(root, "build", "Release", "holdfast_init");
    init = existsSync(built) ? built : join(root, "prebuilds", `linux-${process.arch}`, "holdfast_init");
  }
  return init;
}

let init: string | undefined;
