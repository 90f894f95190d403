import type { Socket } from "node:net";
import { type ClientHello, longestHello, readClientHello } from "./client-hello.ts";

/** Passes bytes both ways until both sides have ended; a side that fails takes the other with it. */
export function join(client: Socket, upstream: Socket): void {
  client.pipe(upstream);
  upstream.pipe(client);
  for (const [one, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    one.on("error", () => other.resetAndDestroy());
    one.on("close", () => other.destroySoon());
  }
}

export type Opening =
  /** What was read, to be passed on first. */
  | { readonly kind: "tls"; readonly hello: ClientHello; readonly read: Buffer }
  | { readonly kind: "other"; readonly read: Buffer }
  | { readonly kind: "malformed"; readonly why: string };

/** Reads what a client says first as far as it has to be known: a TLS client's hello, else nothing but the first bytes. */
export function readOpening(client: Socket): Promise<Opening> {
  return new Promise((resolve, reject) => {
    let held: Buffer = Buffer.alloc(0);
    const settle = (opening: Opening): void => {
      client.off("data", onData);
      client.off("end", onEnd);
      client.pause();
      resolve(opening);
    };
    const onEnd = (): void => settle({ kind: "other", read: held });
    const onData = (chunk: Buffer): void => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const read = readClientHello(held);
      if (read.kind === "hello") settle({ kind: "tls", hello: read.hello, read: held });
      else if (read.kind === "other") settle({ kind: "other", read: held });
      else if (read.kind === "malformed") settle(read);
      else if (held.length > longestHello) settle({ kind: "malformed", why: "its hello has no end" });
    };
    client.on("data", onData);
    client.on("end", onEnd);
    client.resume();
    client.once("close", () => reject(new Error("the client has gone")));
  });
}
