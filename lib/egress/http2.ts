import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { AbandonedRequests } from "./abandoned.ts";
import { type Answer, failureAnswer } from "./answer.ts";
import { TargetError } from "./canonical.ts";
import { codingOf } from "./coded-body.ts";
import type { Request } from "./flow.ts";
import { HttpError, mostFields, mostInterim } from "./http-head.ts";
import {
  fieldsOf,
  headersFor,
  type Outgoing,
  outgoingHeaders,
  scrubbed,
  scrubbing,
  swapping,
} from "./http2-credentials.ts";
import { CheckedBody, headBytes } from "./http2-leaks.ts";
import { signedOutgoing } from "./http2-signed.ts";
import { type InspectedFlow, isAuthority, mayRepeat, requestOf, Unreachable } from "./inspected-flow.ts";
import { LeakFault } from "./leaks.ts";
import { compressed, isCompressed, type Scrubber } from "./scrub.ts";
import { tlsFault } from "./server-tls.ts";
import type { RequestSigner } from "./signed-request.ts";
import { SwapFault } from "./swap.ts";
import { type TimeLimits, timeLimits } from "./time-limits.ts";

/** What HTTP/2 asks of the rest besides. */
export interface InspectedHttp2Flow extends InspectedFlow {
  /** The session with the server, made where there is none. Throws an Unreachable. */
  session(): Promise<ClientHttp2Session>;
  /** The streams that the sandbox has under way, of all its connections. */
  readonly streams: Set<ServerHttp2Stream>;
}

/** What Node takes of a head, its pseudo-header fields too; by itself it takes 128. Of a request it is told when there are more. */
const pairs = { ofRequest: 2 * mostFields, ofAnswer: mostFields + 1 };
const settings = { maxConcurrentStreams: 128, maxHeaderListSize: 64 * 1024, enablePush: false };
/**
 * What a server may send of a stream before it hears that it was read (RFC 9113 section 5.2): its answer is as fast as that,
 * each time its way takes. What its client does not read is held here; so where there are many streams it is the least.
 */
const wideWindow = 1 << 20;
const narrowWindow = 65_535;
const sessionWindow = 16 << 20;
const mostWide = 16;
/** Of one sandbox, at once. */
const mostStreams = 1024;
/** RFC 9113 section 8.2.2: a message with one of these is malformed. */
const forbidden = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/** A session with a server on a connection whose TLS chose h2. */
export function sessionOn(socket: TLSSocket, host: string, port: number): ClientHttp2Session {
  const name = host.includes(":") ? `[${host}]` : host;
  const session = connect(`https://${name}:${port}`, {
    createConnection: () => socket,
    settings: { ...settings, initialWindowSize: wideWindow },
    maxHeaderListPairs: pairs.ofAnswer,
  });
  session.once("connect", () => session.setLocalWindowSize(sessionWindow));
  session.on("error", () => {});
  session.unref();
  return session;
}

const streamsOf = new WeakMap<ClientHttp2Session, number>();

function countStream(session: ClientHttp2Session, more: 1 | -1): void {
  const count = (streamsOf.get(session) ?? 0) + more;
  streamsOf.set(session, count);
  const wanted = count > mostWide ? narrowWindow : count < mostWide / 2 ? wideWindow : undefined;
  if (wanted === undefined || session.closed || session.destroyed || session.pendingSettingsAck) return;
  if (session.localSettings.initialWindowSize !== wanted) session.settings({ initialWindowSize: wanted });
}

/** Carries HTTP/2 from a client to a server that speaks it: streams side by side, each judged before it goes on. */
export class Http2 {
  readonly #flow: InspectedHttp2Flow;
  readonly #session: ServerHttp2Session;
  readonly #streams = new Map<ServerHttp2Stream, Request>();
  readonly #abandoned = new AbandonedRequests();
  readonly #clientMs: number;
  readonly #serverMs: number;

