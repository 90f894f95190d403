import { secretsInUse } from "../secrets/secret-search.ts";
import type { Request, Verdict } from "./flow.ts";

/** A refusal or failure that is said to a client instead of the server's answer. */
export interface Answer {
  readonly status: number;
  /** What is to be known of it in one line, for clients that show no more. */
  readonly detail: string;
  /** JSON, as OpenShell's proxy says it (openshell.md 1.18). */
  readonly body: string;
}

export interface Asked {
  readonly host: string;
  readonly port: number;
  readonly program: string;
  readonly request?: Request;
}

/** What a refused request is answered with: what was missing, for whom, and what would allow it. */
export function refusalAnswer({ host, port, program, request }: Asked, verdict: Verdict): Answer {
  const error =
    verdict.reason === "address"
      ? "ssrf_denied"
      : verdict.reason === "malformed"
        ? "malformed_request"
        : "policy_denied";
  const method = verdict.method ?? request?.method;
  const asked = { ...(request === undefined ? {} : { method, path: request.path }), host, port };
  const isMissing = verdict.reason === "rule" || verdict.reason === "path";
  const next = verdict.remedy === undefined ? [] : [step(verdict.remedy)];
  return {
    status: verdict.reason === "malformed" ? 400 : 403,
    detail: [verdict.detail, ...next].join("; "),
    body: json({
      error,
      detail: verdict.detail,
      policy: verdict.policy,
      rule: verdict.rule ?? (request === undefined ? null : `${method} ${request.path}`),
      layer: "l7",
      protocol: "rest",
      ...asked,
      binary: program,
      ...(isMissing ? { rule_missing: { type: "rest_allow", layer: "l7", ...asked, binary: program } } : {}),
      next_steps: next,
    }),
  };
}

function step(remedy: string): string {
  return remedy.startsWith("--") ? `run with ${remedy}` : `add to the endpoint's rules: ${remedy}`;
}

/** What went wrong on the way, by OpenShell's words where it has one. */
export function failureAnswer(
  status: number,
  error: string,
  detail: string,
  more: Readonly<Record<string, unknown>> = {},
): Answer {
  return { status, detail, body: json({ error, detail, ...more }) };
}

function json(value: object): string {
  return `${JSON.stringify(secretsInUse.redactAll(value))}\n`;
}

const reasons: Readonly<Record<number, string>> = {
  400: "Bad Request",
  // Many clients show nothing else of it.
  403: "Forbidden by policy",
  408: "Request Timeout",
  413: "Content Too Large",
  417: "Expectation Failed",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  502: "Bad Gateway",
  504: "Gateway Timeout",
};

/** The answer as a message of HTTP/1.1. */
export function message(
  { status, body }: Answer,
  options: { readonly closes: boolean; readonly isHead: boolean },
): string {
  const fields = [
    `HTTP/1.1 ${status} ${reasons[status] ?? "Error"}`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(options.closes ? ["Connection: close"] : []),
  ];
  return `${fields.join("\r\n")}\r\n\r\n${options.isHead ? "" : body}`;
}
