import { closeSync, constants, openSync, readSync } from "node:fs";
import { HoldfastError } from "../errors.ts";
import { secretsInUse } from "../secrets/secret-search.ts";
import { withoutTokens } from "../secrets/token-shapes.ts";

/** What can stand in a header: anything else is no credential, but a broken file or a damaged payload. */
const credential = /^[\x21-\x7e]+$/;

/**
 * Where the worker's standing credential comes from: a file, else the environment; never an argument.
 *
 * @param env the key is taken out of it, so that nothing started later inherits it
 * @throws HoldfastError ERR_HOLDFAST_KEY_FILE
 */
export function readEnvironmentKey(keyFile: string | undefined, env: NodeJS.ProcessEnv): string | undefined {
  const given = env["ANTHROPIC_ENVIRONMENT_KEY"]?.trim();
  delete env["ANTHROPIC_ENVIRONMENT_KEY"];
  if (keyFile === undefined) {
    if (given === undefined || given === "") return undefined;
    const fault = faultOf(given);
    if (fault === undefined) return given;
    throw new HoldfastError(`ANTHROPIC_ENVIRONMENT_KEY does not hold one key: it ${fault}`, {
      code: "ERR_HOLDFAST_KEY_FILE",
      step: "worker",
      hint: "Set it to the environment key, sk-ant-oat01-… and nothing else.",
    });
  }
  const bytes = readKeyFile(keyFile);
  const key = bytes.toString("latin1").trim();
  const fault = faultOf(key);
  if (fault !== undefined) throw unreadable(keyFile, fault);
  return key;
}

/** Longer is no key. */
const mostKeyBytes = 4096;
/** Whoever writes into a pipe may have to fetch the key first. */
const pipeMs = 10_000;
const pipeWaitMs = 20;

/** A pipe that nobody writes to is not waited for. */
function readKeyFile(path: string): Buffer {
  const bytes = Buffer.alloc(mostKeyBytes + 1);
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    let size = 0;
    for (const until = performance.now() + pipeMs; size < bytes.length; ) {
      const read = readPart(fd, bytes, size);
      if (read === 0) break;
      if (read === undefined && performance.now() > until)
        throw unreadable(path, `is not written within ${pipeMs / 1000} s`);
      size += read ?? 0;
    }
    if (size > mostKeyBytes) throw unreadable(path, `is longer than ${mostKeyBytes} bytes`);
    return bytes.subarray(0, size);
  } catch (cause) {
    if (HoldfastError.is(cause)) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    const why = { ENOENT: "is not there", EACCES: "may not be read by this user", EISDIR: "is a folder" }[code ?? ""];
    throw unreadable(path, why ?? `cannot be read (${code})`, cause);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Undefined after a while in which nothing came. */
function readPart(fd: number, into: Buffer, at: number): number | undefined {
  try {
    return readSync(fd, into, at, into.length - at, null);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pipeWaitMs);
    return undefined;
  }
}

function faultOf(key: string): string | undefined {
  if (key === "") return "is empty";
  if (/[\r\n]/.test(key)) return "holds several lines: the key is one";
  if (key.includes("\0")) return "holds a NUL";
  if (/[^\0-\x7f]/.test(key)) return "holds a character that is not ASCII";
  return credential.test(key) ? undefined : "holds a space or a control character";
}

function unreadable(path: string, why: string, cause?: unknown): HoldfastError {
  return new HoldfastError(`the environment key file ${path} ${why}`, {
    code: "ERR_HOLDFAST_KEY_FILE",
    step: "worker",
    path,
    hint: "Name a file with the key that this user can read, or set ANTHROPIC_ENVIRONMENT_KEY.",
    cause,
  });
}

/** The sessions token in an item's secret (protocol section 4), or null: then the environment key serves. */
export function sessionsToken(secret: string | null | undefined): string | null {
  if (typeof secret !== "string" || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(secret)) return null;
  try {
    // Node's decoder takes either alphabet, with padding or without.
    const parsed: unknown = JSON.parse(Buffer.from(secret, "base64").toString("utf8"));
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed) || !("sessions_token" in parsed)) {
      return null;
    }
    const token = parsed.sessions_token;
    return typeof token === "string" && credential.test(token) ? token : null;
  } catch {
    return null;
  }
}

/** Takes credentials out of what is about to be written or sent. */
export class Redactor {
  /** Each with how many have it in use. */
  readonly #secrets = new Map<string, number>();

  constructor() {
    secretsInUse.add(() => this.#known());
  }

  add(...secrets: readonly (string | null | undefined)[]): void {
    for (const secret of secrets)
      if (typeof secret === "string" && secret.length >= 8)
        this.#secrets.set(secret, (this.#secrets.get(secret) ?? 0) + 1);
    secretsInUse.changed();
  }

  /** The credentials of an item that has ended. */
  remove(...secrets: readonly (string | null | undefined)[]): void {
    for (const secret of secrets) {
      if (typeof secret !== "string") continue;
      const left = (this.#secrets.get(secret) ?? 0) - 1;
      if (left > 0) this.#secrets.set(secret, left);
      else this.#secrets.delete(secret);
    }
    secretsInUse.changed();
  }

  /** What leaves is searched for these too. */
  *#known(): Generator<readonly [name: string, secret: Buffer]> {
    for (const secret of this.#secrets.keys()) yield ["the worker's own key", Buffer.from(secret, "latin1")];
  }

  /** Without what this process knows, and without what looks like a key of the queue's: for logs. */
  redact(text: string): string {
    return withoutTokens(secretsInUse.redact(text));
  }
}
