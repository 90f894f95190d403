import { EventEmitter } from "node:events";
import { closeSync } from "node:fs";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { HoldfastError } from "../errors.ts";
import { native, stdioMerge, stdioNull, stdioPipe, stdioPty } from "../native.ts";
import type { SandboxCgroup } from "./cgroup.ts";
import type { Channel } from "./channel.ts";
import { readableFrom, writableTo } from "./descriptors.ts";
import { displayPath } from "./display-path.ts";
import { execSteps, type InitEvent, limitKinds } from "./events.ts";
import { type ExecRequest, execRequest, signalRequest } from "./requests.ts";
import type { SandboxProcess, SpawnOptions, Usage } from "./types.ts";

const signals = constants.signals;
const signalNames = new Map<number, NodeJS.Signals>(
  Object.entries(signals).map(([name, number]) => [number, name as NodeJS.Signals]),
);
const errnoNames = new Map<number, string>(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** The name of an errno, or its number. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? String(errno);
}

/** A terminal for the call: which of the three descriptors are on it, and its size. */
export interface PtyOptions {
  readonly on: readonly [boolean, boolean, boolean];
  readonly rows: number;
  readonly columns: number;
  /** struct termios2; the kernel's own settings when absent. */
  readonly settings?: Uint8Array | undefined;
}

export interface StartOptions extends SpawnOptions {
  readonly pty?: PtyOptions;
  /** File mode creation mask; 0o022 when absent. */
  readonly umask?: number;
  /** Which limit is known, at its end, to have been reached below it. */
  readonly limitAtEnd?: () => string | null;
  /** The bytes are taken by `drain` instead of streams: cheaper for short calls. */
  readonly captured?: boolean;
}

const defaultForceKillMs = 5000;

/** One confined child. Events in ChildProcess's order: `spawn`, then `exit`, then `close`; `error` instead of `spawn`. */
export class ConfinedProcess extends EventEmitter implements SandboxProcess {
  pid: number | undefined;
  exitCode: number | null = null;
  signalCode: NodeJS.Signals | null = null;
  /** Which limit ended the call. */
  limit: string | null = null;
  timedOut = false;
  isCanceled = false;
  usage: Usage = { userMs: 0, systemMs: 0, maxRssBytes: 0 };
  /** As the sandbox numbers it: all that the call starts is in it, unless it makes sessions of its own. */
  session = 0;
  /** The other end of the call's own terminal. */
  ptyMaster: number | null = null;
  readonly #channel: Channel;
  readonly #cgroup: SandboxCgroup | null;
  readonly #id: number;
  readonly #fds: [number, number, number];
  #input: Writable | null = null;
  readonly #outputs: [null, Readable | null, Readable | null] = [null, null, null];
  readonly #forceKillAfterMs: number;
  readonly #file: string;
  readonly #limitAtEnd: () => string | null;
  #timeout: NodeJS.Timeout | undefined;
  #forceKill: NodeJS.Timeout | undefined;
  #ended = false;
  #closed = false;
  #openStreams = 0;
  #referenced = true;
  #unsubscribe: () => void = () => {};

