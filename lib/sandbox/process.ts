import { EventEmitter } from "node:events";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { HoldfastError } from "../errors.ts";
import { native, type StdioKind, stdioMerge, stdioNull, stdioPipe, stdioPty } from "../native.ts";
import type { SandboxCgroup } from "./cgroup.ts";
import type { Channel } from "./channel.ts";
import { readableFrom, writableTo } from "./descriptors.ts";
import { displayPath } from "./display-path.ts";
import { execSteps, type InitEvent, limitKinds } from "./events.ts";
import { signalNumber } from "./options.ts";
import { type ExecRequest, execRequest, signalRequest } from "./requests.ts";
import type { SandboxProcess, SpawnOptions, Stdio, Usage } from "./types.ts";

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
  /** Called when it has ended, before that is told, and when its limit is asked for: it may be given the one it reached. */
  readonly lookForLimits?: () => void;
  readonly onEnd?: () => void;
  /** Only the end is waited for: nobody hears of its start, and it has no pid. */
  readonly quiet?: boolean;
  /** The policy's limits of one call. */
  readonly wallTimeMs?: number | undefined;
  readonly outputBytes?: number | undefined;
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
  killed = false;
  readonly connected = false;
  readonly spawnfile: string;
  readonly spawnargs: readonly string[];
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
  readonly #inherited: readonly [boolean, boolean, boolean];
  readonly #forceKillAfterMs: number;
  readonly #killSignal: number;
  readonly #isQuiet: boolean;
  readonly #onEnd: () => void;
  readonly #lookForLimits: () => void;
  #timeout: NodeJS.Timeout | undefined;
  #forceKill: NodeJS.Timeout | undefined;
  #ended = false;
  #closed = false;
  #outputLeft = Number.POSITIVE_INFINITY;
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
    this.spawnfile = request.file;
    this.spawnargs = request.args;
    this.#onEnd = options.onEnd ?? (() => {});
    this.#lookForLimits = options.lookForLimits ?? (() => {});
    this.#cgroup = cgroup;
    this.#forceKillAfterMs = options.forceKillAfterMs ?? defaultForceKillMs;
    this.#isQuiet = options.quiet === true;
    this.#killSignal = signalNumber(options.killSignal ?? "SIGTERM");
    this.#id = channel.add({ onEvent: (event) => this.#onEvent(event), onGone: () => this.#onGone() });
    const on = options.pty?.on ?? [false, false, false];
    const streams = stdioOf(options);
    const kind = (place: 0 | 1 | 2): StdioKind =>
      on[place] ? stdioPty : streams[place] === "ignore" ? stdioNull : stdioPipe;
    this.#inherited = [streams[0] === "inherit", streams[1] === "inherit", streams[2] === "inherit"];
    const [stdin, stdout] = [kind(0), kind(1)];
    const stderr = options.mergeStderr && !on[2] ? stdioMerge : kind(2);
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
    this.#outputLeft = options.outputBytes ?? Number.POSITIVE_INFINITY;
    this.#setTimeout(options);
    if (options.signal !== undefined) this.#heed(options.signal);
    this.#inherit();
  }

  #setTimeout({ timeoutMs, timeout, wallTimeMs }: StartOptions): void {
    const asked = timeoutMs ?? timeout ?? 0;
    const after = Math.min(asked === 0 ? Number.POSITIVE_INFINITY : asked, wallTimeMs ?? Number.POSITIVE_INFINITY);
    if (after === Number.POSITIVE_INFINITY) return;
    const end = (): void => {
      this.timedOut = true;
      if (after === wallTimeMs) this.limit ??= "wall-time";
      this.#terminate();
    };
    this.#timeout = setTimeout(end, after);
  }

  #heed(signal: AbortSignal): void {
    const onAbort = (): void => {
      // As a ChildProcess: the end was told. Only the pipes, which what it left running may hold, are closed.
      const hadEnded = this.#ended;
      this.isCanceled = true;
      this.#terminate();
      // Whoever waits for the end alone is told by the result.
      if (!this.#isQuiet && !hadEnded) this.emit("error", abortError(signal.reason));
    };
    if (signal.aborted) queueMicrotask(onAbort);
    else signal.addEventListener("abort", onAbort, { once: true });
    this.#unsubscribe = () => signal.removeEventListener("abort", onAbort);
  }

  /** Relayed: a descriptor of this process's own never goes in. */
  #inherit(): void {
    const [stdin, stdout, stderr] = this.#inherited;
    const input = stdin ? this.#takeInput() : null;
    if (input !== null) {
      input.on("error", () => {}); // a program that reads nothing
      process.stdin.pipe(input);
      this.once("exit", () => {
        process.stdin.unpipe(input);
        process.stdin.pause();
      });
    }
    if (stdout) this.#takeOutput(1)?.pipe(process.stdout, { end: false });
    if (stderr) this.#takeOutput(2)?.pipe(process.stderr, { end: false });
  }

  get stdin(): Writable | null {
    return this.#inherited[0] ? null : this.#takeInput();
  }

  #takeInput(): Writable | null {
    const fd = this.#fds[0];
    if (this.#input === null && fd >= 0) {
      this.#input = writableTo(fd);
      this.#fds[0] = -1;
    }
    return this.#input;
  }

  get stdout(): Readable | null {
    return this.#inherited[1] ? null : this.#takeOutput(1);
  }

  get stderr(): Readable | null {
    return this.#inherited[2] ? null : this.#takeOutput(2);
  }

  get stdio(): readonly [Writable | null, Readable | null, Readable | null] {
    return [this.stdin, this.stdout, this.stderr];
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Our end of a pipe that no stream has taken; -1 when there is none. */
  rawFd(place: 1 | 2): number {
    return this.#outputs[place] === null ? this.#fds[place] : -1;
  }

  kill(signal: NodeJS.Signals | number = "SIGTERM"): boolean {
    const number = signalNumber(signal);
    if (this.#ended || this.#channel.isGone) return false;
    if (number !== 0)
      native().request(this.#channel.control, signalRequest(this.#id, number, number === signals.SIGKILL), null);
    this.killed = true;
    return true;
  }

  [Symbol.dispose](): void {
    if (!this.killed) this.kill();
  }

  /** Ends the call and names the limit that it reached. */
  killForLimit(limit: string): void {
    this.limit ??= limit;
    this.kill("SIGKILL");
  }

  limitReached(): string | null {
    if (!this.#ended) this.#lookForLimits();
    return this.limit;
  }

  ref(): void {
    if (!this.#referenced && !this.#ended) this.#channel.ref();
    this.#referenced = true;
  }

  unref(): void {
    if (this.#referenced && !this.#ended) this.#channel.unref();
    this.#referenced = false;
  }

  #takeOutput(place: 1 | 2): Readable | null {
    const known = this.#outputs[place];
    if (known !== null) return known;
    const fd = this.#fds[place];
    if (fd < 0) return null;
    const stream = readableFrom(fd);
    if (this.#outputLeft !== Number.POSITIVE_INFINITY) this.#bound(stream);
    this.#fds[place] = -1;
    this.#outputs[place] = stream;
    this.#openStreams++;
    stream.once("close", () => {
      this.#openStreams--;
      this.#maybeClose();
    });
    return stream;
  }

  /** Lets through what the limit `output` has left, whoever reads it in whatever way. */
  #bound(stream: Readable): void {
    const push = stream.push.bind(stream);
    stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
      if (!(chunk instanceof Uint8Array)) return push(chunk, encoding);
      const passing = chunk.length <= this.#outputLeft ? chunk : chunk.subarray(0, this.#outputLeft);
      this.#outputLeft -= passing.length;
      if (passing.length < chunk.length) this.killForLimit("output");
      return passing.length === 0 || push(passing, encoding);
    };
  }

  #terminate(): void {
    if (this.#ended) {
      this.#abandonOutputs();
      return;
    }
    if (!this.kill(this.#killSignal) || this.#killSignal === signals.SIGKILL) return;
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
        this.#lookForLimits(); // it may have reached one before its session was known
        this.emit("spawn");
        break;
      case "failed":
        this.#settle();
        this.emit("error", startError(event, this.spawnfile));
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
    this.#readOn();
    this.#maybeClose();
  }

  /** As a ChildProcess: what nobody reads does not keep `close` from coming. */
  #readOn(): void {
    process.nextTick(() => {
      for (const stream of this.#outputs) if (stream?.readable) stream.resume();
    });
  }

  #onGone(): void {
    if (this.#ended) return;
    // The kernel may have killed the init too, when nothing else was left to kill.
    if (this.#cgroup?.memoryReachedUntold) this.limit ??= "memory";
    this.signalCode = "SIGKILL";
    this.#settle();
    this.emit("exit", null, this.signalCode);
    this.#readOn();
    this.#maybeClose();
  }

  #takeMaster(): void {
    const packet = this.#channel.takePacket(this.#id);
    if (packet !== null && packet.fd >= 0) this.ptyMaster = packet.fd;
  }

  #settle(): void {
    this.#ended = true;
    this.#onEnd();
    clearTimeout(this.#forceKill);
    this.#timeout?.unref(); // it goes on until the pipes are closed
    if (!this.#referenced) this.#channel.ref();
    this.#channel.remove(this.#id);
    // The child may have ended before it read everything.
    this.#input?.destroy();
    if (this.#fds[0] >= 0) native().close(this.#fds[0]);
    this.#fds[0] = -1;
  }

  #maybeClose(): void {
    if (!this.#ended || this.#closed || this.#openStreams > 0) return;
    this.#closed = true;
    const close = (): void => {
      if (this.#openStreams > 0) {
        this.#closed = false;
        return;
      }
      this.closeRaw();
      clearTimeout(this.#timeout);
      this.#unsubscribe();
      this.emit("close", this.exitCode, this.signalCode);
    };
    // Later, so that whoever hears of `exit`, or waited for it, may still take a stream.
    if (this.#isQuiet) queueMicrotask(close);
    else setImmediate(close);
  }

  /** Closes the ends that nobody took. */
  closeRaw(): void {
    for (const place of [1, 2] as const) {
      if (this.#fds[place] >= 0) native().close(this.#fds[place]);
      this.#fds[place] = -1;
    }
  }
}

function stdioOf({ stdin, stdio }: SpawnOptions): readonly [Stdio, Stdio, Stdio] {
  if (typeof stdio === "string") return [stdio, stdio, stdio];
  return [stdio?.[0] ?? stdin ?? "pipe", stdio?.[1] ?? "pipe", stdio?.[2] ?? "pipe"];
}

/** As Node makes them: its own class cannot be had. */
function abortError(cause: unknown): Error {
  const error = new Error("The operation was aborted", { cause });
  error.name = "AbortError";
  return Object.assign(error, { code: "ABORT_ERR" });
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
        ? "The limit `processes` is reached in this sandbox, or 1024 calls run in it at once."
        : "`holdfast doctor` checks the walls of this host.",
  });
}
