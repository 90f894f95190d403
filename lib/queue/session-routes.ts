import { allow } from "./access.ts";
import type { EventStreams } from "./event-streams.ts";
import type { Player } from "./player.ts";
import { asObject, type QueueRequest, queryInteger, queryPage, queryTime, type Reply } from "./request.ts";
import type { SessionEvent, Sessions } from "./sessions.ts";
import { parseTask } from "./task.ts";
import { WireError } from "./wire.ts";
import type { Caller, WorkItems } from "./work-items.ts";

export interface SessionRoom {
  readonly sessions: Sessions;
  readonly player: Player;
  readonly streams: EventStreams;
  readonly work: WorkItems;
  /** Makes a session of a task; gives its id. */
  readonly submit: (task: unknown) => string;
}

/** `/v1/sessions…` (protocol sections 6 to 11, and the queue's own endpoints: docs/queue.md). */
export async function routeSessions(
  request: QueueRequest,
  rest: readonly string[],
  room: SessionRoom,
): Promise<Reply | undefined> {
  const [id, verb, detail] = rest;
  const { caller, method, query } = request;
  if (id === undefined) {
    allow(caller, "operator");
    if (method === "POST") return { json: room.sessions.render(room.submit(await request.body())) };
    if (method !== "GET") return undefined;
    return { json: room.sessions.list(queryInteger(query, "limit", 1, 1000) ?? 100, queryPage(query)) };
  }
  checkSession(caller, id);
  if (verb === undefined) {
    if (method === "GET") return { json: room.sessions.render(id) };
    if (method !== "DELETE") return undefined;
    allow(caller, "operator");
    room.streams.send(id, { type: "session.deleted", id: `sevt_deleted_${id}` });
    room.player.forget(id);
    room.sessions.delete(id);
    room.work.forget(id);
    return { json: { type: "session_deleted", id } };
  }
  if (verb === "events") return routeEvents(request, id, detail, room);
  allow(caller, "operator");
  if (detail !== undefined) return undefined;
  if (verb === "results" && method === "GET") return { json: room.sessions.results(id) };
  if (verb === "archive" && method === "POST") {
    room.player.terminate(id);
    room.sessions.update(id, { archivedAt: Date.now() });
    return { json: room.sessions.render(id) };
  }
  if (verb === "calls" && method === "POST") {
    const body = asObject(await request.body());
    const task = parseTask(JSON.stringify({ calls: body["calls"], end: body["end"] }), "calls");
    room.player.extend(id, task.calls ?? [], task.end);
    room.work.enqueue(id);
    return { json: room.sessions.results(id) };
  }
  return undefined;
}

async function routeEvents(
  request: QueueRequest,
  id: string,
  detail: string | undefined,
  room: SessionRoom,
): Promise<Reply | undefined> {
  const { caller, method, query } = request;
  if (detail === "stream" && method === "GET") {
    room.sessions.get(id);
    room.streams.open(id, request.response);
    return "handled";
  }
  if (detail !== undefined) return undefined;
  if (method === "GET") {
    const order = query.get("order") ?? "asc";
    if (order !== "asc" && order !== "desc") throw new WireError("invalid_request_error", "order: must be asc or desc");
    const above = queryTime(query, "created_at[gt]");
    const below = queryTime(query, "created_at[lt]");
    const page = query.has("page") ? queryPage(query) : undefined;
    return {
      json: room.sessions.events(id, {
        limit: queryInteger(query, "limit", 1, 1000) ?? 100,
        after: page,
        descending: order === "desc",
        types: [...query.getAll("types"), ...query.getAll("types[]")],
        createdFrom: above === undefined ? queryTime(query, "created_at[gte]") : above + 1,
        createdTo: below === undefined ? queryTime(query, "created_at[lte]") : below - 1,
      }),
    };
  }
  if (method !== "POST") return undefined;
  const { events } = asObject(await request.body()) as { events?: unknown };
  if (!Array.isArray(events) || events.length === 0) {
    throw new WireError("invalid_request_error", "events: must be a list of at least one event");
  }
  if (!room.work.holds(caller)) throw new WireError("permission_error", "the work item belongs to another worker now");
  const stored: SessionEvent[] = [];
  for (const event of events) {
    const { type } = asObject(event);
    // A worker answers calls; it does not speak for the user.
    if (caller.kind !== "operator" && type !== "user.tool_result" && type !== "user.custom_tool_result") {
      throw new WireError("permission_error", `a worker cannot send ${JSON.stringify(type)}`);
    }
    stored.push(room.player.accept(id, asObject(event)));
    if (type === "user.message") room.work.enqueue(id);
  }
  return { json: { data: stored } };
}

function checkSession(caller: Caller, id: string): void {
  if (caller.kind === "session" && caller.sessionId !== id) {
    throw new WireError("permission_error", "the token belongs to another session");
  }
}
