import type { ClientHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { writeHostPort } from "../policy/host-port.ts";
import type { Protocol } from "../policy/network.ts";
import type { SessionCredentials } from "../secrets/session.ts";
import { type Answer, failureAnswer, refusalAnswer } from "./answer.ts";
import type { Authority } from "./authority.ts";
import { endTls, skip } from "./client-tls.ts";
import { CredentialFlow } from "./credential-flow.ts";
import { type Grant, type NetworkDecision, unreachable } from "./decide.ts";
import type { Request, Verdict } from "./flow.ts";
import { Http1 } from "./http1.ts";
import { Http2, type InspectedHttp2Flow, sessionOn } from "./http2.ts";
import { type LastRead, Unreachable } from "./inspected-flow.ts";
import { LeakFlow } from "./leak-flow.ts";
import { LeakFault, type RequestGuard, type RequestLeak } from "./leaks.ts";
import { LentReads } from "./lent-reads.ts";
import type { Opening } from "./opening.ts";
import { Origin, Origins } from "./origin.ts";
import { tellHttp2 } from "./refused.ts";
import { secure, securedDial } from "./server-tls.ts";
import { type Swap, SwapFault, type SwapField } from "./swap.ts";
import type { Dial } from "./upstream.ts";

/** A session on which nothing is said takes no more requests; those that wait on it go on. */
const idleMs = 60_000;

/** An attempt that took this long is not made a second time for the same client. */
const longAskedMs = 2000;

/** A granted server is not dialled: for its address, or since the network was switched off. */
export class ReachRefusal extends Error {
  override readonly name = "ReachRefusal";
  readonly verdict: Verdict;

  constructor(verdict: Verdict) {
    super(verdict.detail);
    this.verdict = verdict;
  }
}

/** With how the request was judged. */
interface Last extends LastRead {
  readonly grant: Grant;
  judged?: {
    readonly decision: NetworkDecision;
    readonly grant: Grant;
    readonly request: Request;
    readonly verdict: Verdict;
  };
}

/** What inspected connections of one sandbox share. */
export class Inspector {
  readonly origins: Readonly<Record<"http" | "https", Origins>> = { http: new Origins(), https: new Origins() };
  readonly #sessions = new Map<Grant, ClientHttp2Session>();
  /** What a server chose where it had the choice. */
  readonly #protocols = new Map<string, "h2" | "http/1.1">();
  /** Under way: who comes meanwhile waits for the same. */
  readonly #opening = new Map<Grant, Promise<ClientHttp2Session>>();
  readonly #asking = new Map<Grant, Promise<"h2" | "http/1.1">>();
  /** By which a request has come. */
  readonly spoken: WeakSet<Grant> = new WeakSet();
  /** Of the server that was spoken to last by either. */
  readonly #last: Partial<Record<"http" | "https", Last>> = {};
  /** Streams of HTTP/2 that programs have under way. */
  readonly streams: Set<ServerHttp2Stream> = new Set();
  /** Null where no endpoint is inspected. */
  readonly authority: Authority | null;
  /** Null where the policy has none. */
  readonly credentials: SessionCredentials | null;
  readonly guard: RequestGuard;
  /** A connection to a granted server. Throws a ReachRefusal. */
  readonly reach: (grant: Grant, dial?: Dial) => Promise<Socket>;

  constructor(options: Pick<Inspector, "authority" | "credentials" | "guard" | "reach">) {
    this.authority = options.authority;
    this.credentials = options.credentials;
    this.guard = options.guard;
    this.reach = options.reach;
  }

  /** Drops what no connection uses. */
  clear(): void {
    this.origins.http.clear();
    this.origins.https.clear();
    for (const session of this.#sessions.values()) session.close();
    this.#sessions.clear();
  }

  /** Where what is read at a server is remembered, until another one is spoken to. */
  last(grant: Grant, scheme: "http" | "https"): Last {
    const last = this.#last[scheme];
    if (last?.grant === grant) return last;
    const made: Last = { grant };
    this.#last[scheme] = made;
    return made;
  }

  /** A new connection to a server for HTTP/1.1. */
  async open(grant: Grant, scheme: "http" | "https"): Promise<Origin> {
    if (scheme === "http") return new Origin(await this.reach(grant));
    const { socket, reads } = await this.#secureNew(grant, ["http/1.1"]);
    return new Origin(socket, reads);
  }

  /** The session with a server, which all of its clients share. */
  async session(grant: Grant): Promise<ClientHttp2Session> {
    const known = this.#sessions.get(grant);
    if (known !== undefined && !known.closed && !known.destroyed) return known;
    return once(this.#opening, grant, async () => {
      const socket = await this.#secure(await this.reach(grant), grant, ["h2"]);
      if (socket.alpnProtocol === "h2") return this.#keep(grant, socket);
      socket.destroy();
      this.#protocols.delete(keyOf(grant));
      throw new Error("the server does not speak HTTP/2");
    });
  }

  /** What the server speaks, asked where it is not known: what it would choose is what its client is offered. */
  async protocolOf(grant: Grant): Promise<"h2" | "http/1.1"> {
    const key = keyOf(grant);
    const known = this.#protocols.get(key);
    if (known !== undefined) return known;
    return once(this.#asking, grant, async () => {
      const { socket, reads } = await this.#secureNew(grant, ["h2", "http/1.1"]);
      const chosen = socket.alpnProtocol === "h2" ? "h2" : "http/1.1";
      this.#protocols.set(key, chosen);
      if (chosen === "h2") this.#keep(grant, socket);
      else this.origins.https.release(grant, new Origin(socket, reads));
      return chosen;
    });
  }

  #keep(grant: Grant, socket: TLSSocket): ClientHttp2Session {
    const session = sessionOn(socket, grant.host, grant.port);
    this.#sessions.set(grant, session);
    const drop = (): void => {
      if (this.#sessions.get(grant) === session) this.#sessions.delete(grant);
    };
    session.setTimeout(idleMs, () => session.close());
    session.once("goaway", drop);
    session.once("close", drop);
    return session;
  }

  async #secureNew(grant: Grant, protocols: readonly string[]): Promise<{ socket: TLSSocket; reads: LentReads }> {
    const reads = new LentReads();
    const socket = await this.reach(grant, securedDial(grant.host, protocols, reads.onread));
    return { socket: await this.#secure(socket, grant, protocols), reads };
  }

  async #secure(socket: Socket, grant: Grant, protocols: readonly string[]): Promise<TLSSocket> {
    try {
      return await secure(socket, grant.host, protocols);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }
}

