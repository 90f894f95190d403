import { isIP, type Socket } from "node:net";
import { connect, createSecureContext, getCACertificates, type SecureContext, type TLSSocket } from "node:tls";
import type { Grant } from "./decide.ts";

/** Who an origin's bytes go to at the moment. */
export interface OriginUser {
  onData(chunk: Buffer): void;
  onDrain(): void;
  /** No more will come: its regular end, or an error. */
  onEnd(error?: Error): void;
}

/** Servers drop idle connections after 5 s and more (Node's own default); a request must not meet that. */
const idleMs = 4000;
const mostIdle = 16;
const mostSessions = 256;
const handshakeMs = 30_000;

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

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => (this.user === null ? socket.destroy() : this.user.onData(chunk)));
    socket.on("drain", () => this.user?.onDrain());
    socket.on("end", () => this.#end());
    socket.on("error", (error) => this.#end(error));
    socket.on("close", () => this.#end());
  }

  /** Whether it may still be given a request. */
  get isFresh(): boolean {
    return !this.#hasEnded && !this.socket.destroyed && performance.now() - this.#idleSince < idleMs;
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
    setTimeout(() => {
      const at = idle.indexOf(origin);
      if (at < 0 || origin.isFresh) return;
      idle.splice(at, 1);
      origin.socket.destroy();
    }, idleMs).unref();
  }

  clear(): void {
    for (const idle of this.#idle.values()) for (const { socket } of idle) socket.destroy();
    this.#idle.clear();
  }
}

let trust: SecureContext | undefined;
const sessions = new Map<string, Buffer>();

/** Whom servers are proved by: the host's own store, else the one that Node brings, and what its administrator adds to Node's. */
function serverTrust(): SecureContext {
  if (trust === undefined) {
    const system = getCACertificates("system");
    const ca = [...(system.length > 0 ? system : getCACertificates("bundled")), ...getCACertificates("extra")];
    trust = createSecureContext({ ca, minVersion: "TLSv1.2" });
  }
  return trust;
}

/**
 * Speaks TLS on a connection that was made, and proves that its server is the one named.
 *
 * @param protocols what it may choose from (ALPN, RFC 7301)
 */
export function secure(socket: Socket, host: string, protocols: readonly string[]): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const key = `${host} ${protocols.join()}`;
    const session = sessions.get(key);
    const secured = connect({
      socket,
      host,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ALPNProtocols: [...protocols],
      secureContext: serverTrust(),
      ...(session === undefined ? {} : { session }),
    });
    const timer = setTimeout(() => secured.destroy(new Error("no answer to the TLS handshake")), handshakeMs);
    secured.once("error", reject);
    secured.once("close", () => {
      clearTimeout(timer);
      reject(new Error("the server closed the connection during the TLS handshake"));
    });
    secured.on("session", (made: Buffer) => {
      if (sessions.size >= mostSessions) sessions.clear();
      sessions.set(key, made);
    });
    secured.once("secureConnect", () => {
      clearTimeout(timer);
      secured.off("error", reject);
      // Whoever has it next listens; until then an error must not end this process.
      secured.on("error", () => {});
      resolve(secured);
    });
  });
}
