import type { Socket } from "node:net";
import { type Answer, failureAnswer, message } from "./answer.ts";
import type { ChangedBody } from "./body-swap.ts";
import { busyPoll } from "./busy-poll.ts";
import { TargetError } from "./canonical.ts";
import { BodyReader } from "./http-body.ts";
import {
  HttpError,
  mostInterim,
  parseRequest,
  parseResponse,
  type RequestHead,
  type ResponseHead,
  requestHeadEnd,
  responseHeadEnd,
} from "./http-head.ts";
import { credentialsFor, type ExchangeCredentials, openCredentials, partOf } from "./http1-credentials.ts";
import { answerBytes, isRaw, requestBytes } from "./http1-forward.ts";
import { BodyLeaks } from "./http1-leaks.ts";
import {
  type InspectedFlow,
  isAuthority,
  mayRepeat,
  type ReadRequest,
  requestOf,
  Unreachable,
  webSocketText,
} from "./inspected-flow.ts";
import { LeakFault } from "./leaks.ts";
import type { Origin, OriginUser } from "./origin.ts";
import { compressed, isCompressed, type Scrubber } from "./scrub.ts";
import { tlsFault } from "./server-tls.ts";
import { SwapFault } from "./swap.ts";
import { type TimeLimits, timeLimits } from "./time-limits.ts";
import { ClientFrames, closeFrame, WebSocketError, withoutExtensions } from "./websocket.ts";
import { MessageLeaks } from "./websocket-leaks.ts";
import type { TextSwap } from "./websocket-swap.ts";
import { writeSecret } from "./write-secret.ts";

/** What a client sent ahead of its turn is held up to here, and then left in the kernel. */
const mostAhead = 64 * 1024;
/** What may wait to be written. Node says that it is enough when there is as much as one read brings. */
const mostUnwritten = 128 * 1024;
const nothing: Buffer = Buffer.alloc(0);

/** A request on its way, with its answer. */
interface Exchange {
  readonly head: RequestHead;
  /** Canonical: what is judged and sent. */
  readonly request: ReturnType<typeof requestOf>;
  /** What goes into it and is taken out of its answer; null as a rule. */
  readonly credentials: ExchangeCredentials | null;
  /** Of the request. */
  readonly body: BodyReader;
  /** What its body is searched by before anything else; null where it has none. */
  readonly leaks: BodyLeaks | null;
  answer: { readonly head: ResponseHead; readonly body: BodyReader } | null;
  /** What has come of the answer's head. */
  held: Buffer;
  looked: number;
  interim: number;
  origin: Origin | null;
  /** What was sent, where it may be sent a second time: its server had closed the idle connection. */
  again: Buffer | null;
}

/**
 * Carries HTTP/1.1 from a client to the server of its endpoint: one request after the other, each judged before a byte
 * of it goes on, bodies as they come (RFC 9112).
 */
