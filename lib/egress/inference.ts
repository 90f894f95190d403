import { once } from "node:events";
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import {
  constants,
  createServer as createHttp2Server,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { type Inference, type InferenceFamily, type InferenceRoute, inferenceHost } from "../policy/inference.ts";
import type { Secret } from "../secrets/secret.ts";
import { NoAnswer, type OwnAnswer } from "./exchange.ts";
import type { Program, Reason, Request, Verdict } from "./flow.ts";
import { inferenceRefusal } from "./inference-answer.ts";
import { Spending } from "./inference-budget.ts";
import { familyOf, type InferenceShape, modelOf, shapeOf, withModel } from "./inference-shapes.ts";
import { type Usage, UsageReader } from "./inference-usage.ts";
import type { LeakFlow } from "./leak-flow.ts";
import { ModelServer } from "./model-server.ts";
import { compressed, isCompressed, Scrubber } from "./scrub.ts";
import { timeLimits } from "./time-limits.ts";

/** openshell.md 1.12. */
const mostBody = 10 * 1024 * 1024;

/** What of a request goes on, beside what this end says itself; all else, the caller's own authorisation first, does not. */
const passedFields: readonly string[] = [
  "content-type",
  "accept",
  "anthropic-version",
  "anthropic-beta",
  "openai-organization",
  "openai-project",
  "openai-beta",
  "x-model-id",
  "idempotency-key",
  "x-amzn-bedrock-accept",
  "x-amzn-bedrock-content-type",
  "x-amzn-bedrock-guardrailidentifier",
  "x-amzn-bedrock-guardrailversion",
  "x-amzn-bedrock-performanceconfig-latency",
  "x-amzn-bedrock-request-metadata",
  "x-amzn-bedrock-service-tier",
  "x-amzn-bedrock-trace",
];
/** What of an answer does not. */
const heldFields: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "transfer-encoding",
  "content-length",
  "trailer",
  "upgrade",
  "proxy-authenticate",
  "set-cookie",
  "alt-svc",
  "strict-transport-security",
]);

/** The server is too busy, or broken: another one may not be. */
const isRetried = (status: number): boolean => status === 429 || status >= 500;

/** What is known of an asked model when it has answered. */
export interface InferenceRecord {
  readonly route: string;
  readonly family: InferenceFamily;
  readonly model: string | null;
  readonly status: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly durationMs: number;
  /** Why there was no answer. */
  readonly fault?: string;
}

export interface InferenceOptions {
  readonly inference: Inference;
  /** By the route's name. */
  readonly keys: ReadonlyMap<string, Secret>;
  /** A connection to a route's server; aborted with the signal. */
  readonly dial: (host: string, port: number, signal: AbortSignal) => Promise<Socket>;
  readonly note: (program: Program | null, port: number, verdict: Verdict, request?: Request) => void;
  /** What looks for secrets in what is asked. */
  readonly leaks: (program: Program | null, port: number) => LeakFlow;
  readonly record: (program: Program | null, record: InferenceRecord) => void;
}

/** Who asks, on one connection. */
interface Caller {
  readonly program: Program | null;
  readonly port: number;
  /** Until its first request: Node's own limit holds only for servers that listen. */
  readonly headTimer?: NodeJS.Timeout;
}

/** By HTTP/1.1, or by HTTP/2, which some of AWS's libraries speak alone. */
type Asking = IncomingMessage | Http2ServerRequest;
type Answering = ServerResponse | Http2ServerResponse;

/** A request that is to be sent to whichever route answers. */
interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly shape: InferenceShape;
  readonly fields: IncomingHttpHeaders;
  /** Null where there is none. */
  readonly body: Readonly<Record<string, unknown>> | null;
  readonly bytes: Buffer;
}

/**
 * The sandbox's endpoint for models: programs ask at one name, without a key, and are answered by the first of the
 * policy's routes of the same family that can.
 */
export class InferenceService {
  readonly #options: InferenceOptions;
  readonly #server: Server;
  readonly #http2: Http2Server;
  readonly #callers = new WeakMap<object, Caller>();
  readonly #spending: Spending;
  /** By the route's name. */
  readonly #servers: ReadonlyMap<string, ModelServer>;

