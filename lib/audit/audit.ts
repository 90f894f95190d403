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

/** Takes finished lines; must not throw for one that cannot be kept, but say so. */
export interface AuditSink {
  /** One record, without a line end. */
  write(line: string): void;
  /** No more will come. */
  close(): void;
}

/**
 * Appends JSON lines to a file (0600), one write(2) a line, so that lines of several processes do not mix
 * (open(2), O_APPEND).
 *
 * @throws HoldfastError ERR_HOLDFAST_AUDIT when the file cannot be opened: what cannot be recorded does not run
 */
export function fileSink(path: string): AuditSink {
  let fd: number;
  try {
    fd = openSync(path, "a", 0o600);
  } catch (cause) {
    throw new HoldfastError(`the audit file ${path} cannot be opened`, {
      code: "ERR_HOLDFAST_AUDIT",
      step: "audit",
      path,
      hint: "Make its folder, or name a file that this user can append to.",
      cause,
    });
  }
  return {
    write: (line) => {
      writeSync(fd, `${line}\n`);
    },
    close: () => closeSync(fd),
  };
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

  /** Records one event. Throws what the sink throws: a record that cannot be kept stops what it records. */
  append(said: AuditEvent): void {
    const follower = this.#followers.get(said.sandbox);
    if (this.#sink === null && follower === undefined) return;
    // What a sandbox names may hold one: a path, a host, a file.
    const whole = JSON.stringify(said);
    const isClean = secretsInUse.redact(whole) === whole;
    const event = isClean ? said : withoutSecrets(said);
    follower?.(event);
    if (this.#sink === null) return;
    const now = Date.now();
    if (now !== this.#ms) {
      this.#ms = now;
      this.#time = new Date(now).toISOString();
    }
    // Not by a copy of the event with two fields more: that costs as much as the rest of it.
    this.#sink.write(
      `{"time":"${this.#time}","sequence":${++this.#sequence},${(isClean ? whole : JSON.stringify(event)).slice(1)}`,
    );
  }

  /** Closes the sink. */
  close(): void {
    this.#sink?.close();
  }
}
