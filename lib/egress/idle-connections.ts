import type { Socket } from "node:net";

/** Servers drop idle connections after 5 s and more (Node's own default); a request must not meet that. */
const idleMs = 4000;
const mostIdle = 8;

/** Connections to one server that carry nothing at the moment. */
export class IdleConnections {
  readonly #idle = new Map<Socket, () => void>();

  /** The one that carried something last, for the caller alone. */
  take(): Socket | undefined {
    const socket = [...this.#idle.keys()].at(-1);
    if (socket === undefined) return undefined;
    this.#leave(socket);
    return socket;
  }

  /** One whose last answer has been read to its end. */
  add(socket: Socket): void {
    if (socket.destroyed || socket.readableEnded || this.#idle.size >= mostIdle) return void socket.destroy();
    // Its end, or what nobody asked for: it is of no more use.
    const drop = (): void => {
      this.#leave(socket);
      socket.destroy();
    };
    this.#idle.set(socket, drop);
    socket.setTimeout(idleMs);
    for (const event of ["data", "end", "close", "timeout"]) socket.on(event, drop);
    socket.unref();
    socket.resume();
  }

  close(): void {
    for (const drop of [...this.#idle.values()]) drop();
  }

  #leave(socket: Socket): void {
    const drop = this.#idle.get(socket);
    if (drop === undefined) return;
    this.#idle.delete(socket);
    for (const event of ["data", "end", "close", "timeout"]) socket.off(event, drop);
    socket.setTimeout(0);
    socket.pause();
    socket.ref();
  }
}