  constructor(options: InferenceOptions) {
    this.#options = options;
    const { inference, keys, dial } = options;
    this.#servers = new Map(
      inference.routes.map(({ name, family, url, timeoutMs, region }) => [
        name,
        new ModelServer({ family, url, timeoutMs, key: keys.get(name), region, dial }),
      ]),
    );
    this.#spending = new Spending(options.inference.budget);
    this.#server = createServer({ maxHeaderSize: 64 * 1024 }, (request, response) => {
      const caller = this.#callers.get(request.socket) ?? unknown;
      this.#serve(request, response, caller).catch(() => cut(response));
    });
    this.#server.keepAliveTimeout = timeLimits.clientMs;
    this.#server.on("clientError", (_error, socket) => socket.destroy());
    const settings = { maxConcurrentStreams: 64, maxHeaderListSize: 64 * 1024, enablePush: false };
    this.#http2 = createHttp2Server({ settings }, (request, response) => {
      const { session } = request.stream;
      const caller = (session && this.#callers.get(session)) ?? unknown;
      this.#serve(request, response, caller).catch(() => cut(response));
    });
    this.#http2.on("sessionError", () => {});
  }

  /** Takes over a connection of a program's, in clear text. */
  accept(connection: Duplex, caller: Caller, protocol: "h2" | "http/1.1"): void {
    const headTimer = setTimeout(() => connection.destroy(), timeLimits.headMs).unref();
    connection.once("close", () => clearTimeout(headTimer));
    const known = { ...caller, headTimer };
    if (protocol === "h2") {
      this.#http2.once("session", (session: ServerHttp2Session) => {
        this.#callers.set(session, known);
        session.setTimeout(timeLimits.serverMs, () => session.close());
      });
      this.#http2.emit("connection", connection);
      // A session over TLS waits for it (http2.ts).
      if (connection instanceof TLSSocket) connection.emit("secureConnect");
      return;
    }
    this.#callers.set(connection, known);
    this.#server.emit("connection", connection);
    // It was held while it was not known what for.
    connection.resume();
  }

  async #serve(request: Asking, response: Answering, caller: Caller): Promise<void> {
    clearTimeout(caller.headTimer);
    const { pathname, search } = new URL(request.url ?? "/", `http://${inferenceHost}`);
    const seen: Request = { method: request.method ?? "", path: pathname };
    const isAnthropic = request.headers["anthropic-version"] !== undefined;
    const shape = shapeOf(seen.method, pathname, isAnthropic);
    const family = shape?.family ?? familyOf(pathname, isAnthropic);
    const refuse = (status: number, error: string, detail: string, reason: Reason): void => {
      this.#options.note(caller.program, caller.port, { ...refused, reason, detail }, seen);
      answer(response, family, status, error, detail);
    };
    const host = (request.headers[":authority"] ?? request.headers.host ?? "")
      .toString()
      .toLowerCase()
      .replace(/:\d+$/, "");
    if (host !== inferenceHost)
      return refuse(
        403,
        "request_authority_mismatch",
        `the request is for ${host}, not for ${inferenceHost}`,
        "malformed",
      );
    if (shape === undefined)
      return refuse(
        403,
        "policy_denied",
        `${seen.method} ${pathname} asks no model of OpenAI's, Anthropic's or Bedrock's interface`,
        "rule",
      );
    const { routes } = this.#options.inference;
    const own = routes.filter(({ family }) => family === shape.family);
    if (own.length === 0) {
      const others = routes.map(({ name, family }) => `${name} speaks ${familyNames[family]}`).join(", ");
      return refuse(
        400,
        "inference_family_mismatch",
        `no route speaks ${familyNames[shape.family]}: ${others}`,
        "rule",
      );
    }
    const bytes = await bodyOf(request);
    if (bytes === null) return refuse(413, "request_too_large", `a request is at most ${mostBody} bytes`, "malformed");
    const leaks = this.#options.leaks(caller.program, caller.port);
    const head = `${pathname}${search}\n${passedFields.map((name) => request.headers[name] ?? "").join("\n")}`;
    const fault = leaks.whole(Buffer.from(head, "latin1"), bytes, seen);
    if (fault !== undefined) return answer(response, family, 403, fault.error, fault.detail);
    const body = shape.modelIn === null ? null : objectOf(bytes);
    if (body === undefined) return refuse(400, "malformed_request", "the body is no object of JSON", "malformed");
    const used = this.#spending.begin();
    if (used !== undefined)
      return refuse(429, "inference_budget_exhausted", `this session has used what it may: ${used}`, "rule");
    this.#options.note(
      caller.program,
      caller.port,
      { ...allowed, detail: `asks ${own.map(({ name }) => name).join(", ")}` },
      seen,
    );
    const asked: Asked = { ...seen, query: search, shape, fields: request.headers, body, bytes };
    await this.#ask(asked, own, response, caller);
  }

  /** Tries one route after the other; what the last says is the answer, whatever it is. */
  async #ask(asked: Asked, routes: readonly InferenceRoute[], response: Answering, caller: Caller): Promise<void> {
    const abort = new AbortController();
    response.once("close", () => abort.abort());
    const faults: string[] = [];
    for (const [index, route] of routes.entries()) {
      const begun = performance.now();
      const model = route.model ?? (asked.shape.modelIn === "path" ? modelOf(asked.path) : asked.body?.["model"]);
      const record = (status: number, { input, output }: Usage, fault?: string): void =>
        this.#options.record(caller.program, {
          ...{ route: route.name, family: route.family, model: typeof model === "string" ? model : null, status },
          ...{ inputTokens: input, outputTokens: output, durationMs: Math.round(performance.now() - begun) },
          ...(fault === undefined ? {} : { fault }),
        });
      const reader = new UsageReader(asked.bytes.length);
      let status = 0;
      const close = (usage: Usage, fault?: string): void => {
        const isFree = asked.shape.isFree === true || status >= 400;
        this.#spending.spend(route, isFree ? none : usage);
        record(status, asked.shape.isFree === true ? none : usage, fault);
      };
      try {
        const own = await this.#send(asked, route, abort.signal);
        ({ status } = own.head);
        if (isRetried(status) && index < routes.length - 1) {
          own.discard();
          record(status, none);
          faults.push(`${route.name} answers ${status}`);
          continue;
        }
        await this.#pass(own, route, { reader, response, signal: abort.signal });
        close(reader.usage);
        return;
      } catch (error) {
        const fault = error instanceof Error ? error.message : String(error);
        // What was asked and said so far was worked for: whoever hangs up before the end would else be told for nothing.
        if (abort.signal.aborted || response.headersSent) {
          close(reader.partialUsage, abort.signal.aborted ? undefined : fault);
          return cut(response);
        }
        record(502, none, fault);
        // Addresses, and where keys are kept, are nothing for the sandbox to know.
        faults.push(`${route.name} ${error instanceof NoAnswer ? `does not answer: ${fault}` : "cannot be asked"}`);
      }
    }
    answer(response, asked.shape.family, 502, "upstream_unreachable", `no model answers: ${faults.join("; ")}`);
  }

  async #send(asked: Asked, route: InferenceRoute, signal: AbortSignal): Promise<OwnAnswer> {
    const server = this.#servers.get(route.name);
    if (server === undefined) throw new Error(`there is no route ${route.name}`);
    const { path, body } = this.#rewritten(asked, route);
    const fields = passedFields.flatMap((name) => {
      const value = asked.fields[name];
      return typeof value === "string" ? [`${name}: ${value}`] : [];
    });
    const request = { method: asked.method, target: `${path}${asked.query}`, fields, body };
    return await server.ask(request, signal);
  }

  #rewritten({ path, shape, body, bytes }: Asked, { model }: InferenceRoute): { path: string; body: Buffer } {
    if (body === null) return { path, body: Buffer.alloc(0) };
    if (shape.modelIn === "path") return { path: model === undefined ? path : withModel(path, model), body: bytes };
    const asksUsage = shape.usageOnDemand === true && body["stream"] === true && this.#spending.countsTokens;
    if (model === undefined && !asksUsage) return { path, body: bytes };
    const options = body["stream_options"];
    const changed = {
      ...body,
      ...(model === undefined ? {} : { model }),
      ...(asksUsage
        ? { stream_options: { ...(typeof options === "object" ? options : {}), include_usage: true } }
        : {}),
    };
    return { path, body: Buffer.from(JSON.stringify(changed)) };
  }

  /** As it comes, at the pace of whoever reads it. */
  async #pass(
    { head, body, discard }: OwnAnswer,
    route: InferenceRoute,
    { reader, response, signal }: { reader: UsageReader; response: Answering; signal: AbortSignal },
  ): Promise<void> {
    const secret = this.#options.keys.get(route.name);
    const scrubber = new Scrubber(() => secret?.needles("") ?? []);
    if (secret !== undefined && isCompressed(head)) {
      discard();
      throw new NoAnswer(compressed);
    }
    response.statusCode = head.status;
    for (const { name, value } of head.fields) {
      if (heldFields.has(name) || head.hopByHop.includes(name)) continue;
      response.appendHeader(name, scrubber.text(value));
    }
    if ("stream" in response) response.writeHead(head.status);
    else response.flushHeaders();
    for await (const chunk of body) {
      reader.take(chunk);
      const bytes = scrubber.take(chunk);
      if (bytes.length === 0) continue;
      const isTaken = "stream" in response ? response.write(bytes) : response.write(bytes);
      if (!isTaken) await once(response, "drain", { signal });
    }
    response.end(scrubber.end());
  }
}

