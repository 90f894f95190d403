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
/** Its type, its version and its length. */
const recordHeader = 5;
/** Its type and its length. */
const messageHeader = 4;

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

/** Follows a connection's first bytes up to the end of the hello, at the same cost however they are cut. */
export class HelloReader {
  /** Of the record at hand. */
  #header: number[] = [];
  #left = 0;
  /** The message: its own header, then all of it. */
  #message: Buffer = Buffer.alloc(messageHeader);
  #have = 0;
  #read = 0;

  take(chunk: Buffer): HelloRead {
    try {
      return this.#take(chunk);
    } catch (error) {
      if (error instanceof Malformed) return { kind: "malformed", why: error.message };
      throw error;
    }
  }

  #take(chunk: Buffer): HelloRead {
    const whole = this.#read === 0 && this.#header.length === 0 && this.#left === 0 ? wholeHello(chunk) : undefined;
    if (whole !== undefined) return { kind: "hello", hello: parse(whole) };
    for (let at = 0; at < chunk.length; ) {
      if (this.#left === 0) {
        this.#header.push(chunk.readUInt8(at++));
        if (!this.#isRecord()) return { kind: "other" };
        continue;
      }
      const wanted = Math.min(this.#left, this.#message.length - this.#have);
      const size = chunk.copy(this.#message, this.#have, at, at + wanted);
      at += size;
      this.#left -= size;
      this.#have += size;
      if (this.#have < this.#message.length) continue;
      if (this.#have > messageHeader) return { kind: "hello", hello: parse(this.#message.subarray(messageHeader)) };
      this.#begin();
    }
    this.#read += chunk.length;
    // Records may be short, and then there is more of their headers than of the message.
    if (this.#read > longestHello) throw new Malformed(`the client's hello is longer than ${longestHello} bytes`);
    return { kind: "more" };
  }

  /** Looks at what there is of a record's header; false where it is none of TLS. */
  #isRecord(): boolean {
    const [type, major, , high = 0, low] = this.#header;
    if (type !== handshakeRecord || (major !== undefined && major !== 3)) {
      if (this.#have === 0) return false;
      throw new Malformed("the hello is broken off by another record");
    }
    if (low === undefined) return true;
    this.#header = [];
    this.#left = (high << 8) | low;
    if (this.#left === 0 || this.#left > longestRecord) throw new Malformed("a record's length is malformed");
    return true;
  }

  #begin(): void {
    const [type] = this.#message;
    const size = this.#message.readUIntBE(1, 3);
    if (type !== clientHello || size === 0) throw new Malformed("the first message is no client's hello");
    if (size > longestHello) throw new Malformed(`the client's hello is longer than ${longestHello} bytes`);
    this.#message = Buffer.concat([this.#message], messageHeader + size);
  }
}

/** The message, where all of it has come in one record, as from nearly every client. */
function wholeHello(chunk: Buffer): Buffer | undefined {
  const from = recordHeader + messageHeader;
  if (chunk.length < from || chunk[0] !== handshakeRecord || chunk[1] !== 3 || chunk[recordHeader] !== clientHello)
    return;
  const record = chunk.readUInt16BE(3);
  const size = chunk.readUIntBE(recordHeader + 1, 3);
  if (size === 0 || messageHeader + size > record || record > longestRecord || from + size > chunk.length) return;
  return chunk.subarray(from, from + size);
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
