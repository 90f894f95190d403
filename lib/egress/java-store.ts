import { createHash, type Hash, X509Certificate } from "node:crypto";

/**
 * Java's own format of a trust store (JKS, version 2; sun.security.provider.JavaKeyStore): every Java from 8 on reads it,
 * whatever its default type is. Numbers are big-endian:
 *
 *     magic, version, count, then for each certificate: 2, alias, time in ms, "X.509", length, DER
 *     SHA-1 of the password, "Mighty Aphrodite" and all of this
 */
const magic = 0xfeedfeed;
const version = 2;
const headerBytes = 12;
const digestBytes = 20;
const whitener = "Mighty Aphrodite";
/** Nothing is secret in a trust store: Java reads it without, tools expect this one. */
const password = "changeit";

/** The certificates of a store, as they are written in it. */
export interface JavaEntries {
  readonly count: number;
  readonly bytes: Buffer;
  /** Of all that comes before another one: the most of a store is the same for every sandbox. */
  readonly digest: Hash;
}

/**
 * What a host trusts.
 *
 * @param store its own store, kept as it is where it is of this format
 * @param bundle PEM of what it trusts, for where it is not
 */
export function javaEntries(store: Uint8Array | null, bundle: Uint8Array): JavaEntries {
  const kept = store === null ? undefined : entriesOf(Buffer.from(store));
  const { count, bytes } = kept ?? entriesFrom(bundle);
  const digest = createHash("sha1")
    .update(Buffer.from(password, "utf16le").swap16())
    .update(whitener)
    .update(header(count + 1))
    .update(bytes);
  return { count, bytes, digest };
}

/** A store of those and one more certificate (DER). */
export function javaStore({ count, bytes, digest }: JavaEntries, certificate: Uint8Array): Buffer {
  const added = entry("holdfast", certificate);
  return Buffer.concat([header(count + 1), bytes, added, digest.copy().update(added).digest()]);
}

function header(count: number): Buffer {
  const made = Buffer.alloc(headerBytes);
  made.writeUInt32BE(magic, 0);
  made.writeUInt32BE(version, 4);
  made.writeUInt32BE(count, 8);
  return made;
}

/** A store's entries as they stand; undefined where it is of another format, or damaged. */
function entriesOf(store: Buffer): Pick<JavaEntries, "count" | "bytes"> | undefined {
  if (store.length < headerBytes + digestBytes || store.readUInt32BE(0) !== magic || store.readUInt32BE(4) !== version)
    return undefined;
  // Of another password's store the digest cannot be checked, and need not be: Java does not look without one.
  return { count: store.readUInt32BE(8), bytes: store.subarray(headerBytes, -digestBytes) };
}

function entriesFrom(bundle: Uint8Array): Pick<JavaEntries, "count" | "bytes"> {
  const found = Buffer.from(bundle)
    .toString("latin1")
    .matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END/g);
  const certificates = [...found].flatMap(([, text = ""]) => {
    const der = Buffer.from(text, "base64");
    return isCertificate(der) ? [der] : [];
  });
  return {
    count: certificates.length,
    bytes: Buffer.concat(certificates.map((der, i) => entry(`host-${i}`, der))),
  };
}

/** One that Java cannot read would cost it the whole store. */
function isCertificate(der: Buffer): boolean {
  try {
    return new X509Certificate(der).raw.length === der.length;
  } catch {
    return false;
  }
}

function entry(alias: string, certificate: Uint8Array): Buffer {
  const fixed = Buffer.alloc(8);
  const size = Buffer.alloc(4);
  size.writeUInt32BE(certificate.length);
  return Buffer.concat([Buffer.from([0, 0, 0, 2]), text(alias), fixed, text("X.509"), size, certificate]);
}

/** Of ASCII, what DataOutputStream.writeUTF makes. */
function text(ascii: string): Buffer {
  const size = Buffer.alloc(2);
  size.writeUInt16BE(ascii.length);
  return Buffer.concat([size, Buffer.from(ascii, "latin1")]);
}
