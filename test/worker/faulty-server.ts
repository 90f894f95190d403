import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type Kind =
  | "poll"
  | "ack"
  | "heartbeat"
  | "stop"
  | "session"
  | "history"
  | "stream"
  | "post"
  | "skill"
  | "archive"
  | "other";

export interface Recorded {
  readonly kind: Kind;
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: unknown;
  /** `performance.now()` of its arrival. */
  readonly at: number;
}

/** What to do with one request instead of answering it as a sound server would. */
export type Fault =
  | { status: number; headers?: Record<string, string>; body?: unknown }
  /** Never answered. */
  | "hang"
  /** The connection is cut before an answer. */
  | "cut"
  /** It is carried out, and the connection is cut before the answer. */
  | "lose the answer"
  | ((response: ServerResponse, request: Recorded) => void);

export interface Item {
  id: string;
  type?: string;
  sessionId?: string;
  secret?: string | null;
}

export interface Event {
  type: string;
  id?: string;
  [field: string]: unknown;
}

export const environmentKey = "sk-ant-oat01-the-environment-key-of-the-tests";
export const sessionsToken = "sk-ant-req-the-token-of-one-item";

export function secretOf(token: string): string {
  return Buffer.from(JSON.stringify({ sessions_token: token, api_base_url: "https://elsewhere.invalid" })).toString(
    "base64url",
  );
}

/** A tool use as the server's model makes it. */
export function toolUse(id: string, name = "bash", fields: Record<string, unknown> = {}): Event {
  return { type: "agent.tool_use", id, name, input: {}, evaluated_permission: "allow", ...fields };
}

export const endTurn: Event = { type: "session.status_idle", id: "sevt_idle", stop_reason: { type: "end_turn" } };
export const terminated: Event = { type: "session.status_terminated", id: "sevt_terminated" };

/**
 * A double of the service whose every answer can be made wrong: hung, cut, lost, refused, split, repeated. It keeps what
 * it was asked, so that a test can say what must not have been.
 */
export class FaultyServer {
  readonly requests: Recorded[] = [];
  readonly history: Event[] = [];
  session: Record<string, unknown> = { type: "session", status: "idle", agent: { skills: [] }, resources: [] };
  archive: Uint8Array = new Uint8Array();
  ttlSeconds = 60;
  pageSize = 1000;
  /** Whether a stored result is echoed on the streams. */
  echoes = true;
  readonly #items: Item[] = [];
  readonly #faults = new Map<Kind, Fault[]>();
  readonly #always = new Map<Kind, Fault>();
  readonly #streams = new Set<ServerResponse>();
  readonly #waiters = new Set<() => void>();
  readonly #http: Server;
  #beats = 0;
  #prefix = "";

