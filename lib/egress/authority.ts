import {
  constants,
  createHash,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from "node:crypto";
import { isIP } from "node:net";
import { createSecureContext, type SecureContext } from "node:tls";
import { native } from "../native.ts";
import { addressBytes } from "./addresses.ts";
import { ciphers } from "./ciphers.ts";
import { bitString, boolean, integer, octetString, oid, sequence, set, tagged, time, utf8String } from "./der.ts";

// RFC 5280, RFC 5758, RFC 5480.
const ids = {
  commonName: "2.5.4.3",
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAlternativeName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
};

/** Clocks differ: what was made just now must not be of tomorrow for anybody. */
const backdatedMs = 3_600_000;
const mostContexts = 1024;

/**
 * The certificate authority of one sandbox. Its key lives in this process's memory and nowhere else, and goes with it.
 * Certificates are written by hand: a library takes 35 times as long for a leaf.
 */
export class Authority {
  /** PEM, for what the sandbox trusts. */
  readonly certificate: string;
  readonly #key: KeyObject;
  readonly #name: Buffer;
  readonly #keyId: Buffer;
  readonly #from: Date;
  readonly #until: Date;
  /** PEM. */
  readonly leafKey: string;
  readonly #leafPublic: Buffer;
  readonly #contexts = new Map<string, SecureContext>();

  /**
   * @param label the sandbox's name, which its certificate shows
   * @param validMs how long it and its leaves are good for, from now
   */
  constructor(label: string, validMs: number) {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.#key = privateKey;
    this.#name = nameOf(`holdfast ${label}`.slice(0, 64));
    this.#from = new Date(Date.now() - backdatedMs);
    this.#until = new Date(Date.now() + validMs);
    const spki = publicKey.export({ type: "spki", format: "der" });
    this.#keyId = keyId(spki);
    // All leaves share a key: each has one name, and a key of its own would protect nothing.
    const leaf = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.leafKey = leaf.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    this.#leafPublic = leaf.publicKey.export({ type: "spki", format: "der" });
    const der = this.#certify(this.#name, spki, [
      extension(ids.basicConstraints, true, sequence(boolean(true), integer(Buffer.from([0])))),
      extension(ids.keyUsage, true, bitString(Buffer.from([0x06]), 1)), // keyCertSign, cRLSign
      extension(ids.subjectKeyIdentifier, false, octetString(this.#keyId)),
    ]);
    this.certificate = new X509Certificate(der).toString();
  }

  /** What a client that asks for a name is answered with, made once for each. The caller grants the name. */
  contextFor(name: string): SecureContext {
    const kept = this.#contexts.get(name);
    if (kept !== undefined) return kept;
    if (this.#contexts.size >= mostContexts) this.#contexts.clear();
    const made = (): SecureContext =>
      createSecureContext({
        key: this.leafKey,
        cert: this.leafFor(name),
        minVersion: "TLSv1.2",
        ciphers,
        honorCipherOrder: true,
        // A second handshake costs this side ten times what it costs the other. The option takes TLS 1.2's ticket away, and
        // makes those of 1.3 short where they cannot be done without.
        secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_TICKET,
      });
    // Tickets are a price of each handshake, for what hardly any client does in a sandbox: to come again in the same process,
    // on a new connection.
    const context = native().withoutTickets(made);
    this.#contexts.set(name, context);
    return context;
  }

  /** PEM of a certificate for one name or address. */
  leafFor(name: string): string {
    const alternative = isIP(name) === 0 ? tagged(0x82, Buffer.from(name)) : tagged(0x87, addressBytes(name));
    const der = this.#certify(nameOf(name.length <= 64 ? name : "holdfast"), this.#leafPublic, [
      extension(ids.basicConstraints, true, sequence()),
      extension(ids.keyUsage, true, bitString(Buffer.from([0x80]), 7)), // digitalSignature
      extension(ids.extendedKeyUsage, false, sequence(oid(ids.serverAuth))),
      extension(ids.subjectAlternativeName, false, sequence(alternative)),
      extension(ids.authorityKeyIdentifier, false, sequence(tagged(0x80, this.#keyId))),
    ]);
    return new X509Certificate(der).toString();
  }

  #certify(subject: Buffer, spki: Buffer, extensions: readonly Buffer[]): Buffer {
    const algorithm = sequence(oid(ids.ecdsaWithSha256));
    const serial = randomBytes(16);
    // RFC 5280 section 4.1.2.2: positive; and never shorter.
    serial.writeUInt8((serial.readUInt8(0) & 0x7f) | 0x40, 0);
    const signed = sequence(
      tagged(0xa0, integer(Buffer.from([2]))), // version 3
      integer(serial),
      algorithm,
      this.#name,
      sequence(time(this.#from), time(this.#until)),
      subject,
      spki,
      tagged(0xa3, sequence(...extensions)),
    );
    return sequence(signed, algorithm, bitString(sign("sha256", signed, this.#key)));
  }
}

function nameOf(text: string): Buffer {
  return sequence(set(sequence(oid(ids.commonName), utf8String(text))));
}

function extension(id: string, isCritical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(isCritical ? [boolean(true)] : []), octetString(value));
}

/** RFC 5280 section 4.2.1.2: a hash of the key. */
function keyId(spki: Buffer): Buffer {
  return createHash("sha256").update(spki).digest().subarray(0, 20);
}