export class Http1 implements OriginUser {
  readonly #client: Socket;
  readonly #flow: InspectedFlow;
  readonly #carriesOne: boolean;
  #held: Buffer = nothing;
  /** The last request, and the last answer's head: many clients ask for the same again and again. */
  #before: ReadRequest | undefined;
  #answered: ResponseHead | undefined;
  #looked = 0;
  /** Of a head that has begun, whosever it is: a client is not heard while a server's answer comes. */
  #headTimer: NodeJS.Timeout | undefined;
  readonly #limits: TimeLimits;
  /** How long it has been quiet, at the last look. */
  #quietMs = 0;
  #exchange: Exchange | null = null;
  /** Kept for the client's next request. */
  #origin: Origin | null = null;
  #upgraded: {
    readonly origin: Origin;
    /** What it began with. */
    readonly request: Exchange["request"];
    readonly frames: ClientFrames | null;
    readonly leaks: MessageLeaks;
    readonly texts: TextSwap | undefined;
    readonly scrub: Scrubber | undefined;
  } | null = null;
  #isEnding = false;
  #hasClientEnded = false;

  /** @param options carriesOne ends the connection after its first answer */
  constructor(
    client: Socket,
    flow: InspectedFlow,
    {
      carriesOne = false,
      limits = timeLimits,
    }: { readonly carriesOne?: boolean; readonly limits?: TimeLimits | undefined } = {},
  ) {
    this.#client = client;
    this.#flow = flow;
    this.#before = flow.last.request;
    this.#answered = flow.last.answer;
    this.#carriesOne = carriesOne;
    this.#limits = limits;
    client.setNoDelay(true);
    client.on("timeout", () => this.#onQuiet());
    client.setTimeout(limits.clientMs);
    client.on("data", (chunk: Buffer) => this.#guard(() => this.#onClientData(chunk)));
    client.on("drain", () => this.#onClientDrain());
    client.on("end", () => this.#onClientEnd());
    client.on("close", () => this.#onClientClose());
    client.resume();
  }

  /** Judges what is under way once more: a new policy ends what it does not allow. */
  judgeAgain(): void {
    const request = this.#exchange?.request ?? this.#upgraded?.request;
    if (request !== undefined && this.#flow.judge(request) !== undefined) this.#client.resetAndDestroy();
  }

  get #hasBegunAnswer(): boolean {
    return this.#upgraded !== null || (this.#exchange !== null && this.#exchange.answer !== null);
  }

  get #activeOrigin(): Origin | null {
    return this.#upgraded?.origin ?? this.#exchange?.origin ?? null;
  }

  /** What is malformed is answered, and ends the connection. */
  #guard(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (error instanceof WebSocketError) {
        this.#closeWebSocket(error);
        return;
      }
      const exchange = this.#exchange;
      if (error instanceof SwapFault && this.#upgraded !== null) {
        this.#flow.credentials?.refuse(error, this.#upgraded.request);
        this.#closeWebSocket(new WebSocketError(1008, error.message));
        return;
      }
      if (error instanceof LeakFault && this.#upgraded !== null) {
        this.#flow.leaks.refuse(error, this.#upgraded.request);
        this.#closeWebSocket(new WebSocketError(1008, error.message));
        return;
      }
      if (error instanceof SwapFault && exchange !== null) {
        this.#stopSwap(exchange, error);
        return;
      }
      if (error instanceof LeakFault && exchange !== null) {
        this.#stop(this.#flow.leaks.refuse(error, exchange.request));
        return;
      }
      const isKnown = error instanceof HttpError || error instanceof TargetError;
      const status = error instanceof HttpError ? error.status : isKnown ? 400 : 502;
      const detail = error instanceof Error ? error.message : String(error);
      if (status < 500) this.#flow.malformed(detail);
      this.#stop(failureAnswer(status, status < 500 ? "malformed_request" : "upstream_malformed", detail));
    }
  }

  #onClientData(chunk: Buffer): void {
    this.#quietMs = 0;
    if (this.#isEnding) return;
    if (this.#upgraded !== null) {
      this.#passUpgraded(chunk);
      return;
    }
    const exchange = this.#exchange;
    if (exchange?.origin != null && exchange.leaks !== null && !exchange.body.isDone) {
      const { size, out } = exchange.leaks.take(chunk, 0);
      this.#passBody(exchange, exchange.origin, out);
      if (size < chunk.length) this.#hold(chunk.subarray(size));
      return;
    }
    this.#hold(chunk);
    if (exchange === null) this.#next();
  }

  #hold(chunk: Buffer): void {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    if (this.#held.length > mostAhead && this.#exchange !== null) this.#client.pause();
  }

  #onClientDrain(): void {
    this.#quietMs = 0;
    const socket = this.#activeOrigin?.socket;
    if (socket !== undefined) {
      if (socket.isPaused()) socket.resume();
      return;
    }
    if (this.#exchange !== null) return;
    this.#client.resume();
    this.#guard(() => this.#next());
  }

  /** @param chunk nothing but the body's */
  #passBody(exchange: Exchange, origin: Origin, chunk: Buffer): void {
    const swapped = exchange.credentials?.swapped;
    if (swapped !== undefined) {
      this.#passSwapped(exchange, swapped, origin, chunk, 0);
      return;
    }
    exchange.body.take(chunk, 0);
    if (chunk.length > 0 && !writesOn(origin.socket, chunk)) this.#client.pause();
  }

  #passSwapped({ request }: Exchange, swapped: ChangedBody, { socket }: Origin, data: Buffer, at: number): number {
    const { size, out } = swapped.take(data, at);
    if (swapped.used.length > 0) this.#flow.credentials?.record(swapped.used, request);
    if (!writeSecret(socket, out)) this.#client.pause();
    return size;
  }

  /** Takes up the requests that have come. */
  #next(): void {
    while (this.#exchange === null && !this.#isEnding && this.#held.length > 0) {
      // Whoever asks and asks and does not read what it is told is not listened to any longer.
      if (this.#client.writableNeedDrain) {
        this.#client.pause();
        break;
      }
      const size = requestHeadEnd(this.#held, this.#looked);
      if (size < 0) {
        this.#looked = this.#held.length;
        this.#expectHead(408, "the request's head does not end");
        break;
      }
      this.#hasHead();
      this.#looked = 0;
      this.#begin(size);
    }
    const isTold = this.#exchange === null && !this.#client.writableNeedDrain;
    if (this.#hasClientEnded && isTold && !this.#isEnding) this.#end();
  }

  #expectHead(status: number, detail: string): void {
    this.#headTimer ??= setTimeout(
      () => this.#stop(failureAnswer(status, "timeout", detail)),
      this.#limits.headMs,
    ).unref();
  }

  #hasHead(): void {
    clearTimeout(this.#headTimer);
    this.#headTimer = undefined;
  }

  #begin(size: number): void {
    const flow = this.#flow;
    const before = this.#before;
    const parsed = parseRequest(this.#held, size, before?.head);
    const kept = this.#carriesOne ? { ...parsed, keepAlive: false } : parsed;
    // Messages that were compressed could not be searched: a server is not told that its client can do that.
    const isPlain = kept.upgrade === "websocket" && !flow.leaks.isLenient;
    const head = isPlain ? { ...kept, fields: withoutExtensions(kept.fields) } : kept;
    if (!isAuthority(head.host, flow)) {
      flow.malformed(`the request is for ${head.host} at ${flow.host}:${flow.port}`);
      const detail = `the request is for ${head.host}, not for the server that was connected to`;
      this.#stop(failureAnswer(403, "request_authority_mismatch", detail));
      return;
    }
    const { encodedSlash } = flow;
    const read =
      before?.head === parsed && before.encodedSlash === encodedSlash
        ? before
        : { head: parsed, request: requestOf(head.method, head.target, flow, head.fields), encodedSlash };
    this.#before = read;
    flow.last.request = read;
    const { request } = read;
    const body = new BodyReader(head.framing, 400);
    const opened = flow.credentials && openCredentials(flow.credentials, head, request);
    const found = flow.leaks.head(this.#held.subarray(0, size));
    const refusal = flow.judge(request, found instanceof LeakFault ? found : opened?.swap);
    if (refusal !== undefined) {
      this.#refuse(head, refusal);
      return;
    }
    if (!(found instanceof LeakFault)) flow.leaks.record(found, request);
    if (opened?.signer !== undefined) flow.credentials?.record([opened.signer.name], request);
    const credentials = opened && flow.credentials && credentialsFor(flow.credentials, opened, head, request, body);
    const exchange: Exchange = {
      head,
      request,
      credentials,
      body,
      leaks: body.isDone ? null : new BodyLeaks(flow.leaks, head, request),
      answer: null,
      held: nothing,
      looked: 0,
      interim: 0,
      origin: null,
      again: null,
    };
    this.#exchange = exchange;
    if (credentials?.prepare === undefined) this.#dispatch(exchange);
    else this.#prepare(exchange, credentials.prepare());
  }

  /** Waits for secrets. */
  #prepare(exchange: Exchange, ready: Promise<unknown>): void {
    this.#client.pause();
    ready.then(
      () => {
        if (this.#exchange !== exchange || this.#isEnding) return;
        this.#client.resume();
        this.#guard(() => this.#dispatch(exchange));
      },
      (error: unknown) => {
        if (this.#exchange !== exchange || this.#isEnding) return;
        this.#guard(() => {
          throw error;
        });
      },
    );
  }

  #stopSwap({ request }: Exchange, fault: SwapFault): void {
    this.#stop(this.#flow.credentials?.refuse(fault, request) ?? failureAnswer(500, fault.error, fault.message));
  }

  #dispatch(exchange: Exchange): void {
    const flow = this.#flow;
    const kept = this.#origin?.isFresh === true ? this.#origin : null;
    if (kept === null) this.#origin?.socket.destroy();
    this.#origin = null;
    const origin = kept ?? flow.take();
    if (origin === undefined) this.#open(exchange);
    else this.#send(exchange, origin);
  }

  #open(exchange: Exchange): void {
    this.#client.pause();
    this.#flow.open().then(
      (origin) => {
        if (this.#exchange !== exchange || this.#isEnding) {
          this.#flow.release(origin);
          return;
        }
        this.#guard(() => {
          if (exchange.again === null) this.#send(exchange, origin);
          else this.#sendAgain(exchange, origin, exchange.again);
        });
        this.#client.resume();
      },
      (error: unknown) => {
        if (this.#exchange !== exchange) return;
        const detail = error instanceof Error ? error.message : String(error);
        this.#stop(error instanceof Unreachable ? error.answer : failureAnswer(502, "upstream_unreachable", detail));
      },
    );
  }

  #send(exchange: Exchange, origin: Origin): void {
    const { head, request, body } = exchange;
    exchange.origin = origin;
    origin.user = this;
    if (isBoundByConnection(head)) origin.isBound = true;
    if (exchange.leaks !== null) {
      const { size, out } = exchange.leaks.take(this.#held, head.size);
      // What waits is the last that came.
      if (out.length < size) this.#held = this.#held.subarray(0, head.size + out.length);
    }
    const swapped = exchange.credentials?.swapped;
    if (swapped !== undefined) {
      if (swapped.waits && head.expectsContinue) this.#client.write("HTTP/1.1 100 Continue\r\n\r\n");
      const size = this.#passSwapped(exchange, swapped, origin, this.#held, head.size);
      this.#held = this.#held.subarray(head.size + size);
      return;
    }
    const end = head.size + body.take(this.#held, head.size);
    const bytes =
      exchange.credentials?.head !== undefined
        ? this.#held.subarray(head.size, end)
        : isRaw(head) && request.sent === head.target
          ? this.#held.subarray(0, end)
          : Buffer.concat([requestBytes(head, request.sent), this.#held.subarray(head.size, end)]);
    this.#held = end === this.#held.length ? nothing : this.#held.subarray(end);
    if (origin.isUsed && head.framing.kind === "none" && mayRepeat.has(head.method)) exchange.again = bytes;
    if (!this.#writeRequest(exchange, origin, bytes)) this.#client.pause();
    busyPoll.passed(this);
  }

  /** A head with secrets is made when it is sent, and wiped when it is. */
  #writeRequest(exchange: Exchange, { socket }: Origin, bytes: Buffer): boolean {
    const make = exchange.credentials?.head;
    if (make === undefined) return socket.write(bytes);
    const isTaken = writeSecret(socket, [make()]);
    return bytes.length === 0 ? isTaken : socket.write(bytes);
  }

  #sendAgain(exchange: Exchange, origin: Origin, bytes: Buffer): void {
    exchange.origin = origin;
    exchange.again = null;
    origin.user = this;
    this.#writeRequest(exchange, origin, bytes);
  }

  onData(chunk: Buffer): void {
    this.#guard(() => {
      if (this.#upgraded !== null) this.#write(this.#upgraded.origin, this.#upgraded.scrub?.take(chunk) ?? chunk);
      else if (this.#exchange !== null) this.#onAnswer(this.#exchange, chunk);
    });
  }

  /** The middle of an answer goes on from where it was read. */
  onLent(read: Buffer, giveBack: () => void): boolean {
    const exchange = this.#exchange;
    if (exchange?.answer == null || exchange.origin === null) return false;
    const { answer, origin } = exchange;
    this.#guard(() => {
      this.#quietMs = 0;
      this.#goOn(exchange, origin, answer, read, giveBack);
    });
    return true;
  }

  onDrain(): void {
    this.#client.resume();
  }

  onEnd(error?: Error): void {
    if (this.#upgraded !== null) {
      if (this.#upgraded.scrub !== undefined) this.#client.write(this.#upgraded.scrub.end());
      if (error === undefined) this.#end();
      else this.#client.resetAndDestroy();
      return;
    }
    const exchange = this.#exchange;
    if (exchange === null || this.#isEnding) return;
    if (exchange.answer?.body.endsWithConnection === true && error === undefined) {
      if (exchange.credentials?.scrub !== undefined) this.#client.write(exchange.credentials.scrub.end());
      this.#end();
      return;
    }
    // In the middle of an answer only a reset tells the client that it is not whole.
    if (exchange.answer !== null) {
      this.#cut();
      return;
    }
    if (exchange.again !== null && exchange.held.length === 0) {
      this.#open(exchange);
      return;
    }
    this.#stop(endOf(error));
  }

  #onAnswer(exchange: Exchange, chunk: Buffer): void {
    const { origin } = exchange;
    if (origin === null) return;
    this.#quietMs = 0;
    let data = chunk;
    while (exchange.answer === null) {
      exchange.held = exchange.held.length === 0 ? data : Buffer.concat([exchange.held, data]);
      const size = responseHeadEnd(exchange.held, exchange.looked);
      if (size < 0) {
        exchange.looked = exchange.held.length;
        this.#expectHead(504, "the server's answer does not begin");
        return;
      }
      this.#hasHead();
      const scrub = exchange.credentials?.scrub;
      const isClean = scrub?.isClean(exchange.held);
      if (isClean === false) scrub?.head(exchange.held.subarray(0, size));
      const head = parseResponse(exchange.held, size, exchange.head.method, this.#answered);
      this.#answered = head;
      this.#flow.last.answer = head;
      data = exchange.held;
      exchange.held = nothing;
      exchange.looked = 0;
      if (head.status === 101) {
        this.#upgrade(exchange, origin, head, data);
        return;
      }
      if (head.status < 200) {
        if (++exchange.interim > mostInterim)
          throw new HttpError(502, "the server says again and again that it will answer");
        if (exchange.head.minor === 1) this.#write(origin, answerBytes(head, data, { closes: false }));
        data = data.subarray(size);
        if (data.length === 0) return;
        continue;
      }
      if (head.framing.kind === "chunked" && exchange.head.minor === 0)
        throw new HttpError(502, "the answer is in chunks, which a client of HTTP/1.0 cannot read");
      if (isBoundAnswer(head)) origin.isBound = true;
      if (scrub !== undefined && head.framing.kind !== "none" && isCompressed(head))
        throw new HttpError(502, compressed);
      const closes = !exchange.head.keepAlive || head.framing.kind === "close";
      const body = new BodyReader(head.framing, 502);
      const part = partOf(body, scrub, data, size, isClean);
      const isWhole = isRaw(head) && !closes && part.isInPlace;
      const bytes = isWhole
        ? data.subarray(0, part.end)
        : Buffer.concat([answerBytes(head, data, { closes }), part.bytes]);
      // Until here what is malformed can still be said.
      exchange.answer = { head, body };
      this.#write(origin, bytes);
      if (body.isDone) this.#finish(exchange, origin, head, data.length > part.end);
      return;
    }
    this.#goOn(exchange, origin, exchange.answer, data);
  }

  /**
   * What follows an answer's first part.
   *
   * @param onWritten when its bytes are not needed any more: what the scrubber keeps for later is a copy
   */
  #goOn(
    exchange: Exchange,
    origin: Origin,
    { head, body }: NonNullable<Exchange["answer"]>,
    data: Buffer,
    onWritten?: () => void,
  ): void {
    const { end, bytes } = partOf(body, exchange.credentials?.scrub, data, 0);
    if (bytes.length > 0) this.#write(origin, bytes, onWritten);
    else onWritten?.();
    if (body.isDone) this.#finish(exchange, origin, head, data.length > end);
  }

  #write(origin: Origin, data: Buffer, onWritten?: () => void): void {
    if (!writesOn(this.#client, data, onWritten)) origin.socket.pause();
  }

  #finish(exchange: Exchange, origin: Origin, head: ResponseHead, hasMore: boolean): void {
    const isWhole = exchange.body.isDone;
    const isKept = exchange.head.keepAlive && isWhole && head.framing.kind !== "close";
    this.#exchange = null;
    // A server that says more than its answer is not understood: nobody is given that connection.
    if (!head.keepAlive || !isWhole || hasMore) {
      origin.user = null;
      origin.socket.destroy();
    } else {
      origin.rest();
      this.#origin = origin;
    }
    if (!isKept) {
      this.#end();
      return;
    }
    this.#client.resume();
    busyPoll.passed(this);
    this.#next();
  }

  #upgrade(exchange: Exchange, origin: Origin, head: ResponseHead, data: Buffer): void {
    if (exchange.head.upgrade !== "websocket" || head.upgrade !== "websocket" || !exchange.body.isDone)
      throw new HttpError(502, "the server changes to a protocol that was not asked for");
    const { request } = exchange;
    const { scrub, texts } = exchange.credentials ?? {};
    const judge = (): void => {
      const refusal = this.#flow.judge({ method: webSocketText, path: request.path });
      if (refusal !== undefined) throw new WebSocketError(1008, "no rule allows text messages here");
    };
    this.#exchange = null;
    this.#upgraded = {
      origin,
      request,
      frames:
        this.#flow.protocolOf(request.path) === "websocket"
          ? new ClientFrames(judge)
          : texts === undefined
            ? null
            : new ClientFrames(() => {}),
      leaks: new MessageLeaks(this.#flow.leaks, request),
      texts,
      scrub,
    };
    this.#client.setTimeout(0);
    this.#hasHead();
    const first = data.subarray(head.size);
    this.#write(origin, Buffer.concat([answerBytes(head, data, { closes: false }), scrub?.take(first) ?? first]));
    const ahead = this.#held;
    this.#held = nothing;
    this.#client.resume();
    if (ahead.length > 0) this.#passUpgraded(ahead);
  }

  #passUpgraded(chunk: Buffer): void {
    if (this.#upgraded === null) return;
    const { frames, leaks, texts, origin } = this.#upgraded;
    frames?.take(chunk);
    const out = leaks.take(chunk);
    const isTaken = texts === undefined ? origin.socket.write(out) : writeSecret(origin.socket, texts.take(out));
    if (!isTaken) this.#client.pause();
  }

  #closeWebSocket({ code, message: reason }: WebSocketError): void {
    this.#isEnding = true;
    this.#upgraded?.origin.socket.destroy();
    this.#client.end(closeFrame(code, reason));
    this.#linger();
  }

  /** A refused request leaves the connection as it was, where nothing of it is still to come. */
  #refuse(head: RequestHead, answer: Answer): void {
    const closes = !head.keepAlive || head.framing.kind !== "none" || head.minor === 0;
    this.#client.write(message(answer, { closes, isHead: head.method === "HEAD" }));
    this.#held = this.#held.subarray(head.size);
    if (closes) this.#end();
  }

  /** Answers, where no answer has begun, and ends. */
  #stop(answer: Answer): void {
    if (this.#isEnding) return;
    const exchange = this.#exchange;
    if (this.#hasBegunAnswer) {
      this.#cut();
      return;
    }
    this.#client.write(message(answer, { closes: true, isHead: exchange?.head.method === "HEAD" }));
    this.#end();
  }

  /** Ends in a way that nobody takes for a regular end, after what was said. */
  #cut(): void {
    this.#isEnding = true;
    this.#leaveOrigin();
    this.#client.write(nothing, () => this.#client.resetAndDestroy());
    this.#linger();
  }

  #end(): void {
    this.#isEnding = true;
    this.#hasHead();
    this.#leaveOrigin();
    this.#client.end();
    if (!this.#hasClientEnded) this.#linger();
  }

  /** What still comes is read and dropped: a reset would take the answer from the client, which may read it slowly. */
  #linger(): void {
    const client = this.#client;
    client.setTimeout(this.#limits.clientMs);
    client.resume();
    const close = (): void => {
      if (client.closed) return;
      const timer = setTimeout(() => client.destroy(), this.#limits.lingerMs).unref();
      // Else all that belongs to it is kept as long.
      client.once("close", () => clearTimeout(timer));
    };
    if (client.writableFinished) close();
    else client.once("finish", close);
  }

  #leaveOrigin(): void {
    const active = this.#activeOrigin;
    this.#exchange = null;
    if (active !== null) {
      active.user = null;
      active.socket.destroy();
    }
    if (this.#origin?.isFresh === true) this.#flow.release(this.#origin);
    else this.#origin?.socket.destroy();
    this.#origin = null;
  }

  #onClientEnd(): void {
    this.#hasClientEnded = true;
    if (this.#upgraded !== null) {
      this.#upgraded.origin.socket.end();
      return;
    }
    const exchange = this.#exchange;
    // A request that will never be whole is nobody's business any more.
    if (exchange !== null && !exchange.body.isDone && exchange.origin !== null) {
      this.#client.destroy();
      return;
    }
    if (exchange === null && !this.#isEnding) this.#end();
  }

  #onClientClose(): void {
    this.#isEnding = true;
    this.#hasHead();
    this.#leaveOrigin();
  }

  /** Nothing was said for as long as a client has; a server has longer. */
  #onQuiet(): void {
    const { clientMs, serverMs } = this.#limits;
    const exchange = this.#exchange;
    this.#quietMs += clientMs;
    if (this.#isEnding) this.#client.destroy();
    else if (exchange === null) this.#end();
    else if (!exchange.body.isDone && exchange.answer === null && !this.#client.isPaused())
      this.#stop(failureAnswer(408, "timeout", "the request's body does not go on"));
    else if (this.#quietMs >= serverMs) this.#stop(failureAnswer(504, "timeout", "the server does not answer"));
    else this.#client.setTimeout(clientMs);
  }
}

/** Whether more may be written at once. */
function writesOn(socket: Socket, data: Buffer, onWritten?: () => void): boolean {
  return socket.write(data, onWritten) || socket.writableLength <= mostUnwritten;
}

const byConnection = /^(?:ntlm|negotiate)\b/i;

function isBoundByConnection({ fields }: RequestHead): boolean {
  return fields.some(({ name, value }) => name === "authorization" && byConnection.test(value));
}

function isBoundAnswer({ status, fields }: ResponseHead): boolean {
  return status === 401 && fields.some(({ name, value }) => name === "www-authenticate" && byConnection.test(value));
}

function endOf(error: Error | undefined): Answer {
  const detail =
    error === undefined
      ? "the server closed the connection before it answered"
      : `the connection to the server failed: ${tlsFault(error)}`;
  return failureAnswer(502, "upstream_closed", detail);
}
