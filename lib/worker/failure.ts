import { APIError, APIUserAbortError } from "@anthropic-ai/sdk";
import { HoldfastError } from "../errors.ts";

/** The HTTP status of a failed call, undefined when there was no answer. */
export function statusOf(error: unknown): number | undefined {
  return error instanceof APIError ? error.status : undefined;
}

/**
 * Whether a call must not be made again (protocol section 2): a 4xx other than 408, 409 and 429, unless the server's
 * `x-should-retry` says otherwise of any failure. No answer, a timeout or an answer that cannot be read may be tried again.
 */
export function isFatal(error: unknown): boolean {
  if (error instanceof APIError && error.status !== undefined) return isFatalAnswer(error.status, error.headers);
  return error instanceof APIUserAbortError;
}

/** As `isFatal`, of an answer that is no success. */
export function isFatalAnswer(status: number, headers: unknown): boolean {
  const said = headers instanceof Headers ? headers.get("x-should-retry") : null;
  return said === "true" || said === "false" ? said === "false" : isRefusal(status);
}

/** Whether a status alone says that the same request would be refused again. */
export function isRefusal(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 409 && status !== 429;
}

/** An error in one line. Not the API's own message: it may repeat what was sent. */
export function describe(error: unknown): string {
  if (error instanceof APIError) {
    const type: unknown = error.type;
    return error.status === undefined
      ? `no answer${causeOf(error)}`
      : `${error.status}${typeof type === "string" ? ` ${type}` : ""}`;
  }
  if (HoldfastError.is(error)) return `${error.message} [${error.code}]`;
  return error instanceof Error ? `${error.message}${causeOf(error)}` : String(error);
}

function causeOf(error: Error): string {
  let { cause } = error;
  while (cause instanceof Error && cause.cause instanceof Error) cause = cause.cause;
  return cause instanceof Error ? ` (${cause.message})` : "";
}
