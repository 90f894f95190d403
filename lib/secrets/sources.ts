import { spawn } from "node:child_process";
import type { BigIntStats } from "node:fs";
import { constants, type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { isNativeFailure, native } from "../native.ts";
import type { SecretSource } from "../policy/credentials.ts";

/** The longest secret, in bytes: with its line end it fits into a page, and RLIMIT_MEMLOCK counts pages. */
export const longestSecret = 4094;
/** A file on a server that has gone is not waited for any longer. */
const fileMs = 10_000;
const mostAttempts = 3;

/** Why there is no secret. Its message never holds one. */
export class SecretError extends Error {
  override readonly name = "SecretError";
}

export interface Found {
  /** In locked memory; the caller wipes it. */
  readonly bytes: Buffer;
  /** What is known of a source's state, to tell whether it has changed; undefined where that cannot be told. */
  readonly version: string | undefined;
}

/** How the bytes are looked at: wiped where they are refused. */
type Check = (bytes: Buffer, size: number, what: string) => Buffer;

/**
 * Reads a secret straight into locked memory.
 *
 * @param known the version that is there already; a source that still has it gives undefined
 * @throws SecretError
 */
export async function readSource(
  source: SecretSource,
  known?: string,
  check: Check = checkSecret,
): Promise<Found | undefined> {
  switch (source.kind) {
    case "env":
      return fromVariable(source.name, known, check);
    case "file":
      return await within(fileMs, source.path, fromFile(source.path, known, check));
    case "systemd":
      return await within(fileMs, source.name, fromFile(systemdPath(source.name), known, check));
    case "command":
      return await fromCommand(source.argv, source.timeoutMs, check);
  }
}

/** @throws SecretError */
export function systemdPath(name: string): string {
  const folder = process.env["CREDENTIALS_DIRECTORY"];
  if (folder !== undefined) return join(folder, name);
  throw new SecretError(`no credential ${name}: CREDENTIALS_DIRECTORY is not set, this is no systemd service`);
}

/** Zeros in locked memory. */
export function locked(size: number): Buffer {
  try {
    return native().secretBuffer(size);
  } catch (error) {
    if (!isNativeFailure(error)) throw error;
    throw new SecretError(`no memory can be locked for a secret (${error.message}): raise RLIMIT_MEMLOCK (ulimit -l)`);
  }
}

function fromVariable(name: string, known: string | undefined, check: Check): Found | undefined {
  const value = process.env[name];
  if (value === undefined) throw new SecretError(`the variable ${name} is not set`);
  // A process's environment changes by its own hand alone.
  if (known === "set") return undefined;
  const size = Buffer.byteLength(value);
  if (size > longestSecret) throw new SecretError(`the variable ${name} is longer than ${longestSecret} bytes`);
  const bytes = locked(longestSecret);
  bytes.write(value);
  return { bytes: check(bytes, size, `the variable ${name}`), version: "set" };
}

async function fromFile(path: string, known: string | undefined, check: Check): Promise<Found | undefined> {
  // Not waited for: a pipe that nobody writes to.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) => {
    throw new SecretError(`${path} ${fileFaults[error.code ?? ""] ?? `cannot be read (${error.code})`}`);
  });
  try {
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const stat = await file.stat({ bigint: true });
      if (!stat.isFile()) throw new SecretError(`${path} is no regular file`);
      const version = versionOf(stat);
      if (version === known) return undefined;
      const bytes = locked(longestSecret + 2);
      const size = await readWhole(file, bytes);
      // Whoever writes at the same time leaves half of one and half of another.
      if (versionOf(await file.stat({ bigint: true })) === version) return { bytes: check(bytes, size, path), version };
      bytes.fill(0);
    }
    throw new SecretError(`${path} changes while it is read: replace it by rename`);
  } finally {
    await file.close();
  }
}