  constructor(client: Socket, flow: InspectedHttp2Flow, limits: TimeLimits = timeLimits) {
    this.#flow = flow;
    this.#clientMs = limits.clientMs;
    this.#serverMs = limits.serverMs;
    this.#session = performServerHandshake(client, { settings, maxHeaderListPairs: pairs.ofRequest });
    this.#session.on("error", () => {});
    this.#session.setTimeout(limits.clientMs, () => this.#onQuiet(limits.clientMs));
    this.#session.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      stream.on("error", () => {});
      this.#take(stream, headers);
    });
    client.on("close", () => {
      this.#abandoned.close();
      this.#session.destroy();
    });
    // A session waits for it; Node says it of a client's socket and of one that a tls.Server accepted.
    client.emit("secureConnect");
  }

  /** Judges what is under way once more: a new policy ends what it does not allow. */
  judgeAgain(): void {
    for (const [stream, request] of this.#streams)
      if (this.#flow.judge(request) !== undefined) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }

  /** Streams have limits of their own. */
  #onQuiet(clientMs: number): void {
    if (this.#streams.size === 0) this.#session.close(() => this.#session.destroy());
    else this.#session.setTimeout(clientMs);
  }

  #take(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const flow = this.#flow;
    let request: ReturnType<typeof requestOf>;
    try {
      request = requestIn(headers, flow);
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      flow.malformed(detail);
      const status = error instanceof HttpError ? error.status : error instanceof AuthorityError ? 403 : 400;
      const word = error instanceof AuthorityError ? "request_authority_mismatch" : "malformed_request";
      say(stream, headers, failureAnswer(status, word, detail));
      return;
    }
    const { credentials } = flow;
    const asked = { ...request, fields: credentials === null ? [] : fieldsOf(headers) };
    let signer: RequestSigner | undefined;
    try {
      signer = credentials?.signer(asked, !stream.endAfterHeaders);
    } catch (error) {
      this.#refuseLate(stream, headers, request, error);
      return;
    }
    const fields = signer?.without(asked.fields) ?? asked.fields;
    const { path, query } = signer ?? request;
    const unsigned = { path, fields, ...(query === undefined ? {} : { query }) };
    const found = credentials?.swap(unsigned, (name, value) => ({ name, value }));
    const leaks = flow.leaks.head(headBytes(headers));
    const refusal = flow.judge(request, leaks instanceof LeakFault ? leaks : found);
    if (refusal !== undefined) {
      say(stream, headers, refusal);
      return;
    }
    if (!(leaks instanceof LeakFault)) flow.leaks.record(leaks, request);
    const source: Source = {
      ...{ stream, headers, request },
      body: stream.endAfterHeaders ? null : this.#checked(stream, headers, request),
    };
    if (credentials === null || found instanceof SwapFault) {
      this.#begin(source, { headers: () => headersFor(headers, request.sent), body: undefined });
      return;
    }
    const swap = found;
    const stop = (upstream: ClientHttp2Stream) => (fault: Error) => {
      upstream.close(constants.NGHTTP2_CANCEL);
      this.#refuseLate(stream, headers, request, fault);
    };
    if (signer !== undefined) {
      credentials.record([signer.name], request);
      const idleMs = this.#clientMs;
      const { ready, ...signed } = signedOutgoing(
        signer,
        { headers, fields, swap },
        { body: source.body, idleMs, stop },
      );
      this.#begin(source, signed, ready);
      return;
    }
    const bodySwap = credentials.bodySwap(asked);
    const outgoing: Outgoing = {
      headers: () => outgoingHeaders(headers, request.sent, swap, bodySwap !== undefined),
      body:
        bodySwap &&
        ((upstream) =>
          swapping(bodySwap, { onDone: (names) => credentials.record(names, request), onFault: stop(upstream) })),
    };
    const ready =
      swap?.isReady !== false && bodySwap?.isReady !== false
        ? undefined
        : Promise.all([swap?.prepare(), bodySwap?.prepare()]);
    this.#begin(source, outgoing, ready);
  }

  /** @param ready what is waited for */
  #begin(source: Source, outgoing: Outgoing, ready?: Promise<unknown>): void {
    const { stream, headers, request } = source;
    const { streams } = this.#flow;
    if (streams.size >= mostStreams) forgetGone(streams);
    if (streams.size >= mostStreams) {
      const detail = `this sandbox has as many requests of HTTP/2 under way as it may have at once (${mostStreams})`;
      say(stream, headers, failureAnswer(503, "too_many_requests", detail));
      return;
    }
    streams.add(stream);
    this.#streams.set(stream, request);
    stream.once("close", () => {
      streams.delete(stream);
      this.#streams.delete(stream);
    });
    const go = (): void => this.#abandoned.next(() => this.#carry(source, outgoing, true));
    if (ready === undefined) go();
    else ready.then(go, (fault: unknown) => this.#refuseLate(stream, headers, request, fault));
  }

  /** A request's body and trailers as they are searched for secrets, before anybody else reads them. */
  #checked(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, request: Request): CheckedBody {
    const leaks = this.#flow.leaks.body(
      request,
      codingOf((name) => [headers[name] ?? []].flat()),
    );
    return new CheckedBody(stream, leaks, (fault) => this.#refuseLate(stream, headers, request, fault));
  }

  /** What does not go on for what it holds or says, or since a secret cannot be had. */
  #refuseLate(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, request: Request, fault: unknown): void {
    if (fault instanceof LeakFault) say(stream, headers, this.#flow.leaks.refuse(fault, request));
    else if (fault instanceof SwapFault)
      say(stream, headers, this.#flow.credentials?.refuse(fault, request) ?? unreachable(fault));
    else if (fault instanceof HttpError) {
      this.#flow.malformed(fault.message);
      say(stream, headers, failureAnswer(fault.status, "malformed_request", fault.message));
    } else say(stream, headers, unreachable(fault));
  }

  /** @param isFirst whether it may be sent once more, where the server has not looked at it */
  #carry(source: Source, outgoing: Outgoing, isFirst: boolean): void {
    const again = isFirst ? (): void => this.#carry(source, outgoing, false) : undefined;
    const scrub = this.#flow.credentials?.scrubber();
    this.#flow.session().then(
      (session) => {
        const onAbandoned = (): void => this.#abandoned.add();
        carry(source, outgoing, session, { serverMs: this.#serverMs, again, scrub, onAbandoned });
      },
      (error: unknown) =>
        say(source.stream, source.headers, error instanceof Unreachable ? error.answer : unreachable(error)),
    );
  }
}

/** A stream whose connection is gone is not always said to be closed (seen on a busy host); its place is another's. */
function forgetGone(streams: Set<ServerHttp2Stream>): void {
  for (const stream of streams) {
    const { session } = stream;
    if (stream.destroyed || session === undefined || session.destroyed || session.socket.destroyed)
      streams.delete(stream);
  }
}

/** A request as it came. */
interface Source {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly request: Request;
  /** Null where it has none. */
  readonly body: CheckedBody | null;
}

class AuthorityError extends Error {}

/** Pseudo-header fields and what else has to be so (RFC 9113 section 8.3.1); their order and number nghttp2 has checked. */
function requestIn(headers: IncomingHttpHeaders, flow: InspectedFlow): ReturnType<typeof requestOf> {
  const { ":method": method, ":path": path, ":scheme": scheme, ":authority": authority, host } = headers;
  if (method === undefined || path === undefined || method === "CONNECT")
    throw new TargetError("CONNECT means nothing within a connection");
  if (scheme !== flow.scheme) throw new TargetError(`the scheme is ${scheme}`);
  const given = authority ?? host;
  if (given === undefined || (host !== undefined && host !== given))
    throw new TargetError("there are two authorities, or none");
  if (!isAuthority(given, flow))
    throw new AuthorityError(`the request is for ${given}, not for the server that was connected to`);
  for (const name of forbidden)
    if (headers[name] !== undefined) throw new TargetError(`${name} has no place in HTTP/2`);
  if (headers["te"] !== undefined && headers["te"] !== "trailers") throw new TargetError("te says more than trailers");
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(method)) throw new TargetError("the method is malformed");
  const fields = fieldsOf(headers);
  if (fields.length > mostFields) throw new HttpError(431, `there are more than ${mostFields} fields`);
  return requestOf(method, path, flow, fields);
}

