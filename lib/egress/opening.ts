import { isIP, type Socket } from "node:net";
import { native } from "../native.ts";
import { type ClientHello, HelloReader } from "./client-hello.ts";
import type { Grant } from "./decide.ts";
import type { Verdict } from "./flow.ts";
import { EndedError, readUntil, TooSlowError } from "./read-until.ts";

export type Opening =
  /** What was read, to be passed on first. */
  | { readonly kind: "tls"; readonly hello: ClientHello; readonly read: Buffer }
  | { readonly kind: "other"; readonly read: Buffer }
  /** It ended, or its time did, before the first byte. */
  | { readonly kind: "silent" }
  | { readonly kind: "malformed"; readonly why: string };

/**
 * Reads what a client says first as far as it has to be known: a TLS client's hello, else nothing but the first bytes.
 *
 * @param limits firstMs for the first byte: who waits for the server says nothing, and may take its time
 */
export async function readOpening(
  client: Socket,
  limits: { readonly firstMs: number | undefined; readonly restMs: number },
): Promise<Opening> {
  const reader = new HelloReader();
  let heard: Buffer = Buffer.alloc(0);
  try {
    return await readUntil<Opening>(
      client,
      (held, from) => {
        heard = held;
        const read = reader.take(held.subarray(from));
        if (read.kind === "more") return undefined;
        const value: Opening =
          read.kind === "hello"
            ? { kind: "tls", hello: read.hello, read: held }
            : read.kind === "other"
              ? { kind: "other", read: held }
              : read;
        return { value, size: held.length };
      },
      limits,
    );
  } catch (error) {
    // A reset is an end like others: what was dialled for it is a record all the same.
    if (!(error instanceof EndedError || error instanceof TooSlowError || client.destroyed)) throw error;
    if (heard.length === 0) return { kind: "silent" };
    return error instanceof TooSlowError
      ? { kind: "malformed", why: "its hello does not end" }
      : { kind: "other", read: heard };
  }
}

/** Nearly every client's hello, with key shares of post-quantum schemes too. */
const usualHello = 4096;
const peeked: Buffer = Buffer.alloc(usualHello);
const unread: Buffer = Buffer.alloc(0);

/**
 * A TLS client's hello that has come as a whole, and stays to be read: what TLS is ended with reads it faster than a stream
 * that is given it back. Only for where TLS ends: what is read then may be another (pages that a client spliced into its
 * socket are still its own to change), and whatever it asks for, the granted name is served.
 *
 * @param fd of the client, whose stream has not been read from
 */
export function peekHello(client: Socket, fd: number): Extract<Opening, { kind: "tls" }> | undefined {
  if (client.destroyed || client.bytesRead > 0) return undefined;
  const size = native().peek(fd, peeked);
  if (size <= 0) return undefined;
  const read = new HelloReader().take(peeked.subarray(0, size));
  return read.kind === "hello" ? { kind: "tls", hello: read.hello, read: unread } : undefined;
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
  if (opening.kind !== "tls") return undefined;
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
