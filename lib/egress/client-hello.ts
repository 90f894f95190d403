/**
 * Reads the first message of a TLS connection as far as the decision needs it: the name that is asked for, the protocols,
 * and whether the real name is hidden (RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3, RFC 7301, draft-ietf-tls-esni).
 */

export interface ClientHello {
  /** The name of the server, lower case; undefined where none was sent. */
  readonly serverName: string | undefined;
  /** Application protocols (ALPN), in the client's order. */
  readonly protocols: readonly string[];
  /** Whether the name may be another than the one shown: an encrypted client hello that is more than padding. */
  readonly hasEncryptedHello: boolean;
}

export type HelloRead =
  | { readonly kind: "hello"; readonly hello: ClientHello }
  /** There is more to come. */
  | { readonly kind: "more" }
  /** Something else than TLS. */
  | { readonly kind: "other" }
  /** TLS, but nothing that a client sends. */
  | { readonly kind: "malformed"; readonly why: string };

/** More than any client sends; key shares of post-quantum schemes have a kilobyte or two. */
export const longestHello: number = 32 * 1024;

const handshakeRecord = 0x16;
const clientHello = 0x01;
const extensionServerName = 0;
const extensionAlpn = 16;
const extensionEncryptedHello = 0xfe0d;
/** RFC 8446 section 5.1: the longest plaintext of a record. */
const longestRecord = 16_384;

class Malformed extends Error {}

/** A piece of the message that is read from its start. */
class Cursor {
  readonly #data: Buffer;
  #at: number;
  readonly #end: number;

  constructor(data: Buffer, at = 0, end: number = data.length) {
    this.#data = data;
    this.#at = at;
    this.#end = end;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#end;
  }

  #take(size: number): number {
    const at = this.#at;
    if (at + size > this.#end) throw new Malformed("a length reaches beyond what holds it");
    this.#at += size;
    return at;
  }

  byte(): number {
    return this.#data.readUInt8(this.#take(1));
  }

  word(): number {
    return this.#data.readUInt16BE(this.#take(2));
  }

  skip(size: number): void {
    this.#take(size);
  }

  /** A vector with its length before it, in one byte or two. */
  vector(lengthBytes: 1 | 2): Cursor {
    const size = lengthBytes === 1 ? this.byte() : this.word();
    const at = this.#take(size);
    return new Cursor(this.#data, at, at + size);
  }

  rest(): Buffer {
    return this.#data.subarray(this.#at, this.#end);
  }
}

/** Looks at what has come so far of a connection. Costs nothing until a whole message is there. */
export function readClientHello(data: Buffer): HelloRead {
  if (data.length === 0) return { kind: "more" };
  if (data[0] !== handshakeRecord) return { kind: "other" };
  if (data.length > 1 && data[1] !== 3) return { kind: "other" };
  try {
    const message = handshakeMessage(data);
    if (message !== undefined) return { kind: "hello", hello: parse(message) };
    if (data.length > longestHello)
      return { kind: "malformed", why: `the client's hello is longer than ${longestHello} bytes` };
    return { kind: "more" };
  } catch (error) {
    if (error instanceof Malformed) return { kind: "malformed", why: error.message };
    throw error;
  }
}

/** The first handshake message, put together from its records; undefined while some of it is missing. */
function handshakeMessage(data: Buffer): Buffer | undefined {
  const pieces: Buffer[] = [];
  let have = 0;
  let want: number | undefined;
  for (let at = 0; at + 5 <= data.length; ) {
    if (data[at] !== handshakeRecord || data[at + 1] !== 3)
      throw new Malformed("the hello is broken off by another record");
    const size = data.readUInt16BE(at + 3);
    if (size === 0 || size > longestRecord) throw new Malformed("a record's length is malformed");
    const piece = data.subarray(at + 5, at + 5 + size);
    pieces.push(piece);
    have += piece.length;
    if (want === undefined && have >= 4) {
      const start = pieces.length === 1 ? piece : Buffer.concat(pieces);
      if (start[0] !== clientHello) throw new Malformed("the first message is no client's hello");
      want = 4 + start.readUIntBE(1, 3);
      if (want > longestHello) throw new Malformed(`the client's hello is longer than ${longestHello} bytes`);
    }
    if (want !== undefined && have >= want) return Buffer.concat(pieces).subarray(4, want);
    at += 5 + size;
  }
  return undefined;
}

function parse(message: Buffer): ClientHello {
  const cursor = new Cursor(message);
  if (cursor.word() >> 8 !== 3) throw new Malformed("the version is not known");
  cursor.skip(32); // random
  cursor.vector(1); // session id
  cursor.vector(2); // cipher suites
  cursor.vector(1); // compression methods
  let serverName: string | undefined;
  let protocols: string[] = [];
  let hasEncryptedHello = false;
  if (!cursor.isAtEnd) {
    const extensions = cursor.vector(2);
    if (!cursor.isAtEnd) throw new Malformed("something follows the extensions");
    const seen = new Set<number>();
    while (!extensions.isAtEnd) {
      const type = extensions.word();
      const body = extensions.vector(2);
      // RFC 8446 section 4.2: one of a type. Two names would be two destinations.
      if (seen.has(type)) throw new Malformed("an extension stands twice");
      seen.add(type);
      if (type === extensionServerName) serverName = readServerName(body);
      else if (type === extensionAlpn) protocols = readProtocols(body);
      else if (type === extensionEncryptedHello) hasEncryptedHello = true;
    }
  }
  return { serverName, protocols, hasEncryptedHello };
}

function readServerName(body: Cursor): string | undefined {
  const names = body.vector(2);
  let found: string | undefined;
  while (!names.isAtEnd) {
    const type = names.byte();
    const name = names.vector(2).rest();
    if (type !== 0) continue;
    if (found !== undefined) throw new Malformed("two server names are asked for");
    found = name.toString("latin1").toLowerCase();
    if (!/^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(found) || found.length > 253)
      throw new Malformed("the server's name is malformed");
  }
  if (!body.isAtEnd) throw new Malformed("something follows the server's name");
  return found;
}

function readProtocols(body: Cursor): string[] {
  const list = body.vector(2);
  const found: string[] = [];
  while (!list.isAtEnd) found.push(list.vector(1).rest().toString("latin1"));
  return found;
}