  private constructor() {
    this.#http = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(prefix = ""): Promise<FaultyServer> {
    const server = new FaultyServer();
    server.#prefix = prefix;
    await new Promise<void>((resolve) => server.#http.listen(0, "127.0.0.1", resolve));
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#http.address() as AddressInfo).port}${this.#prefix}`;
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#http.close(() => resolve());
      this.#http.closeAllConnections();
    });
  }

  /** Queues an item, with the usual secret unless another is given. */
  enqueue(item: Item): void {
    this.#items.push(item);
  }

  /** The next requests of a kind meet these, one each. */
  fail(kind: Kind, ...faults: Fault[]): void {
    this.#faults.set(kind, [...(this.#faults.get(kind) ?? []), ...faults]);
  }

  /** Every request of a kind meets this, until it is undone with undefined. */
  failAlways(kind: Kind, fault: Fault | undefined): void {
    if (fault === undefined) this.#always.delete(kind);
    else this.#always.set(kind, fault);
  }

  /** An event happens: it is in the history and on every open stream. */
  happen(...events: Event[]): void {
    for (const event of events) {
      this.history.push(event);
      this.sendRaw(encode(event));
    }
  }

  /** On the streams alone. */
  sendRaw(text: string | Uint8Array): void {
    for (const stream of this.#streams) stream.write(text);
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  cutStreams(): void {
    for (const stream of this.#streams) stream.destroy();
    this.#streams.clear();
  }

  endStreams(): void {
    for (const stream of this.#streams) stream.end();
    this.#streams.clear();
  }

  of(kind: Kind): Recorded[] {
    return this.requests.filter((request) => request.kind === kind);
  }

  /** What results the session holds, by call, in the order of their coming. */
  results(): { id: string; text: string; isError: boolean }[] {
    return this.history
      .filter((event) => event?.type === "user.tool_result")
      .map((event) => ({
        id: String(event["tool_use_id"]),
        text: ((event["content"] as { text: string }[])[0] ?? { text: "" }).text,
        isError: event["is_error"] === true,
      }));
  }

  /** Resolves when something holds, looked at after each request and each of its ends. */
  async until(holds: () => boolean, what = "the awaited state", ms = 45_000): Promise<void> {
    if (holds()) return;
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        if (!holds()) return;
        clearTimeout(timer);
        clearInterval(ticker);
        this.#waiters.delete(look);
        resolve();
      };
      const ticker = setInterval(look, 5);
      const timer = setTimeout(() => {
        clearInterval(ticker);
        this.#waiters.delete(look);
        reject(new Error(`${what} did not come; seen: ${this.requests.map(({ kind }) => kind).join(" ")}`));
      }, ms);
      this.#waiters.add(look);
    });
  }

  async untilCount(kind: Kind, count: number, ms?: number): Promise<void> {
    await this.until(() => this.of(kind).length >= count, `request ${count} of kind ${kind}`, ms);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    } catch {
      return;
    }
    const url = new URL(request.url ?? "/", "http://127.0.0.1");
    const text = Buffer.concat(chunks).toString();
    const recorded: Recorded = {
      kind: kindOf(url.pathname, request.method ?? "GET"),
      method: request.method ?? "GET",
      path: url.pathname,
      query: url.searchParams,
      headers: request.headers,
      body: text === "" ? undefined : JSON.parse(text),
      at: performance.now(),
    };
    this.requests.push(recorded);
    const fault = this.#faults.get(recorded.kind)?.shift() ?? this.#always.get(recorded.kind);
    this.#answer(recorded, response, fault);
    for (const look of [...this.#waiters]) look();
  }

  #answer(request: Recorded, response: ServerResponse, fault: Fault | undefined): void {
    if (fault === "hang") return;
    if (fault === "cut") {
      response.destroy();
      return;
    }
    if (fault === "lose the answer") {
      this.#sound(request);
      response.destroy();
      return;
    }
    if (typeof fault === "function") {
      fault(response, request);
      return;
    }
    if (fault !== undefined) {
      const body = fault.body ?? { type: "error", error: { type: "api_error", message: "made to fail" } };
      response.writeHead(fault.status, { "content-type": "application/json", ...fault.headers });
      response.end(typeof body === "string" ? body : JSON.stringify(body));
      return;
    }
    if (request.kind === "stream") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.flushHeaders();
      this.#streams.add(response);
      response.on("close", () => this.#streams.delete(response));
      return;
    }
    if (request.kind === "archive") {
      response.writeHead(200, { "content-type": "application/binary" }).end(this.archive);
      return;
    }
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(this.#sound(request)));
  }

  /** What a sound server does and answers. */
  #sound(request: Recorded): unknown {
    switch (request.kind) {
      case "poll": {
        const item = this.#items.shift();
        if (item === undefined) return null;
        return {
          type: "work",
          id: item.id,
          environment_id: "env_test",
          data: { type: item.type ?? "session", id: item.sessionId ?? "sesn_test" },
          secret: item.secret === undefined ? secretOf(sessionsToken) : item.secret,
          state: "queued",
          metadata: {},
        };
      }
      case "heartbeat":
        this.#beats += 1;
        return {
          type: "work_heartbeat",
          last_heartbeat: `2026-01-01T00:00:00.${String(this.#beats).padStart(9, "0")}Z`,
          lease_extended: true,
          state: "active",
          ttl_seconds: this.ttlSeconds,
        };
      case "session":
        return { id: "sesn_test", ...this.session };
      case "history": {
        const from = Number(request.query.get("page") ?? "0");
        const data = this.history.slice(from, from + this.pageSize);
        const next = from + this.pageSize;
        return { data, next_page: next < this.history.length ? String(next) : null };
      }
      case "post": {
        const { events } = request.body as { events: Event[] };
        const stored = events.map((event) => ({ ...event, id: `sevt_result_${this.history.length}` }));
        for (const event of stored) {
          this.history.push(event);
          if (this.echoes) this.sendRaw(encode(event));
        }
        return { data: stored };
      }
      case "skill":
        return { type: "skill_version", id: "skver_1", skill_id: "skill_1", name: "greet", description: "" };
      default:
        return {};
    }
  }
}

function kindOf(path: string, method: string): Kind {
  if (path.endsWith("/work/poll")) return "poll";
  const verb = /\/work\/[^/]+\/(ack|heartbeat|stop)$/.exec(path)?.[1];
  if (verb !== undefined) return verb as Kind;
  if (path.endsWith("/events/stream")) return "stream";
  if (path.endsWith("/events")) return method === "POST" ? "post" : "history";
  if (/\/v1\/sessions\/[^/]+$/.test(path)) return "session";
  if (/\/versions\/[^/]+\/content$/.test(path)) return "archive";
  if (/\/versions\/[^/]+$/.test(path)) return "skill";
  return "other";
}

/** An event as a sound server writes it on a stream. */
export function encode(event: Event): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}
