import type { Socket } from "node:net";
import type { Grant } from "./decide.ts";
import type { LentReads } from "./lent-reads.ts";

/** Who an origin's bytes go to at the moment. */
export interface OriginUser {
  onData(chunk: Buffer): void;
  /** The same, of bytes that are its only until it gives them back; false where it wants bytes of its own. */
  onLent(read: Buffer, giveBack: () => void): boolean;
  onDrain(): void;
  /** No more will come: its regular end, or an error. */
  onEnd(error?: Error): void;
}

/** Servers drop idle connections after 5 s and more (Node's own default); a request must not meet that. */
const idleMs = 4000;
const mostIdle = 16;

/** A connection to a granted server, for one request after the other. */
export class Origin {
  readonly socket: Socket;
  /** Whether it has carried a request: its server may have closed it meanwhile. */
  isUsed = false;
  /** Whether the server knows its peer by the connection (NTLM, Negotiate): no other client may have it. */
  isBound = false;
  user: OriginUser | null = null;
  #idleSince = 0;
  #hasEnded = false;

  /** @param reads what the socket is read into; it may be read otherwise as well */
  constructor(socket: Socket, reads?: LentReads) {
    this.socket = socket;
    socket.setNoDelay(true);
    if (reads?.hasDropped === true) socket.destroy(); // it speaks without being asked
    // What comes while it is nobody's must have ended it before it is the next one's.
    reads?.lendTo(
      (read, giveBack) => this.#onRead(read, giveBack),
      () => this.user !== null,
    );
    socket.on("data", (chunk: Buffer) => (this.user === null ? socket.destroy() : this.user.onData(chunk)));
    socket.on("drain", () => this.user?.onDrain());
    const end = (error?: Error): void => {
      reads?.flush();
      this.#end(error);
    };
    socket.on("end", () => end());
    socket.on("error", end);
    socket.on("close", () => end());
    // A proxy's answer was read from it, and no further.
    if (socket.isPaused()) socket.resume();
  }

  /** Whether it may still be given a request. */
  get isFresh(): boolean {
    return !this.#hasEnded && !this.socket.destroyed && performance.now() - this.#idleSince < idleMs;
  }

  #onRead(read: Buffer, giveBack: () => void): boolean {
    const { user } = this;
    if (user === null) this.socket.destroy();
    else if (user.onLent(read, giveBack)) return true;
    else user.onData(Buffer.from(read));
    return false;
  }

  /** From now on nobody's. */
  rest(): void {
    this.user = null;
    this.isUsed = true;
    this.#idleSince = performance.now();
    this.socket.resume();
  }

  #end(error?: Error): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const { user } = this;
    if (user === null) this.socket.destroy();
    else user.onEnd(error);
  }
}

/** The idle connections to granted servers: each for the grant that it was made for, and no other. */
export class Origins {
  readonly #idle = new Map<Grant, Origin[]>();
  #sweep: NodeJS.Timeout | undefined;

  take(grant: Grant): Origin | undefined {
    const idle = this.#idle.get(grant);
    for (let origin = idle?.pop(); origin !== undefined; origin = idle?.pop()) {
      if (origin.isFresh) return origin;
      origin.socket.destroy();
    }
    return undefined;
  }

  release(grant: Grant, origin: Origin): void {
    origin.rest();
    let idle = this.#idle.get(grant);
    if (idle === undefined) {
      idle = [];
      this.#idle.set(grant, idle);
    }
    if (origin.isBound || idle.length >= mostIdle) return void origin.socket.destroy();
    idle.push(origin);
    this.#sweepLater();
  }

  /** One timer for all: there may be a thousand connections a second. */
  #sweepLater(): void {
    this.#sweep ??= setTimeout(() => {
      this.#sweep = undefined;
      for (const [grant, idle] of this.#idle) {
        const fresh = idle.filter((origin) => origin.isFresh);
        for (const origin of idle) if (!fresh.includes(origin)) origin.socket.destroy();
        if (fresh.length === 0) this.#idle.delete(grant);
        else this.#idle.set(grant, fresh);
      }
      if (this.#idle.size > 0) this.#sweepLater();
    }, idleMs).unref();
  }

  clear(): void {
    for (const idle of this.#idle.values()) for (const { socket } of idle) socket.destroy();
    this.#idle.clear();
  }
}