function once<Result>(
  underWay: Map<Grant, Promise<Result>>,
  grant: Grant,
  make: () => Promise<Result>,
): Promise<Result> {
  const known = underWay.get(grant);
  if (known !== undefined) return known;
  const made = make().finally(() => underWay.delete(grant));
  underWay.set(grant, made);
  return made;
}

function keyOf({ host, port }: Grant): string {
  return writeHostPort(host, port);
}

/** One connection of a program, and what the running policy makes of it. */
export interface Inspected {
  readonly client: Socket;
  readonly current: () => { readonly decision: NetworkDecision; readonly grant: Grant };
  /** @param credentials that go into the request */
  readonly record: (verdict: Verdict, request?: Request, credentials?: readonly string[]) => void;
  readonly recordCredentials: (names: readonly string[], request: Request) => void;
  readonly recordLeak: (leak: RequestLeak, request: Request) => void;
  /** The client gave up, or was not understood, before a request. */
  readonly onFault: (detail: string, remedy?: string) => void;
}

/** What a new policy is said to. */
export interface Judged {
  judgeAgain(): void;
}

/**
 * Ends TLS, where the client speaks it, and carries the requests that follow.
 *
 * @param opening what the client said first; its name has been checked
 */
export async function inspect(
  inspector: Inspector,
  inspected: Inspected,
  opening: Exclude<Opening, { kind: "malformed" | "silent" }>,
): Promise<Judged | undefined> {
  const { client } = inspected;
  if (opening.read.length > 0) client.unshift(opening.read);
  if (opening.kind === "other") {
    if (opening.read.toString("latin1", 0, 4) === "PRI ") {
      const detail = "HTTP/2 without TLS is not inspected: speak it over TLS, or HTTP/1.1";
      inspected.onFault(detail);
      const { host, port } = inspected.current().grant;
      tellHttp2({ client, host, port, answer: failureAnswer(403, "unsupported_l7_protocol", detail) });
      return undefined;
    }
    return new Http1(client, new InspectedConnection(inspector, inspected, "http"));
  }
  const flow = new InspectedConnection(inspector, inspected, "https");
  const { grant } = inspected.current();
  // Requests are signed in HTTP/1.1 alone, which all of AWS's servers speak.
  const signs = grant.credentials.some((each) => each.signs);
  const ask = async (): Promise<"h2" | "http/1.1"> => (signs ? "http/1.1" : await flow.askProtocol());
  const protocols = await protocolsFor(opening.hello.protocols, ask);
  if (client.destroyed) return undefined;
  if (inspector.authority === null) throw new Error("this sandbox has no certificate authority");
  const secured = await endTls(inspector.authority, inspected, grant.host, protocols);
  if (secured === undefined) return undefined;
  secured.once("close", () => {
    if (!flow.hasSpoken && !inspector.spoken.has(inspected.current().grant))
      inspected.onFault(
        "the client left after the TLS handshake, without a request: it may pin another certificate",
        skip,
      );
  });
  return secured.alpnProtocol === "h2" ? new Http2(secured, flow) : new Http1(secured, flow);
}

