import { HoldfastError } from "../errors.ts";
import { EventStreamDecoder } from "../worker/event-stream.ts";

/** A call and its answer in {@link SessionResults}. */
export interface CallResult {
  readonly id: string;
  readonly tool: string;
  readonly input: unknown;
  readonly state: string;
  readonly text: string | null;
  readonly is_error: boolean | null;
  readonly passed: boolean | null;
  readonly reasons: readonly string[];
  readonly duration_ms: number | null;
}

/** What came of a session. */
export interface SessionResults {
  readonly session_id: string;
  readonly title: string;
  readonly status: string;
  readonly outcome: "running" | "passed" | "failed" | "canceled";
  /** What the agent said last. */
  readonly answer: string | null;
  /** Why a model's session failed. */
  readonly fault: string | null;
  readonly calls: readonly CallResult[];
}

/** An operator's view of a queue: submits sessions, reads and follows them. */
export class QueueClient {
  readonly #url: string;
  readonly #key: string;

  /**
   * @param url where the queue listens
   * @param key the operator key
   */
  constructor(url: string, key: string) {
    this.#url = url.replace(/\/+$/, "");
    this.#key = key;
  }

  /** Submits a task; gives the session's id. */
  async submit(task: object): Promise<string> {
    const session = (await this.#json("POST", "/v1/sessions", task)) as { id: string };
    return session.id;
  }

  async results(sessionId: string): Promise<SessionResults> {
    return (await this.#json("GET", `/v1/sessions/${encodeURIComponent(sessionId)}/results`)) as SessionResults;
  }

  /** The ids of all sessions, oldest first. */
  async list(): Promise<string[]> {
    const ids: string[] = [];
    for (let page: string | null = "0"; page !== null; ) {
      const answer = (await this.#json("GET", `/v1/sessions?limit=1000&page=${page}`)) as {
        data: { id: string }[];
        next_page: string | null;
      };
      ids.push(...answer.data.map((session) => session.id));
      page = answer.next_page;
    }
    return ids;
  }

  /**
   * All events of a session from its first, then live ones, each once, until the session ends or `signal` aborts.
   *
   * @throws HoldfastError ERR_HOLDFAST_QUEUE_UNREACHABLE also when the queue goes away meanwhile
   */
  async *follow(sessionId: string, signal?: AbortSignal): AsyncGenerator<Record<string, unknown>> {
    const base = `/v1/sessions/${encodeURIComponent(sessionId)}/events`;
    const seen = new Set<unknown>();
    const live = await this.#request("GET", `${base}/stream`, undefined, signal);
    const reader = live.body?.getReader();
    try {
      for (let page: string | null = "0"; page !== null; ) {
        const answer = (await this.#json("GET", `${base}?limit=1000&page=${page}`)) as {
          data: Record<string, unknown>[];
          next_page: string | null;
        };
        for (const event of answer.data) {
          seen.add(event["id"]);
          yield event;
          if (isLast(event)) return;
        }
        page = answer.next_page;
      }
      const decoder = new EventStreamDecoder();
      for (;;) {
        const chunk = await reader?.read().catch((error: unknown) => {
          if (signal?.aborted) return undefined;
          throw this.#unreachable("has gone away", error);
        });
        if (signal?.aborted) return;
        if (chunk === undefined || chunk.done) throw this.#unreachable("has gone away", undefined);
        for (const { event, data } of decoder.push(chunk.value)) {
          if (event === null || event === "ping") continue;
          const body = JSON.parse(data) as Record<string, unknown>;
          if (seen.has(body["id"])) continue;
          seen.add(body["id"]);
          yield body;
          if (isLast(body)) return;
        }
      }
    } finally {
      // However it is left: an open stream keeps the process alive.
      await reader?.cancel().catch(() => {});
    }
  }

  #unreachable(what: string, error: unknown): HoldfastError {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const why = cause === undefined ? "" : `: ${cause instanceof Error ? cause.message : cause}`;
    return new HoldfastError(`the queue at ${this.#url} ${what}${why}`, {
      code: "ERR_HOLDFAST_QUEUE_UNREACHABLE",
      step: "queue",
      hint: "Start it with `holdfast queue serve`, or give the --url that it printed.",
      cause: error,
    });
  }

  async #json(method: string, path: string, body?: object): Promise<unknown> {
    return (await this.#request(method, path, body)).json();
  }

  async #request(method: string, path: string, body?: object, signal?: AbortSignal): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(`${this.#url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${this.#key}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      throw this.#unreachable("does not answer", error);
    }
    if (response.ok) return response;
    const text = await response.text();
    let message = text;
    try {
      message = (JSON.parse(text) as { error: { message: string } }).error.message;
    } catch {
      // Not the queue's own error body: shown as it came.
    }
    throw new HoldfastError(`the queue refused ${method} ${path}: ${response.status} ${message.slice(0, 2000)}`, {
      code: "ERR_HOLDFAST_QUEUE_REFUSED",
      step: "queue",
      hint: "Correct what the queue names; 401 means that the operator key is not this queue's.",
    });
  }
}

function isLast(event: Record<string, unknown>): boolean {
  return event["type"] === "session.status_terminated" || event["type"] === "session.deleted";
}
