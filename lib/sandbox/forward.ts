import { createServer, type Server, Socket } from "node:net";
import type { Audit } from "../audit/audit.ts";
import { join } from "../egress/carry.ts";
import { HoldfastError } from "../errors.ts";
import { writeHostPort } from "../policy/host-port.ts";
import type { InsideSockets } from "./inside-sockets.ts";

/** Where `sandbox.forward()` listens. */
export interface ForwardOptions {
  /** The port of the host's loopback; 0, the default, chooses a free one. */
  readonly hostPort?: number;
}

/** Where a port of the sandbox is reached from the host's loopback. */
export interface Forward extends AsyncDisposable {
  /** 127.0.0.1, and where the host has it ::1 as well: any local process may connect, whoever's it is. */
  readonly host: string;
  /** On the host. */
  readonly port: number;
  /** The port inside. */
  readonly target: number;
  /** Resets what goes over it, and takes no more. */
  close(): Promise<void>;
}

const loopback = "127.0.0.1";
const loopback6 = "::1";
/** How often a free port is looked for that is free by both families. */
const mostTries = 16;
/** Each costs two descriptors of this process, which it shares with other sandboxes. */
const mostConnections = 512;

export interface ForwardSettings {
  readonly sandbox: string;
  readonly target: number;
  readonly hostPort: number;
  readonly inside: InsideSockets;
  readonly audit: Audit | undefined;
  /** A connection was reset because nobody answered inside, and why. */
  readonly onUnreached: (detail: string) => void;
}

/** Listens on the host's loopback, and carries each connection to the loopback inside. */
export class PortForward implements Forward {
  readonly host: string = loopback;
  readonly port: number;
  readonly target: number;
  readonly #settings: ForwardSettings;
  readonly #servers: readonly Server[];
  readonly #sockets = new Set<Socket>();
  /** The program's end of each that was reached. */
  readonly #carried = new Set<Socket>();
  /** Resolves when nobody listens any more. */
  readonly closed: Promise<unknown>;
  #isOff = false;
  #isClosed = false;

  private constructor(settings: ForwardSettings, port: number, servers: readonly Server[]) {
    this.#settings = settings;
    this.#servers = servers;
    this.target = settings.target;
    this.port = port;
    this.closed = Promise.all(servers.map((server) => new Promise((resolve) => server.once("close", resolve))));
    for (const server of servers) {
      server.on("connection", (client: Socket) => void this.#serve(client));
      server.on("error", () => {});
      server.on("drop", (from) =>
        this.#refuse(from?.remoteAddress, from?.remotePort, `there are ${mostConnections} at once already`),
      );
      // The sandbox's calls keep the process alive, its connections do not.
      server.unref();
    }
  }

  /**
   * By both families: who asks for "localhost" may come by either, and must not come to somebody else's server.
   *
   * @throws HoldfastError ERR_HOLDFAST_FORWARD when the port on the host cannot be had
   */
  static async listen(settings: ForwardSettings): Promise<PortForward> {
    for (let attempt = 1; ; attempt++) {
      const server = await listenOn(loopback, settings.hostPort, settings);
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : settings.hostPort;
      try {
        return new PortForward(settings, port, [server, await listenOn(loopback6, port, settings)]);
      } catch (error) {
        const errno = HoldfastError.is(error) ? error.errno : undefined;
        if (errno === "EADDRNOTAVAIL" || errno === "EAFNOSUPPORT") return new PortForward(settings, port, [server]);
        server.close();
        if (settings.hostPort !== 0 || errno !== "EADDRINUSE" || attempt === mostTries) throw error;
      }
    }
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
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
    return this.closed.then(() => {});
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
    const from = writeHostPort(client.remoteAddress ?? "", client.remotePort ?? 0);
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
      if (!this.#isClosed) this.#settings.onUnreached(refusal);
    }
    if (refusal !== "") client.resetAndDestroy();
    this.#record(from, refusal);
  }

  /** One that the kernel took and nobody serves. */
  #refuse(address = "", port = 0, refusal: string): void {
    this.#settings.onUnreached(refusal);
    this.#record(writeHostPort(address, port), refusal);
  }

  #record(from: string, refusal: string): void {
    const { sandbox, target, audit } = this.#settings;
    const detail = refusal === "" ? "carried" : refusal;
    audit?.append({ type: "forward", sandbox, target, port: this.port, from, allowed: refusal === "", detail });
  }
}

async function listenOn(host: string, port: number, { target }: ForwardSettings): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
  server.maxConnections = mostConnections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", ({ code = "", message }: NodeJS.ErrnoException) => {
      const why = listenFaults[code] ?? (code || message);
      const told = { code: "ERR_HOLDFAST_FORWARD", step: "egress", errno: code } as const;
      const hint = `Choose another, or 0 for any that is free: --publish 0:${target}.`;
      reject(new HoldfastError(`port ${port} of ${host} cannot be listened on: ${why}`, { ...told, hint }));
    });
    server.listen({ host, port, exclusive: true, ipv6Only: true }, resolve);
  });
  return server;
}

const listenFaults: Readonly<Record<string, string>> = {
  EADDRINUSE: "it is in use",
  EACCES: "an ordinary user may not",
};