/**
 * Carries a request in absolute form, which a client of the explicit proxy sends: one on each connection, since the next may
 * be for another server.
 */
export function forward(inspector: Inspector, inspected: Inspected): Judged {
  return new Http1(inspected.client, new InspectedConnection(inspector, inspected, "http"), { carriesOne: true });
}

/**
 * What a client may choose from (ALPN): what its server would choose.
 *
 * @param offered what it speaks; one that shares nothing with this end is answered as by a server that does not know ALPN
 * @param ask what the server speaks
 */
async function protocolsFor(
  offered: readonly string[],
  ask: () => Promise<"h2" | "http/1.1">,
): Promise<readonly string[]> {
  const own = offered.includes("http/1.1") ? ["http/1.1"] : [];
  if (!offered.includes("h2")) return own;
  // Who speaks nothing else (gRPC) is told in it what is wrong.
  if (own.length === 0) return ["h2"];
  try {
    return (await ask()) === "h2" ? ["h2", ...own] : own;
  } catch {
    return own; // The request is answered with why.
  }
}

class InspectedConnection implements InspectedHttp2Flow {
  readonly scheme: "http" | "https";
  readonly host: string;
  readonly port: number;
  readonly credentials: CredentialFlow | null;
  readonly leaks: LeakFlow;
  readonly #inspector: Inspector;
  readonly #inspected: Inspected;
  /** Whether a request has come on it. */
  hasSpoken = false;
  readonly last: Last;
  #judged: Last["judged"];
  /** What the server was not reached for before the first request, if that took long. */
  #failure: { readonly grant: Grant; readonly cause: unknown } | undefined;