function carry(
  { stream, headers, body }: Source,
  outgoing: Outgoing,
  session: ClientHttp2Session,
  {
    serverMs,
    again,
    scrub,
    onAbandoned,
  }: {
    readonly serverMs: number;
    readonly again: (() => void) | undefined;
    readonly scrub: Scrubber | undefined;
    /** The client took it back before there was an answer. */
    readonly onAbandoned: () => void;
  },
): void {
  if (stream.destroyed || stream.closed) return;
  const hasBody = body !== null;
  let upstream: ClientHttp2Stream;
  try {
    upstream = session.request(outgoing.headers(), { endStream: !hasBody, waitForTrailers: hasBody });
  } catch (error) {
    // The session has ended meanwhile.
    if (again !== undefined) again();
    else say(stream, headers, unreachable(error));
    return;
  }
  countStream(session, 1);
  upstream.once("close", () => countStream(session, -1));
  if (hasBody) {
    upstream.on("wantTrailers", () => upstream.sendTrailers(body.trailers));
    body.once("close", () => {
      if (!body.readableEnded) upstream.close(constants.NGHTTP2_CANCEL);
    });
    const whole = outgoing.whole?.();
    if (whole !== undefined) upstream.end(whole);
    else if (outgoing.body === undefined) body.pipe(upstream);
    else body.pipe(outgoing.body(upstream)).pipe(upstream);
  }
  let isSilent = false;
  // Whichever of the two is silent: the other one waits for it.
  upstream.setTimeout(serverMs, () => {
    isSilent = true;
    if (!stream.headersSent) say(stream, headers, failureAnswer(504, "timeout", "the server does not answer"));
    upstream.close(constants.NGHTTP2_CANCEL);
  });
  let interim = 0;
  upstream.on("headers", (fields: IncomingHttpHeaders) => {
    if (++interim > mostInterim) {
      upstream.destroy(new Error("the server says again and again that it will answer"));
      return;
    }
    if (!stream.destroyed && !stream.headersSent) stream.additionalHeaders(scrubbed(fields, scrub));
  });
  upstream.on("response", (fields: IncomingHttpHeaders, flags: number) => {
    if (stream.destroyed || stream.headersSent) return;
    const endStream = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    let trailers: OutgoingHttpHeaders = {};
    upstream.on("trailers", (given: IncomingHttpHeaders) => {
      trailers = scrubbed(given, scrub);
    });
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    if (scrub !== undefined && !endStream && isCompressed({ fields: fieldsOf(fields) })) {
      say(stream, headers, failureAnswer(502, "upstream_malformed", compressed));
      upstream.close(constants.NGHTTP2_CANCEL);
      return;
    }
    stream.respond(scrubbed(fields, scrub), { endStream, waitForTrailers: !endStream });
    if (endStream) return;
    if (scrub === undefined) upstream.pipe(stream);
    else upstream.pipe(scrubbing(scrub)).pipe(stream);
  });
  let failure: Error | undefined;
  upstream.on("error", (error: Error) => {
    failure = error;
  });
  upstream.on("close", () => {
    if (stream.destroyed) return;
    // What is still to come of the request nobody reads: unread it would hold the stream's place, of which there are few.
    if (hasBody) stream.unpipe(body);
    stream.resume();
    const code = upstream.rstCode;
    if (!stream.headersSent) {
      const isRefused = code === constants.NGHTTP2_REFUSED_STREAM;
      // Refused is what the server has not looked at (RFC 9113 section 8.7): what comes after its GOAWAY is, too.
      const mayAsk = isRefused || (session.destroyed && mayRepeat.has(headers[":method"] ?? ""));
      if (mayAsk && !hasBody && again !== undefined) again();
      else if (isRefused) stream.close(code);
      else say(stream, headers, unreachable(failure ?? new Error("the server ended the stream before it answered")));
    } else if (isSilent || session.destroyed) {
      // Node's own client takes what was cancelled for an answer that has ended.
      stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    } else if (code !== constants.NGHTTP2_NO_ERROR) stream.close(code);
  });
  stream.on("close", () => {
    if (upstream.destroyed || upstream.closed) return;
    if (!stream.headersSent) onAbandoned();
    upstream.close(stream.rstCode || constants.NGHTTP2_CANCEL);
  });
}

