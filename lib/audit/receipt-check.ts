import { createHash, type KeyObject } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { invalid, openEnvelope } from "./dsse.ts";
import { predicateType, statementType } from "./receipt.ts";

/** A statement whose signature holds. */
export interface Receipt {
  /** What it is about: the files that left, or the policy. */
  readonly subject: readonly { readonly name: string; readonly digest: Readonly<Record<string, string>> }[];
  /** As ReceiptRecorder.statement() made it. */
  readonly predicate: Readonly<Record<string, unknown>>;
}

/** @throws HoldfastError ERR_HOLDFAST_RECEIPT_INVALID */
export function checkReceipt(text: string, key: KeyObject): Receipt {
  const statement: unknown = JSON.parse(openEnvelope(text, key).toString());
  const { _type: type, predicateType: kind, subject, predicate } = statement as Readonly<Record<string, unknown>>;
  // Another statement that the same key has signed is no receipt.
  if (type !== statementType) throw invalid(`its statement is ${JSON.stringify(type)}, not ${statementType}`);
  if (kind !== predicateType) throw invalid(`it says ${JSON.stringify(kind)}, not ${predicateType}`);
  return { subject, predicate } as Receipt;
}

/**
 * Compares the files that a receipt says have left with those in a folder.
 *
 * @returns what differs, for people
 */
export function compareFiles({ predicate }: Receipt, folder: string): string[] {
  const extracted = predicate["extracted"] as readonly { readonly path: string; readonly sha256: string }[];
  // Extracted twice: what was written last is what is there.
  const last = new Map(extracted.map(({ path, sha256 }) => [path, sha256]));
  return [...last].flatMap(([path, sha256]) => {
    const found = hashOf(join(folder, path));
    if (found === sha256) return [];
    return [found === null ? `${path} is not there, or cannot be read` : `${path} is not what has left`];
  });
}

function hashOf(path: string): string | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  try {
    if (!fstatSync(fd).isFile()) return null;
    return hashDescriptor(fd);
  } finally {
    closeSync(fd);
  }
}

/** The SHA-256 of what an open file holds from where it stands, in hexadecimal. */
export function hashDescriptor(fd: number): string {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(256 * 1024);
  for (let read = 1; read > 0; ) {
    read = readSync(fd, buffer, 0, buffer.length, null);
    hash.update(buffer.subarray(0, read));
  }
  return hash.digest("hex");
}
