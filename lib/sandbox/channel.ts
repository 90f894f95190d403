import type { Readable } from "node:stream";
import { type Launched, native } from "../native.ts";
import { readableFrom } from "./descriptors.ts";
import { EventReader, type InitEvent } from "./events.ts";
import { type FileReply, fileReply } from "./requests.ts";

/** What a call wants to hear. */
export interface CallListener {
  onEvent(event: InitEvent): void;
  /** The init is gone, and everything with it. */
  onGone(): void;
}

interface Packet {
  readonly data: Buffer;
  readonly fd: number;
}

/**
 * The line to one init: requests go out by native calls, records come in on a stream, descriptors on the control
 * socket. Idle, it does not keep the process alive.
 */
export class Channel {
  readonly control: number;
  #events: Readable & { ref?(): void; unref?(): void };
  #reader = new EventReader();
  #calls = new Map<number, CallListener>();
  #packets = new Map<number, Packet>();
  #nextId = 1;
  #gone = false;
  #onAnswer: (() => void) | undefined;
  #refs = 0;

  constructor(launched: Launched) {
    this.control = launched.control;
    this.#events = readableFrom(launched.events);
    this.#events.on("data", (chunk: Buffer) => {
      for (const event of this.#reader.read(chunk)) {
        if (event.type === "ready") this.#onAnswer?.();
        else this.#calls.get(event.id)?.onEvent(event);
      }
    });
    this.#events.on("error", () => {});
    this.#events.on("close", () => this.#end());
    this.#events.unref?.();
  }

  get isGone(): boolean {
    return this.#gone;
  }

  /** Whether no call waits for anything. */
  get isIdle(): boolean {
    return this.#calls.size === 0;
  }

  /**
   * Waits until the init says that the walls stand, or is gone. `take` is called at that moment, while what the init sent
   * last can still be received; its result is the promise's. Rejects with undefined when nothing came for too long.
   */
  whenReady<Result>(timeoutMs: number, take: () => Result): Promise<Result> {
    this.ref();
    return new Promise((resolve, reject) => {
      let isSettled = false;
      const settle = (answer: () => void): void => {
        if (isSettled) return;
        isSettled = true;
        clearTimeout(timer);
        this.#onAnswer = undefined;
        this.unref();
        answer();
      };
      // After a look: where this process itself was held up, the answer has been there for long.
      const timer = setTimeout(() => setImmediate(() => settle(() => reject())), timeoutMs);
      this.#onAnswer = () =>
        settle(() => {
          try {
            resolve(take());
          } catch (error) {
            reject(error);
          }
        });
    });
  }

  /** A fresh id, with its listener. Each listener that is not taken out keeps the process alive while it is referenced. */
  add(listener: CallListener): number {
    const id = this.#nextId++;
    this.#calls.set(id, listener);
    this.ref();
    return id;
  }

  remove(id: number): void {
    if (this.#calls.delete(id)) this.unref();
  }

  ref(): void {
    if (this.#refs++ === 0) this.#events.ref?.();
  }

  unref(): void {
    if (--this.#refs === 0) this.#events.unref?.();
  }

  /** The packet that was sent for a call before its record; null when none came. */
  takePacket(id: number): Packet | null {
    for (;;) {
      const packet = native().receive(this.control);
      if (packet === null) break;
      this.#packets.set(packet.data.readUInt32LE(4), packet);
    }
    const found = this.#packets.get(id) ?? null;
    this.#packets.delete(id);
    return found;
  }

  takeReply(id: number): { reply: FileReply; fd: number } | null {
    const packet = this.takePacket(id);
    return packet === null ? null : { reply: fileReply(packet.data), fd: packet.fd };
  }

  /** Closes the line; the init ends when it sees that. */
  close(): void {
    this.#events.destroy();
    this.#end();
  }

  #end(): void {
    if (this.#gone) return;
    this.#onAnswer?.();
    this.#gone = true;
    for (const { fd } of this.#packets.values()) if (fd >= 0) native().close(fd);
    this.#packets.clear();
    native().close(this.control);
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.onGone();
  }
}
