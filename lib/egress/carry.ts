import { connect, type OnReadOpts, type Socket } from "node:net";
import type { Dial } from "./upstream.ts";

const bufferBytes = 64 * 1024;

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
}

/** Lets neither side outlive the other, and passes on what the server says; what the client says is the caller's to pass. */
export function join(client: Socket, upstream: Socket, downstream: Downstream = new Downstream(client)): void {
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
