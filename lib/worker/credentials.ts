import { readFileSync } from "node:fs";
import { HoldfastError } from "../errors.ts";

/** Where the worker's standing credential comes from: the environment, or a file; never an argument. */
export function readEnvironmentKey(keyFile: string | undefined, env: NodeJS.ProcessEnv): string | undefined {
  const given = env["ANTHROPIC_ENVIRONMENT_KEY"];
  // Out of our own environment at once: nothing that is started later can inherit it.
  delete env["ANTHROPIC_ENVIRONMENT_KEY"];
  if (keyFile === undefined) return given === undefined || given === "" ? undefined : given;
  try {
    return readFileSync(keyFile, "utf8").trim();
  } catch (cause) {
    throw new HoldfastError(`the environment key file ${keyFile} cannot be read`, {
      code: "ERR_HOLDFAST_KEY_FILE",
      step: "worker",
      path: keyFile,
      hint: "Name a file that this user can read, or set ANTHROPIC_ENVIRONMENT_KEY.",
      cause,
    });
  }
}

/** The sessions token in an item's secret (protocol 4), or null: then the environment key serves. */
export function sessionsToken(secret: string | null | undefined): string | null {
  if (secret === null || secret === undefined || secret === "") return null;
  try {
    const parsed: unknown = JSON.parse(Buffer.from(secret.replaceAll("-", "+").replaceAll("_", "/"), "base64").toString("utf8"));
    if (typeof parsed !== "object" || parsed === null || !("sessions_token" in parsed)) return null;
    const token = parsed.sessions_token;
    return typeof token === "string" && token !== "" ? token : null;
  } catch {
    return null;
  }
}

/** Takes every known credential out of what is about to be written. */
export class Redactor {
  readonly #secrets = new Set<string>();

  add(...secrets: readonly (string | null | undefined)[]): void {
    for (const secret of secrets) if (secret !== null && secret !== undefined && secret.length >= 8) this.#secrets.add(secret);
  }

  redact(text: string): string {
    let clean = text;
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, "[redacted]");
    // What looks like one of the service's credentials, ours or not.
    return clean.replace(/sk-ant-[a-z0-9]+-[A-Za-z0-9_-]{6,}/g, "[redacted]");
  }
}
