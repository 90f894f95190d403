import { lookup } from "node:dns/promises";
import { connect, isIP, type Socket, type TcpNetConnectOpts } from "node:net";
import { writeHostPort } from "../policy/host-port.ts";
import type { Policy } from "../policy/policy.ts";
import { isHostName, loopback } from "./addresses.ts";
import { NameClient } from "./name-client.ts";
import { UpstreamProxy } from "./upstream-proxy.ts";

const connectMs = 30_000;
/** gai_strerror(3), in words. */
const lookupFaults: Readonly<Record<string, string>> = {
  ENOTFOUND: "there is no such name",
  EAI_AGAIN: "no name server answers",
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

  constructor({ dns, upstreamProxy }: UpstreamSettings) {
    this.#proxy = upstreamProxy === undefined ? undefined : new UpstreamProxy(upstreamProxy);
    this.#names = dns === undefined ? undefined : new NameClient(dns);
  }

  /** Outside, once: what is checked is what is dialled. Empty where the proxy alone knows where the name leads. */
  async resolve(host: string): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host];
    if (isHostName(host)) return loopback;
    if (oddAddress.test(host)) throw new Error(`${host} is another spelling of an address, which leads nowhere`);
    if (this.#proxy?.resolves === true && !this.#proxy.isDirect(host, [])) return [];
    const asked = await this.#names?.resolve(host);
    if (asked !== undefined) return asked;
    const found = await lookup(host, { all: true, order: "ipv4first" }).catch((error: NodeJS.ErrnoException) => {
      throw new Error(`${host}: ${lookupFaults[error.code ?? ""] ?? error.message}`);
    });
    return found.map(({ address }) => address);
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
    const proxy = isHostName(host) || this.#proxy?.isDirect(host, addresses) === true ? undefined : this.#proxy;
    if (proxy !== undefined && addresses.length === 0) return proxy.connect(host, port, signal);
    let failure: unknown = new Error("no address");
    for (const address of addresses) {
      signal.throwIfAborted();
      try {
        return await (proxy === undefined
          ? dialOne(address, port, signal, dial)
          : proxy.connect(address, port, signal));
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }
}

function dialOne(host: string, port: number, signal: AbortSignal, dial: Dial): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = dial({ host, port, allowHalfOpen: true, noDelay: true });
    const where = writeHostPort(host, port);
    const timer = setTimeout(() => socket.destroy(new Error(`${where} does not answer`)), connectMs);
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
