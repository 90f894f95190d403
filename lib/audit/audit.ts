import { closeSync, openSync, writeSync } from "node:fs";
import { HoldfastError } from "../errors.ts";
import { secretsInUse } from "../secrets/secret-search.ts";

/** One thing that was decided or that happened, as a record: who, what, when. Holds names, never secrets. */
export interface AuditEvent {
  /** `sandbox.created`, `sandbox.ended`, `call.started`, `call.ended`, `denied`, … */
  readonly type: string;
  /** The sandbox's name. */
  readonly sandbox: string;
  readonly [field: string]: unknown;
}

/** Takes finished lines. Throws for what it cannot keep: nothing that cannot be recorded is to happen. */
export interface AuditSink {
  /**
   * One record, without a line end.
   *
   * @param mayWait whether it may be kept with those that follow within a millisecond
   */
  write(line: string, mayWait?: boolean): void;
  /** No more will come. */
  close(): void;
}

/**
 * Appends JSON lines to a file (0600), whole lines in one write(2), so that those of several processes do not mix
 * (open(2), O_APPEND).
 *
 * @throws HoldfastError ERR_HOLDFAST_AUDIT when the file cannot be opened: what cannot be recorded does not run
 */
export function fileSink(path: string): AuditSink {
  try {
    return new FileSink(openSync(path, "a", 0o600));
  } catch (cause) {
    throw new HoldfastError(`the audit file ${path} cannot be opened`, {
      code: "ERR_HOLDFAST_AUDIT",
      step: "audit",
      path,
      hint: "Make its folder, or name a file that this user can append to.",
      cause,
    });
  }
}

/** What a process that ends still has to write. */
const openSinks = new Set<FileSink>();
const writeAtExit = (): void => {
  for (const sink of openSinks) sink.tryToFlush();
};

const longestWaitMs = 1;

/**
 * Records that may wait are written as one, in the first turn of the event loop that brings no other, after a millisecond at
 * the latest: a write(2) costs what a request does in JavaScript.
 */
class FileSink implements AuditSink {
  readonly #fd: number;
  #waiting = "";
  /** Of what waits, the first. */
  #since = 0;
  /** Whether something came in this turn. */
  #grows = false;
  /** What could not be written, as on a full disk: nothing more is taken before it is. */
  #unwritten: Buffer = Buffer.alloc(0);
  #later: NodeJS.Immediate | undefined;

  constructor(fd: number) {
    this.#fd = fd;
    if (openSinks.size === 0) process.on("exit", writeAtExit);
    openSinks.add(this);
  }

  write(line: string, mayWait = false): void {
    if (this.#unwritten.length > 0) this.#flush();
    if (this.#waiting === "") this.#since = performance.now();
    this.#waiting += `${line}\n`;
    this.#grows = true;
    if (mayWait) this.#later ??= setImmediate(this.#onTurn);
    else this.#flush();
  }

  readonly #onTurn = (): void => {
    if (!this.#grows || performance.now() - this.#since >= longestWaitMs) {
      this.tryToFlush();
      return;
    }
    this.#grows = false;
    // An immediate that is due keeps the loop from sleeping (libuv, uv_backend_timeout).
    this.#later = setImmediate(this.#onTurn);
  };

  /** Leaves it to the next record to say that this one was not written. */
  tryToFlush(): void {
    try {
      this.#flush();
    } catch {
      return;
    }
  }

  #flush(): void {
    clearImmediate(this.#later);
    this.#later = undefined;
    const lines = Buffer.from(this.#waiting);
    this.#waiting = "";
    let rest = this.#unwritten.length === 0 ? lines : Buffer.concat([this.#unwritten, lines]);
    try {
      while (rest.length > 0) rest = rest.subarray(writeSync(this.#fd, rest));
    } finally {
      this.#unwritten = rest;
    }
  }

  close(): void {
    openSinks.delete(this);
    if (openSinks.size === 0) process.off("exit", writeAtExit);
    try {
      this.#flush();
    } finally {
      closeSync(this.#fd);
    }
  }
}

/** A secret in pieces over its fields leaves nothing of an event but that there was one. */
function withoutSecrets(event: AuditEvent): AuditEvent {
  const clean = secretsInUse.redactAll(event);
  const text = JSON.stringify(clean);
  return secretsInUse.redact(text) === text ? clean : { type: event.type, sandbox: event.sandbox, redacted: true };
}

/** Numbers and stamps events, and hands them to a sink in order. */
export class Audit {
  readonly #sink: AuditSink | null;
  readonly #followers = new Map<string, (event: AuditEvent) => void>();
  /** The last event that holds no secret, as it is written: the same one comes again and again. */
  #clean: { readonly event: AuditEvent; readonly text: string; readonly version: number } | undefined;
  #sequence = 0;
  /** The last millisecond that was asked for, and as it is written. */
  #ms = 0;
  #time = "";

  /** @param sink null: nothing is kept, only followed */
  constructor(sink: AuditSink | null) {
    this.#sink = sink;
  }

  /** Hands a sandbox's events to somebody else as well, for a receipt; null: no more. */
  follow(sandbox: string, follower: ((event: AuditEvent) => void) | null): void {
    if (follower === null) this.#followers.delete(sandbox);
    else this.#followers.set(sandbox, follower);
  }

  /**
   * Records one event. Throws what the sink throws: a record that cannot be kept stops what it records.
   *
   * @param said stays as it is from here on: given again, it is the same record once more
   * @param mayWait it may reach the file with others that follow within a millisecond; where that fails, the next is
   *   what is stopped
   */
  append(said: AuditEvent, mayWait = false): void {
    const follower = this.#followers.get(said.sandbox);
    if (this.#sink === null && follower === undefined) return;
    const { event, text } = this.#asWritten(said);
    follower?.(event);
    if (this.#sink === null) return;
    const now = Date.now();
    if (now !== this.#ms) {
      this.#ms = now;
      this.#time = new Date(now).toISOString();
    }
    // Not by a copy of the event with two fields more: that costs as much as the rest of it.
    this.#sink.write(`{"time":"${this.#time}","sequence":${++this.#sequence},${text.slice(1)}`, mayWait);
  }

  /** What a sandbox names may hold one: a path, a host, a file. */
  #asWritten(said: AuditEvent): { readonly event: AuditEvent; readonly text: string } {
    const { version } = secretsInUse;
    if (this.#clean?.event === said && this.#clean.version === version) return this.#clean;
    const text = JSON.stringify(said);
    if (secretsInUse.redact(text) !== text) {
      const event = withoutSecrets(said);
      return { event, text: JSON.stringify(event) };
    }
    this.#clean = { event: said, text, version };
    return this.#clean;
  }

  /** Closes the sink. */
  close(): void {
    this.#sink?.close();
  }
}