const commandFaults: Readonly<Record<string, string>> = {
  ENOENT: "is not there",
  EACCES: "may not be run by this user",
};

const fileFaults: Readonly<Record<string, string>> = {
  ENOENT: "is not there",
  EACCES: "may not be read by this user",
  ENOTDIR: "is not there",
  ELOOP: "is a link that leads in a circle",
  ENXIO: "is no regular file",
};

function versionOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}

async function readWhole(file: FileHandle, bytes: Buffer): Promise<number> {
  let size = 0;
  while (size < bytes.length) {
    const { bytesRead } = await file.read(bytes, size, bytes.length - size, size);
    if (bytesRead === 0) break;
    size += bytesRead;
  }
  return size;
}

function fromCommand(argv: readonly string[], timeoutMs: number, check: Check): Promise<Found> {
  const [program = "", ...args] = argv;
  return new Promise((resolve, reject) => {
    const bytes = locked(longestSecret + 2);
    let size = 0;
    const fail = (why: string): void => {
      bytes.fill(0);
      reject(new SecretError(`the command ${program} ${why}`));
    };
    // What it complains of may hold the secret: nobody reads it. Its own group, so that all that it started ends with it.
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "ignore"], detached: true });
    const end = (): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, "SIGKILL");
      } catch {
        // It has gone by itself.
      }
    };
    const timer = setTimeout(() => {
      fail(`does not end within ${timeoutMs / 1000} s`);
      end();
      child.stdout.destroy();
    }, timeoutMs);
    child.stdout.on("data", (chunk: Buffer) => {
      if (size + chunk.length <= bytes.length) chunk.copy(bytes, size);
      size += chunk.length;
      chunk.fill(0);
    });
    child.once("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      fail(commandFaults[error.code ?? ""] ?? `cannot be started (${error.code})`);
    });
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      if (code !== 0) return fail(code === null ? `was ended by ${signal}` : `ended with status ${code}`);
      try {
        resolve({ bytes: check(bytes, size, `what ${program} printed`), version: undefined });
      } catch (error) {
        reject(error);
      }
    });
  });
}

/**
 * What can stand in a header, without the line end that files have; the rest is wiped.
 *
 * @throws SecretError
 */
export function checkSecret(bytes: Buffer, size: number, what: string): Buffer {
  let end = size;
  if (end <= bytes.length && bytes[end - 1] === 0x0a) end -= bytes[end - 2] === 0x0d ? 2 : 1;
  const fault =
    end > longestSecret ? `is longer than ${longestSecret} bytes` : faultOf(bytes.subarray(0, Math.max(0, end)));
  if (fault === undefined) return bytes.subarray(0, end);
  bytes.fill(0);
  throw new SecretError(`${what} ${fault}`);
}

/**
 * A key file of several lines, of which a token is made.
 *
 * @throws SecretError
 */
export function checkDocument(bytes: Buffer, size: number, what: string): Buffer {
  if (size > 0 && size <= longestSecret) return bytes.subarray(0, size);
  bytes.fill(0);
  throw new SecretError(`${what} is ${size === 0 ? "empty" : `longer than ${longestSecret} bytes`}`);
}

function faultOf(bytes: Buffer): string | undefined {
  if (bytes.length === 0) return "is empty";
  for (const [index, byte] of bytes.entries()) {
    const where = `(byte ${index + 1})`;
    if (byte === 0x0a || byte === 0x0d) return `holds a line end ${where}: a secret is one line`;
    if (byte === 0) return `holds a NUL ${where}`;
    if (byte < 0x20 || byte === 0x7f) return `holds a control character ${where}`;
    if (byte > 0x7f) return `holds a character that is not ASCII ${where}`;
  }
  if (bytes[0] === 0x20 || bytes.at(-1) === 0x20) return "begins or ends with a space";
  return undefined;
}

async function within<Result>(ms: number, what: string, work: Promise<Result>): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new SecretError(`${what} cannot be read within ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