  constructor(inspector: Inspector, inspected: Inspected, scheme: "http" | "https") {
    this.#inspector = inspector;
    this.#inspected = inspected;
    this.scheme = scheme;
    const { grant } = inspected.current();
    this.host = grant.host;
    this.port = grant.port;
    this.last = inspector.last(grant, scheme);
    this.#judged = this.last.judged;
    const { credentials } = inspector;
    this.credentials = credentials === null ? null : new CredentialFlow(credentials, inspected, scheme);
    this.leaks = new LeakFlow(
      inspector.guard,
      inspected.recordLeak,
      ({ message: detail }, rule, request) => {
        const { policy } = inspected.current().grant;
        inspected.record({ allowed: false, policy, rule, reason: "leak", detail }, request);
        return { policy };
      },
      (path) => this.credentials?.boundAt(path) ?? [],
    );
  }

  get streams(): Set<ServerHttp2Stream> {
    return this.#inspector.streams;
  }

  get encodedSlash(): boolean {
    return this.#inspected.current().grant.encodedSlash;
  }

  judge(request: Request, swap?: Swap<SwapField> | SwapFault | LeakFault): Answer | undefined {
    const { decision, grant } = this.#inspected.current();
    this.#speak(grant);
    const verdict = this.#verdictOf(decision, grant, request);
    if (verdict.allowed && swap instanceof LeakFault) return this.leaks.refuse(swap, request);
    if (verdict.allowed && swap instanceof SwapFault) return this.credentials?.refuse(swap, request);
    this.#inspected.record(verdict, request, swap instanceof Error ? undefined : swap?.names);
    return verdict.allowed ? undefined : refusalAnswer({ ...grant, request }, verdict);
  }

  /** A request that is the same object as the last is judged as that was, by the same policy. */
  #verdictOf(decision: NetworkDecision, grant: Grant, request: Request): Verdict {
    const last = this.#judged;
    if (last?.decision === decision && last.grant === grant && last.request === request) return last.verdict;
    const verdict = decision.request(grant, request);
    const judged = { decision, grant, request, verdict };
    this.#judged = judged;
    this.last.judged = judged;
    return verdict;
  }

  malformed(detail: string): void {
    const { grant } = this.#inspected.current();
    this.#speak(grant);
    this.#inspected.record({ allowed: false, policy: grant.policy, rule: null, reason: "malformed", detail });
  }

  #speak(grant: Grant): void {
    if (this.hasSpoken) return;
    this.hasSpoken = true;
    this.#inspector.spoken.add(grant);
  }

  protocolOf(path: string): Protocol {
    const { decision, grant } = this.#inspected.current();
    return decision.protocolOf(grant, path);
  }

  /** What the server speaks. */
  async askProtocol(): Promise<"h2" | "http/1.1"> {
    const { grant } = this.#inspected.current();
    const began = performance.now();
    try {
      return await this.#inspector.protocolOf(grant);
    } catch (cause) {
      if (performance.now() - began >= longAskedMs) this.#failure = { grant, cause };
      throw cause;
    }
  }

  take(): Origin | undefined {
    return this.#inspector.origins[this.scheme].take(this.#inspected.current().grant);
  }

  release(origin: Origin): void {
    this.#inspector.origins[this.scheme].release(this.#inspected.current().grant, origin);
  }

  open(): Promise<Origin> {
    return this.#reach((grant) => this.#inspector.open(grant, this.scheme));
  }

  session(): Promise<ClientHttp2Session> {
    return this.#reach((grant) => this.#inspector.session(grant));
  }

  async #reach<Result>(make: (grant: Grant) => Promise<Result>): Promise<Result> {
    const { grant } = this.#inspected.current();
    const failure = this.#failure;
    this.#failure = undefined;
    try {
      if (failure?.grant === grant) throw failure.cause;
      return await make(grant);
    } catch (cause) {
      if (cause instanceof ReachRefusal) {
        this.#inspected.record(cause.verdict);
        throw new Unreachable(refusalAnswer(grant, cause.verdict), { cause });
      }
      const verdict = unreachable(grant, cause);
      this.#inspected.record(verdict);
      const detail = `${keyOf(grant)} cannot be reached: ${verdict.detail}`;
      throw new Unreachable(failureAnswer(502, "upstream_unreachable", detail), { cause });
    }
  }
}
