import { createServer, type Server, Socket } from "node:net";
import type { Audit } from "../audit/audit.ts";
import { join } from "../egress/carry.ts";
import { HoldfastError } from "../errors.ts";
import type { InsideSockets } from "./inside-sockets.ts";

/** Where `sandbox.forward()` listens. */
export interface ForwardOptions {
  /** The port of the host's loopback; 0, the default, chooses a free one. */
  readonly hostPort?: number;
}

/** Where a port of the sandbox is reached from the host's loopback. */
export interface Forward extends AsyncDisposable {
  /** 127.0.0.1: any local process may connect, whoever's it is. */
  readonly host: string;
  /** On the host. */
  readonly port: number;
  /** The port inside. */
  readonly target: number;
  /** Resets what goes over it, and takes no more. */
  close(): Promise<void>;
}

const loopback = "127.0.0.1";
/** Each costs two descriptors of this process, which it shares with other sandboxes. */
const mostConnections = 512;

export interface ForwardSettings {
  readonly sandbox: string;
  readonly target: number;
  readonly hostPort: number;
  readonly inside: InsideSockets;
  readonly audit: Audit | undefined;
}

/** Listens on the host's loopback, and carries each connection to the loopback inside. */
export class PortForward implements Forward {
  readonly host: string = loopback;
  readonly port: number;
  readonly target: number;
  readonly #settings: ForwardSettings;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** The program's end of each that was reached. */
  readonly #carried = new Set<Socket>();
  /** Resolves when nobody listens any more. */
  readonly closed: Promise<void>;
  #isOff = false;
  #isClosed = false;

  private constructor(settings: ForwardSettings, server: Server) {
    this.#settings = settings;
    this.#server = server;
    this.target = settings.target;
    const address = server.address();
    this.port = typeof address === "object" && address !== null ? address.port : settings.hostPort;
    this.closed = new Promise((resolve) => server.once("close", () => resolve()));
    server.on("connection", (client: Socket) => void this.#serve(client));
    // The sandbox's calls keep the process alive, its connections do not.
    server.unref();
  }

  /** @throws HoldfastError ERR_HOLDFAST_FORWARD when the port on the host cannot be had */
  static async listen(settings: ForwardSettings): Promise<PortForward> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    server.maxConnections = mostConnections;
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(settings, error)));
      server.listen({ host: loopback, port: settings.hostPort, exclusive: true }, resolve);
    });
    server.on("error", () => {});
    return new PortForward(settings, server);
  }

  /** Resets what goes over it, and from now on whatever comes. Returns how many connections were reset. */
  switchOff(): number {
    const count = this.#carried.size;
    this.#isOff = true;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    return count;
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.#server.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
    return this.closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #own(socket: Socket): Socket {
    if (this.#isOff || this.#isClosed) socket.resetAndDestroy();
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
    socket.unref();
    return socket;
  }

  async #serve(client: Socket): Promise<void> {
    const from = `${client.remoteAddress ?? ""}:${client.remotePort ?? 0}`;
    this.#own(client);
    let refusal = "";
    try {
      if (this.#isOff) refusal = "the network of this sandbox was switched off";
      else {
        const fd = await this.#settings.inside.connect(this.target);
        const inside = this.#own(new Socket({ fd, allowHalfOpen: true }).setNoDelay(true));
        this.#carried.add(inside);
        inside.once("close", () => this.#carried.delete(inside));
        join(client, inside);
        client.pipe(inside);
      }
    } catch (error) {
      refusal = error instanceof Error ? error.message : String(error);
    }
    const { sandbox, target, audit } = this.#settings;
    if (refusal !== "") client.resetAndDestroy();
    const detail = refusal === "" ? "carried" : refusal;
    audit?.append({ type: "forward", sandbox, target, port: this.port, from, allowed: refusal === "", detail });
  }
}

function listenError({ hostPort, target }: ForwardSettings, { code, message }: NodeJS.ErrnoException): HoldfastError {
  const isInUse = code === "EADDRINUSE";
  return new HoldfastError(
    `port ${hostPort} of ${loopback} cannot be listened on: ${isInUse ? "it is in use" : (code ?? message)}`,
    {
      code: "ERR_HOLDFAST_FORWARD",
      step: "egress",
      hint: isInUse
        ? `Choose another, or 0 for any that is free: --publish 0:${target}.`
        : "Choose a port from 1024 on, which an ordinary user may listen on.",
      ...(code === undefined ? {} : { errno: code }),
    },
  );
}