const familyNames: Readonly<Record<InferenceFamily, string>> = {
  openai: "OpenAI's interface",
  anthropic: "Anthropic's interface",
  bedrock: "Bedrock's interface",
};

const none: Usage = { input: 0, output: 0 };
const unknown: Caller = { program: null, port: 0 };
const allowed = { allowed: true, policy: "inference", rule: null } as const;
const refused = { allowed: false, policy: "inference", rule: null } as const;

/** So that nobody takes it for whole. */
function cut(response: Answering): void {
  if ("stream" in response) response.stream.close(constants.NGHTTP2_CANCEL);
  else response.destroy();
}

function answer(response: Answering, family: InferenceFamily, status: number, error: string, detail: string): void {
  const { fields, body } = inferenceRefusal(family, status, error, detail);
  response.statusCode = status;
  for (const [name, value] of Object.entries(fields)) response.setHeader(name, value);
  // Whoever was refused may have more of its request on the way, which nobody reads.
  if ("stream" in response) response.stream.resume();
  else response.setHeader("Connection", "close");
  response.end(body);
}

/** Null where it is too long. */
async function bodyOf(request: Asking): Promise<Buffer | null> {
  const parts: Buffer[] = [];
  let size = 0;
  // What is left is not read, and its sender is still told why.
  for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > mostBody) return null;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** Undefined where it is none. */
function objectOf(bytes: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
