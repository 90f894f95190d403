import { readFileSync } from "node:fs";
import { HoldfastError } from "../errors.ts";
import { secretsInUse } from "../secrets/secret-search.ts";

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
    if (credential.test(given)) return given;
    throw new HoldfastError("ANTHROPIC_ENVIRONMENT_KEY does not hold one key", {
      code: "ERR_HOLDFAST_KEY_FILE",
      step: "worker",
      hint: "Set it to the environment key, sk-ant-oat01-… and nothing else.",
    });
  }
  let key: string;
  try {
    key = readFileSync(keyFile, "utf8").trim();
  } catch (cause) {
    throw unreadable(keyFile, "cannot be read", cause);
  }
  if (!credential.test(key)) throw unreadable(keyFile, "does not hold one key on one line");
  return key;
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
  readonly #secrets = new Set<string>();

  constructor() {
    secretsInUse.add(() => this.#known());
  }

  add(...secrets: readonly (string | null | undefined)[]): void {
    for (const secret of secrets) if (typeof secret === "string" && secret.length >= 8) this.#secrets.add(secret);
    secretsInUse.changed();
  }

  /** The credentials of an item that has ended. */
  remove(...secrets: readonly (string | null | undefined)[]): void {
    for (const secret of secrets) if (typeof secret === "string") this.#secrets.delete(secret);
    secretsInUse.changed();
  }

  /** What leaves is searched for these too. */
  *#known(): Generator<readonly [name: string, secret: Buffer]> {
    for (const secret of this.#secrets) yield ["the worker's own key", Buffer.from(secret, "latin1")];
  }

  /** Without what this process knows, and without what looks like a key of the queue's: for logs. */
  redact(text: string): string {
    return secretsInUse.redact(text).replace(/sk-ant-[a-z0-9]+-[A-Za-z0-9_-]{6,}/g, "[redacted]");
  }
}
