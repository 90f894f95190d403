import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { chmodSync, closeSync, fstatSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { HoldfastError } from "../errors.ts";
import { readBounded } from "../policy/bounded-file.ts";

/** Where the key is that receipts are signed with, unless another is named; the public one lies beside it. */
export function defaultKeyFile(): string {
  return join(process.env["XDG_CONFIG_HOME"] || join(homedir(), ".config"), "holdfast", "receipt.key");
}

export function publicKeyFile(keyFile: string): string {
  return `${keyFile.replace(/\.(key|pem)$/, "")}.pub`;
}

/** The SHA-256 of the public key's SPKI in DER, in hexadecimal. */
export function keyId(key: KeyObject): string {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");
}

/**
 * Makes an Ed25519 key: PKCS #8 in PEM (0600), and its public half beside it.
 *
 * @throws HoldfastError ERR_HOLDFAST_RECEIPT_KEY, also where there is one: what it signed could not be checked any more
 */
export function makeKey(keyFile: string): { readonly keyid: string; readonly publicKeyFile: string } {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const publicFile = publicKeyFile(keyFile);
  let isMade = false;
  try {
    mkdirSync(dirname(keyFile), { recursive: true, mode: 0o700 });
    writeFileSync(keyFile, privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600, flag: "wx" });
    isMade = true;
    chmodSync(keyFile, 0o600);
    writeFileSync(publicFile, publicKey.export({ type: "spki", format: "pem" }), { mode: 0o644, flag: "wx" });
  } catch (cause) {
    if (isMade) rmSync(keyFile, { force: true });
    const { code } = cause as NodeJS.ErrnoException;
    const file = isMade ? publicFile : keyFile;
    const hint = "Name another file with --key.";
    throw keyError(file, code === "EEXIST" ? "is there already" : `cannot be written (${code})`, hint, cause);
  }
  return { keyid: keyId(publicKey), publicKeyFile: publicFile };
}

/**
 * Reads the key that receipts are signed with. It must be nobody else's to read: only its group may besides its owner (so
 * do Kubernetes' mounted secrets).
 *
 * @throws HoldfastError ERR_HOLDFAST_RECEIPT_KEY
 */
export function readKey(keyFile: string): KeyObject {
  let pem: Buffer;
  try {
    const fd = openSync(keyFile, "r");
    try {
      const { mode } = fstatSync(fd);
      if ((mode & 0o027) !== 0) {
        throw keyError(
          keyFile,
          `may be read or written by others (mode ${(mode & 0o777).toString(8)})`,
          "chmod 600 it.",
        );
      }
      pem = readFileSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    if (HoldfastError.is(cause)) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    const isMissing = code === "ENOENT";
    const hint = isMissing
      ? "holdfast receipt keygen makes one; --receipt-key names another file."
      : "Name a file that this user can read with --receipt-key.";
    throw keyError(keyFile, isMissing ? "does not exist" : `cannot be read (${code})`, hint, cause);
  }
  return ed25519(keyFile, () => createPrivateKey(pem));
}

/** More is no key: what is read of it does not read as one. */
const longestPem = 64 * 1024;

/** Reads a public key, or the public half of a private one. @throws HoldfastError ERR_HOLDFAST_RECEIPT_KEY */
export function readPublicKey(file: string): KeyObject {
  let pem: Buffer;
  try {
    pem = readBounded(file, longestPem);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why = code === "ENOENT" ? "does not exist" : `cannot be read (${code})`;
    throw keyError(file, why, "Name the public key of the host that made the receipt with --key.", cause);
  }
  return ed25519(file, () => createPublicKey(pem));
}

function ed25519(file: string, read: () => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = read();
  } catch {
    // What OpenSSL says of it could quote it.
    throw keyError(file, "is no key in PEM, or it needs a passphrase", "holdfast receipt keygen makes one.");
  }
  if (key.asymmetricKeyType === "ed25519") return key;
  throw keyError(file, `is a key for ${key.asymmetricKeyType}, not Ed25519`, "holdfast receipt keygen makes one.");
}

function keyError(file: string, why: string, hint: string, cause?: unknown): HoldfastError {
  return new HoldfastError(`the receipt key ${file} ${why}`, {
    code: "ERR_HOLDFAST_RECEIPT_KEY",
    step: "audit",
    path: file,
    hint,
    cause,
  });
}
