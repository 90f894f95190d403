/** EventType of native/wire.h, by number. */
export const eventTypes = [
  "",
  "started",
  "failed",
  "exited",
  "stopped",
  "limit",
  "file-done",
  "ready",
  "socket-done",
] as const;

/** ExecStep of native/wire.h, by number. */
export const execSteps = [
  "",
  "fork",
  "pty",
  "descriptors",
  "directory",
  "landlock",
  "seccomp",
  "execve",
  "protocol",
  "interpreter",
] as const;

/** LimitKind of native/wire.h, by number, as policies spell them. */
export const limitKinds = ["", "memory", "processes", "cpu-time", "open-files", "file-size", "tmp-size"] as const;

/** One record of the init: 40 bytes. */
export interface InitEvent {
  readonly type: (typeof eventTypes)[number];
  readonly id: number;
  /** A pid inside, an errno, a wait status or a signal, by type. */
  readonly value: number;
  readonly detail: number;
  readonly userMs: number;
  readonly systemMs: number;
  readonly maxRssBytes: number;
}

const recordSize = 40;

/** Cuts the stream into records: a chunk may end anywhere. */
export class EventReader {
  #rest: Buffer = Buffer.alloc(0);

  read(chunk: Buffer): InitEvent[] {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const events: InitEvent[] = [];
    let at = 0;
    for (; at + recordSize <= data.length; at += recordSize) {
      events.push({
        type: eventTypes[data.readUInt32LE(at)] ?? "",
        id: data.readUInt32LE(at + 4),
        value: data.readInt32LE(at + 8),
        detail: data.readUInt32LE(at + 12),
        userMs: Number(data.readBigUInt64LE(at + 16)) / 1000,
        systemMs: Number(data.readBigUInt64LE(at + 24)) / 1000,
        maxRssBytes: Number(data.readBigUInt64LE(at + 32)),
      });
    }
    this.#rest = data.subarray(at);
    return events;
  }
}
