import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** The error types of the protocol with their statuses. */
const statuses = {
  invalid_request_error: 400,
  authentication_error: 401,
  permission_error: 403,
  not_found_error: 404,
  conflict_error: 409,
  precondition_error: 412,
  request_too_large: 413,
  api_error: 500,
} as const;

export type WireErrorType = keyof typeof statuses;

/** A refusal that goes to the client as the protocol's JSON error body. */
export class WireError extends Error {
  readonly type: WireErrorType;
  readonly status: number;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(type: WireErrorType, message: string, details?: Record<string, unknown>) {
    super(message);
    this.name = "WireError";
    this.type = type;
    this.status = statuses[type];
    this.details = details;
  }

  /** The response body; `invalid_request_error` stands in for the types that only have a status. */
  toBody(requestId: string): object {
    const type =
      this.type === "conflict_error" || this.type === "precondition_error" || this.type === "request_too_large"
        ? "invalid_request_error"
        : this.type;
    return {
      type: "error",
      error: { type, message: this.message, ...(this.details ? { details: this.details } : {}) },
      request_id: requestId,
    };
  }
}

/** A new id such as `work_01J…`: a prefix and 120 random bits. */
export function makeId(prefix: string): string {
  return `${prefix}_${randomBytes(15).toString("base64url").replaceAll("-", "a").replaceAll("_", "b")}`;
}

/** A new credential: a prefix such as `sk-ant-oat01-` and 256 random bits. */
export function makeCredential(prefix: string): string {
  return `${prefix}${randomBytes(32).toString("base64url")}`;
}

/** What is kept of a credential, so that the state file holds none. */
export function credentialHash(credential: string): string {
  return createHash("sha256").update(credential).digest("hex");
}

/** Compares two hashes of {@link credentialHash} in constant time. */
export function sameHash(left: string, right: string): boolean {
  return left.length === right.length && timingSafeEqual(Buffer.from(left), Buffer.from(right));
}

/** RFC 3339 with milliseconds. */
export function timestamp(ms: number): string {
  return new Date(ms).toISOString();
}

/** `timestamp`, null kept. */
export function timestampOrNull(ms: number | null): string | null {
  return ms === null ? null : timestamp(ms);
}
