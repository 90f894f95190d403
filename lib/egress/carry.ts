import { connect, type OnReadOpts, type Socket } from "node:net";
import { native } from "../native.ts";
import type { Dial } from "./upstream.ts";

const bufferBytes = 64 * 1024;
const nothing: Buffer = Buffer.alloc(0);

/**
 * What a server says goes to its client through one buffer, which is read into again when the kernel has all of it: with
 * a buffer for each read, a download's time is the garbage collector's.
 */
export class Downstream {
  readonly #client: Socket;
  #upstream: Socket | undefined;
  #isRead = false;

  constructor(client: Socket) {
    this.#client = client;
  }

  /** Makes a socket that is read so. */
  readonly dial: Dial = (options) => connect({ ...options, onread: this.#onread }).pause();

  /** It has to be paused until it is joined. */
  get #onread(): OnReadOpts {
    this.#isRead = true;
    const buffer = Buffer.allocUnsafeSlow(bufferBytes);
    const client = this.#client;
    const goOn = (): void => {
      if (client.writableLength === 0) this.#upstream?.resume();
    };
    // Until it is written the bytes are the client's: false pauses.
    const callback = (size: number): boolean => {
      client.write(buffer.subarray(0, size), goOn);
      return client.writableLength === 0;
    };
    return { buffer, callback };
  }

  /** Begins. A socket that was made otherwise is piped. */
  from(upstream: Socket): void {
    if (!this.#isRead) {
      upstream.pipe(this.#client);
      return;
    }
    this.#upstream = upstream;
    upstream.once("end", () => this.#client.end());
    upstream.resume();
  }

  /** Reads no more, where it is read so: what was read is written. @returns whether it is */
  stop(): boolean {
    if (!this.#isRead) return false;
    this.#upstream?.pause();
    this.#upstream = undefined;
    return true;
  }
}

/** What is under a socket, in Node: undocumented, and looked at with care. Other runtimes have none. */
interface Handle {
  readonly fd: number;
  reading: boolean;
  readStop(): number;
}

function handleOf(socket: Socket): Handle | undefined {
  const handle = "_handle" in socket ? (socket._handle as Partial<Handle> | null) : null;
  return typeof handle?.fd === "number" && handle.fd >= 0 && typeof handle.readStop === "function"
    ? (handle as Handle)
    : undefined;
}

/** Takes what was read of a socket, and reads no more of it. */
function takeOver(socket: Socket, handle: Handle): Buffer[] {
  const read: Buffer[] = [];
  for (let part: Buffer | null = socket.read(); part !== null; part = socket.read()) read.push(part);
  handle.readStop();
  // Else the stream begins again, at the latest when a resume that is still due comes to it.
  handle.reading = true;
  return read;
}

/**
 * Connections whose bytes pass unread. A thread of the addon's carries them: by the loop and its streams each of them costs
 * half as much again, and waits for whatever else the loop has to do.
 */
export class Relays {
  readonly #relays = new Map<Socket, number>();

  /**
   * What follows on a joined connection goes on by itself; where it cannot, by the streams.
   *
   * @param downstream of the two, as they were joined
   */
  carry(client: Socket, upstream: Socket, downstream: Downstream): void {
    const [one, other] = [handleOf(client), handleOf(upstream)];
    const hasEnded = upstream.readableEnded || client.writableEnded;
    if (one === undefined || other === undefined || hasEnded || !downstream.stop()) {
      client.pipe(upstream);
      return;
    }
    for (const part of takeOver(client, one)) upstream.write(part);
    for (const part of takeOver(upstream, other)) client.write(part);
    const begin = (): void => {
      // It goes on in the order it came: by the streams until they are empty.
      const waiting = [client, upstream].find(({ writableLength }) => writableLength > 0);
      if (client.destroyed || upstream.destroyed) return;
      if (waiting === undefined) this.#begin(client, one.fd, upstream, other.fd);
      else waiting.write(nothing, begin);
    };
    begin();
  }

  #begin(client: Socket, clientFd: number, upstream: Socket, upstreamFd: number): void {
    const both = [client, upstream];
    let relay: number;
    try {
      relay = native().startRelay(clientFd, upstreamFd, () => {
        for (const socket of both) socket.destroy();
      });
    } catch {
      // No thread or descriptor is to be had: that ends this connection, and nothing else.
      for (const socket of both) socket.resetAndDestroy();
      return;
    }
    for (const socket of both) {
      this.#relays.set(socket, relay);
      socket.once("close", () => {
        this.#relays.delete(socket);
        native().resetRelay(relay);
      });
    }
  }

  /** Resets a connection, at once; one that is carried so with its other side. */
  reset(socket: Socket): void {
    const relay = this.#relays.get(socket);
    if (relay !== undefined) native().resetRelay(relay);
    socket.resetAndDestroy();
  }
}

/** Lets neither side outlive the other, and passes on what the server says; what the client says is the caller's to pass. */
export function join(client: Socket, upstream: Socket, downstream: Downstream = new Downstream(client)): void {
  // What a server says in pieces reaches its client so, and does not wait to be acknowledged (tcp(7), TCP_NODELAY).
  client.setNoDelay(true);
  downstream.from(upstream);
  for (const [one, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    if (one.destroyed) other.resetAndDestroy();
    one.on("error", () => other.resetAndDestroy());
    // After what was said is delivered; what ended by a reset ends the other so too.
    one.on("close", (hadError) => (hadError ? other.resetAndDestroy() : other.destroySoon()));
  }
}
