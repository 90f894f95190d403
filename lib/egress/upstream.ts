import { lookup } from "node:dns/promises";
import { connect, isIP, type Socket } from "node:net";
import { isHostName, loopback } from "./addresses.ts";

const connectMs = 30_000;

/** Outside, once: what is checked is what is dialled. */
export async function resolve(host: string): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [host];
  if (isHostName(host)) return loopback;
  const found = await lookup(host, { all: true, order: "ipv4first" });
  return found.map(({ address }) => address);
}

/** A connection to the first of the addresses that answers. */
export async function dial(addresses: readonly string[], port: number): Promise<Socket> {
  let failure: unknown = new Error("no address");
  for (const host of addresses) {
    try {
      return await dialOne(host, port);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

function dialOne(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
    const timer = setTimeout(() => socket.destroy(new Error("no answer")), connectMs);
    socket.once("error", reject);
    socket.once("close", () => clearTimeout(timer));
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", reject);
      resolve(socket);
    });
  });
}
