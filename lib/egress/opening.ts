import { isIP, type Socket } from "node:net";
import { type ClientHello, longestHello, readClientHello } from "./client-hello.ts";
import type { Grant } from "./decide.ts";
import type { Verdict } from "./flow.ts";

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
    // One that has ended already says nothing more, nor that it ended: it would be waited for, and hold its place, for good.
    if (client.readableEnded || client.destroyed) return onEnd();
    client.on("data", onData);
    client.on("end", onEnd);
    client.on("close", onEnd);
    client.resume();
  });
}

/** Why a client that begins so is not heard further: it asks for another name than the one it was granted, or for none. */
export function openingFault(opening: Opening, grant: Grant): Verdict | undefined {
  const refuse = (detail: string): Verdict => ({
    allowed: false,
    policy: grant.policy,
    rule: null,
    reason: "malformed",
    detail,
  });
  if (opening.kind === "malformed") return refuse(`not the start of a TLS connection: ${opening.why}`);
  if (opening.kind === "other") return undefined;
  const { serverName, hasEncryptedHello } = opening.hello;
  // Where TLS ends here, the granted name is the one that is served: a hidden one is heard by nobody, a missing one is known.
  const endsHere = grant.carry === "inspect";
  if (hasEncryptedHello && !endsHere)
    return refuse("the name may be hidden (encrypted client hello), which only an inspected endpoint lets pass");
  if (isIP(grant.host) !== 0 || (serverName === undefined && endsHere)) return undefined;
  if (serverName === undefined) return refuse(`no name was sent (SNI), ${grant.host} was connected to`);
  return serverName === grant.host ? undefined : refuse(`${serverName} was asked for at ${grant.host} (SNI)`);
}

/** Fatal, access_denied (RFC 8446 section 6). */
const alert = Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x31]);

/** A client of TLS is told, rather than cut off. */
export function refuseOpening(client: Socket, opening: Opening): void {
  if (opening.kind !== "tls") return void client.resetAndDestroy();
  client.write(alert);
  client.destroySoon();
}
