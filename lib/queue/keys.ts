import { closeSync, fchmodSync, fstatSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { HoldfastError } from "../errors.ts";
import { makeCredential } from "./wire.ts";

function unusable(path: string, why: string, cause?: unknown): HoldfastError {
  return new HoldfastError(`the key file ${path} cannot be used: ${why}`, {
    code: "ERR_HOLDFAST_KEY_FILE",
    step: "queue",
    hint: "Give a path in a folder of your own; the file must be yours, regular, and of mode 0600.",
    path,
    cause,
  });
}

/**
 * Reads a credential from a file of one line that only its owner can read.
 *
 * @throws HoldfastError `ERR_HOLDFAST_KEY_FILE`
 */
export function readKeyFile(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    throw unusable(path, error instanceof Error ? error.message : String(error), error);
  }
  try {
    const status = fstatSync(fd);
    if (!status.isFile() || status.size > 4096) throw unusable(path, "it is not a small regular file");
    if ((status.mode & 0o077) !== 0) throw unusable(path, "others than its owner can read it");
    const key = readFileSync(fd, "utf8").trim();
    if (!/^[\x21-\x7e]+$/.test(key)) throw unusable(path, "it does not hold one key on one line");
    return key;
  } finally {
    closeSync(fd);
  }
}

/** Reads a key file, or makes it (0600) with a new credential. */
export function readOrMakeKeyFile(path: string, prefix: string): string {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  return writeNewKey(path, makeCredential(prefix)) ?? readKeyFile(path);
}

/** Writes a key into a new file; undefined when the file exists. */
function writeNewKey(path: string, key: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, "wx", 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return undefined;
    throw unusable(path, error instanceof Error ? error.message : String(error), error);
  }
  try {
    fchmodSync(fd, 0o600);
    writeSync(fd, `${key}\n`);
    return key;
  } finally {
    closeSync(fd);
  }
}