function unreachable(error: unknown): Answer {
  return failureAnswer(502, "upstream_unreachable", error instanceof Error ? tlsFault(error) : String(error));
}

/**
 * What a client is told instead of the server's answer; one of gRPC by gRPC's own fields, which is all that it shows. Some of
 * its clients do not read them beside another status of HTTP's than 200 (its PROTOCOL-HTTP2.md, "Trailers-Only").
 */
function say(stream: ServerHttp2Stream, asked: IncomingHttpHeaders, { status, detail, body }: Answer): void {
  if (stream.destroyed || stream.headersSent) return;
  const type = asked["content-type"];
  if (type?.startsWith("application/grpc") === true) {
    const message = detail.replace(/[^\x20-\x7e]|%/gu, encodeURIComponent);
    const own = { "content-type": type, "grpc-status": grpcStatus(status), "grpc-message": message };
    stream.respond({ ":status": 200, ...own }, { endStream: true });
  } else {
    const own = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    stream.respond({ ":status": status, ...own });
    stream.end(body);
  }
  // What is still to come of a refused request is not waited for.
  stream.resume();
}

/** As gRPC reads a status of HTTP where none of its own is given (doc/http-grpc-status-mapping.md). */
function grpcStatus(status: number): number {
  if (status === 403) return 7; // PERMISSION_DENIED
  return status === 400 ? 13 : 14; // INTERNAL, UNAVAILABLE
}
