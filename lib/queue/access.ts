import type { IncomingMessage } from "node:http";
import { credentialHash, sameHash, WireError } from "./wire.ts";
import type { Caller } from "./work-items.ts";

const versions = new Set(["2026-10-21", "2023-06-01"]);
const agentsBeta = "managed-agents-2026-04-01";
const memoryBeta = "agent-memory-2026-07-22";

export interface AccessOptions {
  readonly environmentKey: string;
  readonly operatorKey: string;
  readonly findToken: (hash: string) => Caller | undefined;
}

/** Who may call, by credential (protocol section 2). */
export class Access {
  readonly #environmentHash: string;
  readonly #operatorHash: string;
  readonly #findToken: (hash: string) => Caller | undefined;

  constructor(options: AccessOptions) {
    this.#environmentHash = credentialHash(options.environmentKey);
    this.#operatorHash = credentialHash(options.operatorKey);
    this.#findToken = options.findToken;
  }

  /** The caller behind a request's one credential. */
  identify(request: IncomingMessage): Caller {
    const apiKey = request.headers["x-api-key"];
    const { authorization } = request.headers;
    if (apiKey !== undefined && authorization !== undefined) {
      throw new WireError("authentication_error", "send either x-api-key or authorization, not both");
    }
    const credential = typeof apiKey === "string" ? apiKey : /^Bearer (\S+)$/i.exec(authorization ?? "")?.[1];
    if (credential === undefined) throw new WireError("authentication_error", "a credential is required");
    const hash = credentialHash(credential);
    if (sameHash(hash, this.#operatorHash)) return { kind: "operator" };
    if (apiKey === undefined) {
      if (sameHash(hash, this.#environmentHash)) return { kind: "environment" };
      const caller = this.#findToken(hash);
      if (caller !== undefined) return caller;
    }
    throw new WireError("authentication_error", "the credential is not valid here");
  }
}

/** Refuses a caller of a kind that a call is not for. */
export function allow(caller: Caller, ...kinds: readonly Caller["kind"][]): void {
  if (!kinds.includes(caller.kind)) {
    throw new WireError("permission_error", `this call does not take the ${caller.kind} credential`);
  }
}

/** The headers that a worker must send. Operators, who may well use curl, are spared them. */
export function checkHeaders(request: IncomingMessage, area: string, caller: Caller): void {
  if (caller.kind === "operator") return;
  const version = request.headers["anthropic-version"];
  if (typeof version !== "string" || !versions.has(version)) {
    throw new WireError("invalid_request_error", `anthropic-version: must be one of ${[...versions].join(", ")}`);
  }
  const betas = String(request.headers["anthropic-beta"] ?? "")
    .split(",")
    .map((beta) => beta.trim());
  const wanted = area === "memory_stores" ? [memoryBeta, agentsBeta] : area === "skills" ? [] : [agentsBeta];
  if (wanted.length > 0 && !wanted.some((beta) => betas.includes(beta))) {
    throw new WireError("invalid_request_error", `anthropic-beta: ${wanted[0]} is required`);
  }
}
