import type { IncomingMessage, ServerResponse } from "node:http";
import { parse } from "yaml";
import { WireError } from "./wire.ts";
import type { Caller } from "./work-items.ts";

const maxBodyBytes = 32 * 1024 * 1024;

/** One request, as far as routes care. */
export interface QueueRequest {
  readonly method: string;
  /** Decoded path segments. */
  readonly path: readonly string[];
  readonly query: URLSearchParams;
  readonly caller: Caller;
  readonly raw: IncomingMessage;
  readonly response: ServerResponse;
  /** The body as JSON, or YAML where its type says so; an empty body is `{}`. */
  body(): Promise<unknown>;
}

/** What a route answers: JSON (null included), bytes, or nothing because it writes the response itself. */
export type Reply = { readonly json: unknown } | { readonly bytes: Uint8Array } | "handled";

/** Reads a body whole, within the limit. */
export async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBodyBytes) throw new WireError("request_too_large", `the body is larger than ${maxBodyBytes} bytes`);
    chunks.push(chunk);
  }
  if (size === 0) return {};
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new WireError("invalid_request_error", "the body is not UTF-8");
  }
  try {
    const type = request.headers["content-type"] ?? "application/json";
    return type.includes("yaml") ? parse(text, { maxAliasCount: 100 }) : JSON.parse(text);
  } catch (error) {
    throw new WireError(
      "invalid_request_error",
      `the body cannot be parsed: ${error instanceof Error ? error.message : error}`,
    );
  }
}

/** A body that must be an object. */
export function asObject(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new WireError("invalid_request_error", "the body must be an object");
  }
  return value as Record<string, unknown>;
}

/** A whole number from the query within bounds; undefined when absent. */
export function queryInteger(query: URLSearchParams, name: string, from: number, to: number): number | undefined {
  const value = query.get(name);
  if (value === null) return undefined;
  const number = Number(value);
  if (!/^\d+$/.test(value) || number < from || number > to) {
    throw new WireError("invalid_request_error", `${name}: must be a whole number from ${from} to ${to}`);
  }
  return number;
}

/** The cursor of a list; 0 when absent. */
export function queryPage(query: URLSearchParams): number {
  return queryInteger(query, "page", 0, Number.MAX_SAFE_INTEGER) ?? 0;
}

/** A point in time from the query, in milliseconds; undefined when absent. */
export function queryTime(query: URLSearchParams, name: string): number | undefined {
  const value = query.get(name);
  if (value === null) return undefined;
  const ms = Date.parse(value);
  if (Number.isNaN(ms)) throw new WireError("invalid_request_error", `${name}: must be a time in RFC 3339`);
  return ms;
}