  constructor(
    channel: Channel,
    request: Omit<ExecRequest, "id">,
    options: StartOptions,
    cgroup: SandboxCgroup | null = null,
  ) {
    super();
    this.#channel = channel;
    this.#file = request.file;
    this.#limitAtEnd = options.limitAtEnd ?? (() => null);
    this.#cgroup = cgroup;
    this.#forceKillAfterMs = options.forceKillAfterMs ?? defaultForceKillMs;
    this.#id = channel.add({ onEvent: (event) => this.#onEvent(event), onGone: () => this.#onGone() });
    const on = options.pty?.on ?? [false, false, false];
    const stdin = on[0] ? stdioPty : options.stdin === "ignore" ? stdioNull : stdioPipe;
    const stdout = on[1] ? stdioPty : stdioPipe;
    const stderr = on[2] ? stdioPty : options.mergeStderr ? stdioMerge : stdioPipe;
    try {
      this.#fds = native().exec(channel.control, execRequest({ ...request, id: this.#id }), stdin, stdout, stderr);
    } catch (cause) {
      channel.remove(this.#id);
      throw new HoldfastError(`the sandbox could not be asked to start ${request.file}`, {
        code: "ERR_HOLDFAST_EXEC",
        step: "exec",
        hint: "If the sandbox was disposed or its init was killed, create a new one.",
        cause,
      });
    }
    if (options.timeoutMs !== undefined) {
      this.#timeout = setTimeout(() => {
        this.timedOut = true;
        this.#terminate(options.killSignal ?? "SIGTERM");
      }, options.timeoutMs);
    }
    const { signal } = options;
    if (signal !== undefined) {
      const onAbort = (): void => {
        this.isCanceled = true;
        this.#terminate(options.killSignal ?? "SIGTERM");
      };
      if (signal.aborted) queueMicrotask(onAbort);
      else signal.addEventListener("abort", onAbort, { once: true });
      this.#unsubscribe = () => signal.removeEventListener("abort", onAbort);
    }
  }

  get stdin(): Writable | null {
    const fd = this.#fds[0];
    if (this.#input === null && fd >= 0) {
      this.#input = writableTo(fd);
      this.#fds[0] = -1;
    }
    return this.#input;
  }

  get stdout(): Readable | null {
    return this.#output(1);
  }

  get stderr(): Readable | null {
    return this.#output(2);
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Our end of a pipe that no stream has taken; -1 when there is none. */
  rawFd(place: 1 | 2): number {
    return this.#outputs[place] === null ? this.#fds[place] : -1;
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): boolean {
    if (this.#ended || this.#channel.isGone) return false;
    native().request(this.#channel.control, signalRequest(this.#id, signals[signal], signal === "SIGKILL"), null);
    return true;
  }

  /** Ends the call and names the limit that it reached. */
  killForLimit(limit: string): void {
    this.limit ??= limit;
    this.kill("SIGKILL");
  }

  ref(): void {
    if (!this.#referenced && !this.#ended) this.#channel.ref();
    this.#referenced = true;
  }

  unref(): void {
    if (this.#referenced && !this.#ended) this.#channel.unref();
    this.#referenced = false;
  }

  #output(place: 1 | 2): Readable | null {
    const known = this.#outputs[place];
    if (known !== null) return known;
    const fd = this.#fds[place];
    if (fd < 0) return null;
    const stream = readableFrom(fd);
    this.#fds[place] = -1;
    this.#outputs[place] = stream;
    this.#openStreams++;
    stream.once("close", () => {
      this.#openStreams--;
      this.#maybeClose();
    });
    return stream;
  }

  #terminate(signal: NodeJS.Signals): void {
    if (this.#ended) {
      this.#abandonOutputs();
      return;
    }
    if (!this.kill(signal) || signal === "SIGKILL") return;
    this.kill("SIGCONT"); // as timeout(1): a stopped program hears of it too
    this.#forceKill = setTimeout(() => this.kill("SIGKILL"), this.#forceKillAfterMs);
  }

  /** What the program left running may hold its pipes open for ever. */
  #abandonOutputs(): void {
    for (const stream of this.#outputs) stream?.destroy();
    this.closeRaw();
    this.#maybeClose();
  }

  #onEvent(event: InitEvent): void {
    switch (event.type) {
      case "started":
        this.pid = event.value;
        this.session = event.detail;
        this.#takeMaster();
        this.emit("spawn");
        break;
      case "failed":
        this.#settle();
        this.emit("error", startError(event, this.#file));
        this.#maybeClose();
        break;
      case "limit":
        this.limit ??= limitKinds[event.detail] ?? null;
        if (this.limit === "memory") this.#cgroup?.noteMemoryReached();
        break;
      case "stopped":
        this.emit("stopped", signalNames.get(event.value) ?? "SIGSTOP");
        break;
      case "exited":
        this.usage = { userMs: event.userMs, systemMs: event.systemMs, maxRssBytes: event.maxRssBytes };
        this.#exit(event.value);
        break;
      default:
        break;
    }
  }

  /** wait(2): the low seven bits are the signal, the next byte the exit status. */
  #exit(status: number): void {
    const signal = status & 0x7f;
    if (signal === 0) this.exitCode = (status >> 8) & 0xff;
    else this.signalCode = signalNames.get(signal) ?? "SIGKILL";
    this.#settle();
    this.emit("exit", this.exitCode, this.signalCode);
    this.#maybeClose();
  }

  #onGone(): void {
    if (this.#ended) return;
    // The kernel may have killed the init too, when nothing else was left to kill.
    if (this.#cgroup?.memoryReachedUntold) this.limit ??= "memory";
    this.signalCode = "SIGKILL";
    this.#settle();
    this.emit("exit", null, this.signalCode);
    this.#maybeClose();
  }

  #takeMaster(): void {
    const packet = this.#channel.takePacket(this.#id);
    if (packet !== null && packet.fd >= 0) this.ptyMaster = packet.fd;
  }

  #settle(): void {
    this.#ended = true;
    const limit = this.#limitAtEnd();
    this.limit ??= limit;
    clearTimeout(this.#forceKill);
    this.#timeout?.unref(); // it goes on until the pipes are closed
    if (!this.#referenced) this.#channel.ref();
    this.#channel.remove(this.#id);
    // The child may have ended before it read everything.
    this.#input?.destroy();
    if (this.#fds[0] >= 0) closeSync(this.#fds[0]);
    this.#fds[0] = -1;
  }

  #maybeClose(): void {
    if (!this.#ended || this.#closed || this.#openStreams > 0) return;
    this.#closed = true;
    // A turn later, so that a listener of `exit` may still take a stream.
    queueMicrotask(() => {
      if (this.#openStreams > 0) {
        this.#closed = false;
        return;
      }
      this.closeRaw();
      clearTimeout(this.#timeout);
      this.#unsubscribe();
      this.emit("close", this.exitCode, this.signalCode);
    });
  }

  /** Closes the ends that nobody took. */
  closeRaw(): void {
    for (const place of [1, 2] as const) {
      if (this.#fds[place] >= 0) closeSync(this.#fds[place]);
      this.#fds[place] = -1;
    }
  }
}

function startError(event: InitEvent, file: string): HoldfastError {
  const step = execSteps[event.detail] ?? "execve";
  const errno = errnoName(event.value);
  const options = { code: "ERR_HOLDFAST_EXEC", step: "exec", errno } as const;
  const name = displayPath(Buffer.from(file));
  const what = name === "" ? '""' : name;
  if (step === "interpreter") {
    return new HoldfastError(`${what}: the interpreter that it names was not found inside the sandbox`, {
      ...options,
      exitCode: 127,
      syscall: "execve",
      hint: "Correct its first line, or grant the folder of the interpreter with --read.",
    });
  }
  if (step === "execve" && (errno === "ENOENT" || errno === "ENOTDIR")) {
    return new HoldfastError(`${what}: not found inside the sandbox`, {
      ...options,
      exitCode: 127,
      syscall: "execve",
      hint: "What is not granted does not exist inside: grant its folder with --read, or name it by its path there.",
    });
  }
  if (step === "execve") {
    return new HoldfastError(`${what}: could not be executed (${errno})`, {
      ...options,
      exitCode: 126,
      syscall: "execve",
      hint:
        errno === "ENOEXEC"
          ? "It is no program for this machine."
          : errno === "E2BIG"
            ? "Its arguments and environment are larger than the kernel takes: pass them in a file or by standard input."
            : "It must be a file with an execute bit, as must its interpreter.",
    });
  }
  if (step === "directory") {
    return new HoldfastError(`the working directory does not exist inside the sandbox (${errno})`, {
      ...options,
      syscall: "chdir",
      hint: "Grant it with --read or --write, or name one that is granted.",
    });
  }
  return new HoldfastError(`${what}: it could not be started: ${step} failed (${errno})`, {
    ...options,
    hint:
      errno === "EAGAIN"
        ? "The limit `processes` is reached in this sandbox."
        : "`holdfast doctor` checks the walls of this host.",
  });
}
