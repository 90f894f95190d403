import { allow } from "./access.ts";
import { asObject, type QueueRequest, queryInteger, queryPage, type Reply } from "./request.ts";
import { WireError } from "./wire.ts";
import type { Caller, WorkItems } from "./work-items.ts";

/** Lets polls wait for work. */
export class WorkBell {
  readonly #waiting = new Set<() => void>();

  ring(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  /** Resolves at the next ring, after `ms`, or when the client has gone. */
  async wait(ms: number, request: QueueRequest): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        request.response.off("close", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#waiting.add(done);
      request.response.on("close", done);
    });
  }
}

/** `/v1/environments/{id}/work…` (protocol section 3). */
export async function routeWork(
  request: QueueRequest,
  rest: readonly string[],
  work: WorkItems,
  bell: WorkBell,
): Promise<Reply | undefined> {
  const [id, verb] = rest;
  const { caller, method, query } = request;
  if (method === "GET" && id === undefined) {
    allow(caller, "environment", "operator");
    return { json: work.list(queryInteger(query, "limit", 1, 1000) ?? 100, queryPage(query)) };
  }
  if (method === "POST" && id === undefined) {
    // Not in the protocol: lets an operator see that workers pass over what is not a session.
    allow(caller, "operator");
    const data = asObject(asObject(await request.body())["data"]);
    if (typeof data["type"] !== "string" || typeof data["id"] !== "string" || data["type"] === "session") {
      throw new WireError("invalid_request_error", "data: needs a type other than session, and an id");
    }
    return { json: work.get(work.enqueue(data["id"], data["type"])) };
  }
  if (method === "GET" && id === "poll" && verb === undefined) return poll(request, work, bell);
  if (method === "GET" && id === "stats" && verb === undefined) {
    allow(caller, "environment", "operator");
    return { json: work.stats() };
  }
  if (id === undefined || rest.length > 2) return undefined;
  if (verb === undefined) {
    allow(caller, "operator");
    if (method === "GET") return { json: work.get(id) };
    if (method !== "POST") return undefined;
    return { json: work.updateMetadata(id, readMetadata(await request.body())) };
  }
  if (method !== "POST") return undefined;
  switch (verb) {
    case "ack":
      allow(caller, "environment");
      return { json: work.ack(id) };
    case "heartbeat": {
      allow(caller, "environment", "session");
      checkItem(caller, id);
      const ttl = queryInteger(query, "desired_ttl_seconds", 1, 3600);
      return { json: work.heartbeat(id, caller, query.get("expected_last_heartbeat") ?? undefined, ttl) };
    }
    case "stop": {
      allow(caller, "environment", "session", "operator");
      checkItem(caller, id);
      return { json: work.stop(id, caller, asObject(await request.body())["force"] === true) };
    }
    default:
      return undefined;
  }
}

async function poll(request: QueueRequest, work: WorkItems, bell: WorkBell): Promise<Reply> {
  allow(request.caller, "environment");
  const header = request.raw.headers["anthropic-worker-id"];
  const workerId = typeof header === "string" ? header : undefined;
  const blockMs = queryInteger(request.query, "block_ms", 1, 999) ?? 0;
  const reclaimMs = queryInteger(request.query, "reclaim_older_than_ms", 0, 86_400_000);
  const end = performance.now() + blockMs;
  for (;;) {
    const item = work.poll(workerId, reclaimMs);
    const left = end - performance.now();
    if (item !== null || left <= 0) return { json: item };
    await bell.wait(left, request);
    // An item handed to nobody would be lost until it is reclaimed.
    if (request.response.destroyed) return "handled";
  }
}

function checkItem(caller: Caller, id: string): void {
  if (caller.kind === "session" && caller.workId !== id) {
    throw new WireError("permission_error", "the token belongs to another work item");
  }
}

function readMetadata(body: unknown): Record<string, string | null> {
  const metadata = asObject(asObject(body)["metadata"]);
  for (const value of Object.values(metadata)) {
    if (value !== null && typeof value !== "string") {
      throw new WireError("invalid_request_error", "metadata: values must be strings or null");
    }
  }
  return metadata as Record<string, string | null>;
}
