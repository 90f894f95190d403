import type { Socket } from "node:net";
import { type ClientHello, longestHello, readClientHello } from "./client-hello.ts";

/** Passes on what the server says, and lets neither side outlive the other; what the client says is the caller's to pass. */
export function join(client: Socket, upstream: Socket): void {
  upstream.pipe(client);
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

export type Opening =
  /** What was read, to be passed on first. */
  | { readonly kind: "tls"; readonly hello: ClientHello; readonly read: Buffer }
  | { readonly kind: "other"; readonly read: Buffer }
  | { readonly kind: "malformed"; readonly why: string };

/**
 * Reads what a client says first as far as it has to be known: a TLS client's hello, else nothing but the first bytes.
 *
 * @param ms how long a hello that was begun may take; a client that says nothing may take its time
 */
export function readOpening(client: Socket, ms: number): Promise<Opening> {
  return new Promise((resolve) => {
    let held: Buffer = Buffer.alloc(0);
    let timer: NodeJS.Timeout | undefined;
    const settle = (opening: Opening): void => {
      clearTimeout(timer);
      client.off("data", onData);
      client.off("end", onEnd);
      client.off("close", onEnd);
      client.pause();
      resolve(opening);
    };
    const onEnd = (): void => settle({ kind: "other", read: held });
    const onData = (chunk: Buffer): void => {
      timer ??= setTimeout(() => settle({ kind: "malformed", why: "its hello does not end" }), ms).unref();
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const read = readClientHello(held);
      if (read.kind === "hello") settle({ kind: "tls", hello: read.hello, read: held });
      else if (read.kind === "other") settle({ kind: "other", read: held });
      else if (read.kind === "malformed") settle(read);
      else if (held.length > longestHello) settle({ kind: "malformed", why: "its hello is too long" });
    };
    client.on("data", onData);
    client.on("end", onEnd);
    client.on("close", onEnd);
    client.resume();
  });
}
