import { connect, isIP, type Socket, type TcpNetConnectOpts } from "node:net";
import { native } from "../native.ts";
import { writeHostPort } from "../policy/host-port.ts";
import type { Policy } from "../policy/policy.ts";
import { isHostName, loopback } from "./addresses.ts";
import { NameClient } from "./name-client.ts";
import { timeLimits } from "./time-limits.ts";
import { UpstreamProxy } from "./upstream-proxy.ts";

/** Each is a thread while it waits for its servers. */
const mostLookups = 64;
/** Codes of getaddrinfo(3), in words. */
const lookupFaults: Readonly<Record<number, string>> = {
  [-2]: "there is no such name",
  [-3]: "no name server answers",
  [-5]: "there is no such name",
};
/** connect(2), in words. */
const connectFaults: Readonly<Record<string, string>> = {
  ECONNREFUSED: "refuses connections",
  ETIMEDOUT: "does not answer",
  ENETUNREACH: "cannot be reached from this host",
  EHOSTUNREACH: "cannot be reached from this host",
};
/** As inet_aton(3) reads a word: the system's resolver would take it for an address, name servers for a name. */
const oddAddress = /(?:^|\.)(?:0x[\da-f]*|\d+)\.?$/i;

/** Makes a socket, on its way to an address. */
export type Dial = (options: TcpNetConnectOpts & { readonly host: string }) => Socket;

export type UpstreamSettings = Pick<Policy, "dns" | "upstreamProxy">;

/** The way out: where names lead, and how it is dialled. */
export class Upstream {
  readonly #names: NameClient | undefined;
  readonly #proxy: UpstreamProxy | undefined;
  readonly #lookups = new Map<string, Promise<readonly string[]>>();
  #lookupsUnderWay = 0;
  readonly #waiting: (() => void)[] = [];

  constructor({ dns, upstreamProxy }: UpstreamSettings) {
    this.#proxy = upstreamProxy === undefined ? undefined : new UpstreamProxy(upstreamProxy);
    this.#names = dns === undefined ? undefined : new NameClient(dns);
  }

  /** Forgets the proxy's password. */
  close(): void {
    this.#proxy?.close();
  }

  /** Outside, once: what is checked is what is dialled. Empty where the proxy alone knows where the name leads. */
  async resolve(host: string, port: number): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host];
    if (isHostName(host)) return loopback;
    if (oddAddress.test(host)) throw new Error(`${host} is another spelling of an address, which leads nowhere`);
    if (this.#proxy?.resolves === true && !this.#proxy.isDirect(host, port, [])) return [];
    const asked = await this.#names?.resolve(host);
    if (asked !== undefined) return asked;
    return this.#askHost(host);
  }

  /** Who asks for a name that is being looked up waits for the same. */
  #askHost(host: string): Promise<readonly string[]> {
    const known = this.#lookups.get(host);
    if (known !== undefined) return known;
    const made = this.#lookUp(host).finally(() => this.#lookups.delete(host));
    this.#lookups.set(host, made);
    return made;
  }

  async #lookUp(host: string): Promise<readonly string[]> {
    if (this.#lookupsUnderWay >= mostLookups) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#lookupsUnderWay++;
    try {
      const { code, words, addresses } = await native().lookUpHost(host);
      if (code !== 0) throw new Error(`${host}: ${lookupFaults[code] ?? words}`);
      return addresses.sort((one, other) => isIP(one) - isIP(other));
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#lookupsUnderWay--;
      else next();
    }
  }

  /**
   * A connection to the first of the addresses that answers, or to the host through the proxy.
   *
   * @param signal ends the attempt; nothing is dialled after it
   * @param dial makes the socket where no proxy stands between
   */
  async dial(
    host: string,
    addresses: readonly string[],
    port: number,
    signal: AbortSignal,
    dial: Dial = connect,
  ): Promise<Socket> {
    const proxy = isHostName(host) || this.#proxy?.isDirect(host, port, addresses) === true ? undefined : this.#proxy;
    if (proxy !== undefined && addresses.length === 0) return proxy.connect(host, port, signal);
    let failure: unknown = new Error("no address");
    const until = performance.now() + timeLimits.connectMs;
    for (const [index, address] of addresses.entries()) {
      signal.throwIfAborted();
      // An even part of what is left, so that the last of many silent ones has its turn.
      const limitMs = (until - performance.now()) / (addresses.length - index);
      try {
        return await (proxy === undefined
          ? dialOne({ host: address, port, signal, dial, limitMs })
          : proxy.connect(address, port, signal, limitMs));
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }
}

interface Attempt {
  readonly host: string;
  readonly port: number;
  readonly signal: AbortSignal;
  readonly dial: Dial;
  readonly limitMs: number;
}

function dialOne({ host, port, signal, dial, limitMs }: Attempt): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = dial({ host, port, allowHalfOpen: true, noDelay: true });
    const where = writeHostPort(host, port);
    const timer = setTimeout(() => socket.destroy(new Error(`${where} does not answer`)), limitMs);
    const abort = (): void => void socket.destroy(signal.reason);
    signal.addEventListener("abort", abort);
    const settled = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    };
    const failed = (error: NodeJS.ErrnoException): void => {
      const fault = connectFaults[error.code ?? ""];
      reject(fault === undefined ? error : new Error(`${where} ${fault}`));
    };
    socket.once("error", failed);
    socket.once("close", settled);
    socket.once("connect", () => {
      settled();
      socket.off("error", failed);
      resolve(socket);
    });
  });
}
