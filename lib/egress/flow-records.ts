import type { Audit, AuditEvent } from "../audit/audit.ts";
import { writeHostPort } from "../policy/host-port.ts";
import type { NetworkEndpoint } from "../policy/network.ts";
import { FailedConnections } from "./failed-connections.ts";
import type { Program, Request, Verdict } from "./flow.ts";
import type { InferenceRecord } from "./inference.ts";
import type { RequestLeak } from "./leaks.ts";
import { UnlistedConnections } from "./unlisted.ts";

/** Whose connection to what a verdict is about. */
export interface FlowSubject {
  readonly program: Program | null;
  readonly host: string;
  readonly port: number;
}

/** What else is known of a verdict. */
export interface FlowDetail {
  readonly request?: Request | undefined;
  /** The credentials that go into it. */
  readonly credentials?: readonly string[] | undefined;
  /** Whose settings held for the request. */
  readonly endpoint?: NetworkEndpoint | undefined;
  /** It passed by `--net log` alone, for what it began with. */
  readonly isOpaque?: boolean;
}

/** What became of the connections of one sandbox: each verdict is a record, and what its user is to hear of is kept. */
export class FlowRecords {
  readonly refusals: FailedConnections = new FailedConnections();
  readonly unreached: FailedConnections = new FailedConnections();
  readonly unlisted: UnlistedConnections = new UnlistedConnections();
  readonly #sandbox: string;
  readonly #audit: Audit | undefined;
  #lastName: string | undefined;
  /** The last request, and what was recorded of it. */
  #last:
    | {
        readonly request: Request;
        readonly verdict: Verdict;
        readonly credentials: readonly string[] | undefined;
        readonly event: AuditEvent & Readonly<Record<"program" | "sha256" | "host", string | null> & { port: number }>;
      }
    | undefined;

  constructor(sandbox: string, audit: Audit | undefined) {
    this.#sandbox = sandbox;
    this.#audit = audit;
  }

  note(flow: FlowSubject, verdict: Verdict, detail: FlowDetail = {}): void {
    const { request, endpoint, isOpaque = false } = detail;
    this.#verdict(flow, verdict, detail);
    // The usual request, which is to cost no more than its record.
    if (verdict.allowed && verdict.reason === undefined) return;
    const { program, host, port } = flow;
    const place = `${writeHostPort(host, port)} (by ${program?.path ?? "an unknown program"})`;
    const method = verdict.method ?? request?.method ?? "";
    const subject = request === undefined ? place : `${method} ${request.path} at ${place}`;
    if (verdict.reason === "unreachable") this.unreached.add(place, verdict);
    if (!verdict.allowed) this.refusals.add(subject, verdict);
    if (verdict.unlisted !== true) return;
    this.unlisted.add({
      ...{ program: program?.path ?? null, host, port, isOpaque },
      ...(program?.doubt === undefined ? {} : { doubt: program.doubt }),
      ...(verdict.reason === "unreachable" ? { unreached: verdict.detail } : {}),
      ...(request === undefined ? {} : { request: withoutQuery(request) }),
      ...(endpoint === undefined ? {} : { endpoint }),
    });
  }

  /** A name was asked for that leads nowhere; asked again at once, as for its other addresses, it is one record. */
  nameRefused(name: string, verdict: Pick<Verdict, "detail" | "remedy">): void {
    this.refusals.add(name, verdict);
    if (name === this.#lastName) return;
    this.#lastName = name;
    this.#append({ type: "name.refused", sandbox: this.#sandbox, name });
  }

  /** Secrets go out, each to where it may; by name. */
  used({ program, host, port }: FlowSubject, credentials: readonly string[], { method, path }: Request): void {
    const used = { program: program?.path ?? null, host, port, method, path };
    this.#append({ type: "credential.used", sandbox: this.#sandbox, credentials, ...used });
  }

  /** A secret is in what a program sends, by name. */
  leaked({ program, host, port }: FlowSubject, leak: RequestLeak, request?: Request): void {
    const { what, form, where, action } = leak;
    const found = { what, form, where, action, program: program?.path ?? null, host, port };
    const asked = request && { method: request.method, path: request.path };
    this.#append({ type: "leak.found", sandbox: this.#sandbox, ...found, ...asked });
  }

  /** An issuer was asked for a token, by the launcher. */
  tokenAsked(credential: string, host: string, port: number, status: number): void {
    this.#append({ type: "credential.token", sandbox: this.#sandbox, credential, host, port, status });
  }

  /** A model was asked, and what that came to. */
  asked(program: Program | null, record: InferenceRecord): void {
    const { route, fault } = record;
    if (fault !== undefined)
      this.unreached.add(`the route ${route} (by ${program?.path ?? "an unknown program"})`, { detail: fault });
    this.#append({ type: "inference", sandbox: this.#sandbox, program: program?.path ?? null, ...record });
  }

  #verdict(flow: FlowSubject, verdict: Verdict, detail: FlowDetail): void {
    const { program, host, port } = flow;
    const { path, sha256 } = program ?? {};
    this.#append(this.#eventOf(flow, verdict, detail));
    if (verdict.reason === "credential") {
      const { credential, detail } = verdict;
      const refused = { credential: credential ?? null, program: path ?? null, host, port, detail };
      this.#append({ type: "credential.refused", sandbox: this.#sandbox, ...refused });
    }
    const expected = verdict.expectedSha256;
    // A violation of its own: whoever reads the records looks for it by its type.
    if (expected !== undefined) {
      const violation = { program: path ?? null, sha256: sha256 ?? null, expected };
      this.#append({ type: "program.changed", sandbox: this.#sandbox, ...violation });
    }
  }

  /** The same request again, judged as it was, is the same event: a client that polls costs one. */
  #eventOf({ program, host, port }: FlowSubject, verdict: Verdict, { request, credentials }: FlowDetail): AuditEvent {
    const { path = null, sha256 = null, origin } = program ?? {};
    const last = this.#last;
    if (
      request !== undefined &&
      last?.request === request &&
      last.verdict === verdict &&
      last.event.program === path &&
      last.event.sha256 === sha256 &&
      last.event.host === host &&
      last.event.port === port &&
      areSame(last.credentials, credentials)
    )
      return last.event;
    const event = {
      type: request === undefined ? "connection" : "request",
      sandbox: this.#sandbox,
      program: path,
      sha256,
      host,
      port,
      // Without its query, where secrets are put.
      ...(request === undefined ? origin : { method: request.method, path: request.path }),
      ...(credentials === undefined || credentials.length === 0 ? undefined : { credentials }),
      ...verdict,
    };
    if (request !== undefined) this.#last = { request, verdict, credentials, event };
    return event;
  }

  /** There may be thousands in a second. */
  #append(event: AuditEvent): void {
    this.#audit?.append(event, true);
  }
}

/** What rules are made of: a path that is permitted is so with every query. */
function withoutQuery({ method, path, alsoMethods }: Request): Omit<Request, "query"> {
  return { method, path, ...(alsoMethods === undefined ? {} : { alsoMethods }) };
}

function areSame(one: readonly string[] = [], other: readonly string[] = []): boolean {
  return one === other || (one.length === other.length && one.every((name, index) => name === other[index]));
}
