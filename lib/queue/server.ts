import { createHash, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { DatabaseSync } from "node:sqlite";
import { HoldfastError } from "../errors.ts";
import { Access, checkHeaders } from "./access.ts";
import { inTransaction, openDatabase, type Row, text } from "./database.ts";
import { EventStreams } from "./event-streams.ts";
import { routeMemories, routeSkills } from "./library-routes.ts";
import { Memories } from "./memories.ts";
import type { ModelClient } from "./model/client.ts";
import { type ModelBounds, ModelDriver } from "./model/driver.ts";
import { checkModelTask } from "./model/model-task.ts";
import { Player } from "./player.ts";
import { type QueueRequest, type Reply, readBody } from "./request.ts";
import { routeSessions } from "./session-routes.ts";
import { Sessions } from "./sessions.ts";
import { Skills } from "./skills.ts";
import { parseTask, type Task } from "./task.ts";
import { makeCredential, makeId, WireError } from "./wire.ts";
import { WorkItems } from "./work-items.ts";
import { routeWork, WorkBell } from "./work-routes.ts";

export interface QueueServerOptions {
  /** Where the state lasts; absent: in memory. */
  readonly stateFile?: string;
  /** 0 or absent: any free port. The server only ever listens on 127.0.0.1. */
  readonly port?: number;
  /** The workers' credential; made when absent. */
  readonly environmentKey?: string;
  /** The credential of those who submit and read sessions; made when absent. */
  readonly operatorKey?: string;
  /** Absent: the state's own, made at the first start. */
  readonly environmentId?: string;
  /** Milliseconds; 120,000 when absent. */
  readonly leaseTtlMs?: number;
  /** Milliseconds until an item that was not acknowledged is handed out again; 5000 when absent. */
  readonly reclaimMs?: number;
  /** Makes the calls of tasks that have none of their own; absent: such a session is over at once. */
  readonly model?: { readonly client: ModelClient; readonly name: string; readonly bounds?: Partial<ModelBounds> };
  /** The clock, in milliseconds since 1970. */
  readonly now?: () => number;
}

/**
 * The embedded work queue: the server side of the Managed Agents protocol on loopback, with sessions played from task
 * files, or by a model of one's own.
 */
export class QueueServer implements AsyncDisposable {
  readonly url: string;
  readonly environmentId: string;
  readonly environmentKey: string;
  readonly operatorKey: string;
  readonly #http: Server;
  readonly #database: DatabaseSync;
  readonly #streams: EventStreams;
  readonly #player: Player;
  readonly #sessions: Sessions;
  readonly #skills: Skills;
  readonly #memories: Memories;
  readonly #work: WorkItems;
  readonly #sweep: NodeJS.Timeout;
  /** Its name. */
  readonly #model: string | undefined;

  private constructor(http: Server, rooms: Rooms) {
    this.#http = http;
    this.url = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    this.environmentId = rooms.environmentId;
    this.environmentKey = rooms.environmentKey;
    this.operatorKey = rooms.operatorKey;
    this.#database = rooms.database;
    this.#streams = rooms.streams;
    this.#player = rooms.player;
    this.#sessions = rooms.sessions;
    this.#skills = rooms.skills;
    this.#memories = rooms.memories;
    this.#work = rooms.work;
    this.#model = rooms.model;
    this.#sweep = setInterval(() => rooms.work.expireLeases(), Math.max(50, Math.min(1000, rooms.leaseTtlMs / 4)));
    this.#sweep.unref();
  }

  /**
   * Opens the state and listens.
   *
   * @throws HoldfastError `ERR_HOLDFAST_QUEUE_STATE`, or `ERR_HOLDFAST_QUEUE_LISTEN` when the port is taken
   */
  static async start(options: QueueServerOptions = {}): Promise<QueueServer> {
    const rooms = openRooms(options);
    const bell = rooms.bell;
    let queue: QueueServer | undefined;
    const http = createServer((request, response) => {
      void answer(request, response, rooms, bell, (task) => {
        if (queue === undefined) throw new WireError("api_error", "the queue is not ready");
        return queue.submit(parseTask(JSON.stringify(task), "the request's body"));
      });
    });
    http.requestTimeout = 0;
    http.keepAliveTimeout = 30_000;
    try {
      await new Promise<void>((resolve, reject) => {
        http.once("error", reject);
        http.listen(options.port ?? 0, "127.0.0.1", resolve);
      });
    } catch (error) {
      rooms.streams.close();
      rooms.database.close();
      throw new HoldfastError(
        `the queue cannot listen on 127.0.0.1:${options.port ?? 0}: ${error instanceof Error ? error.message : error}`,
        {
          code: "ERR_HOLDFAST_QUEUE_LISTEN",
          step: "queue",
          hint: "Give another --port, or none to take any that is free.",
          cause: error,
        },
      );
    }
    queue = new QueueServer(http, rooms);
    rooms.player.resume();
    return queue;
  }

  /**
   * Makes a session of a task and queues it.
   *
   * @param source what the task came from; a second submission of the same source gives the first one's session
   * @returns the session's id
   */
  submit(task: Task, source?: string): string {
    return inTransaction(this.#database, () => {
      const known = source === undefined ? undefined : this.#sessions.findBySource(source);
      if (known !== undefined) return known;
      const title = task.name ?? "untitled";
      const isModels = this.#model !== undefined && task.calls === undefined;
      if (isModels) checkModelTask(task);
      const id = this.#sessions.create({
        title,
        task: isModels ? { ...task, driver: "model" } : task,
        agent: {
          type: "agent",
          id: `agent_${createHash("sha256")
            .update(task.agent?.name ?? title)
            .digest("hex")
            .slice(0, 24)}`,
          name: task.agent?.name ?? title,
          version: 1,
          description: null,
          model: { id: task.agent?.model ?? (isModels ? this.#model : undefined) ?? "scripted" },
          system: task.agent?.system ?? null,
          skills: (task.agent?.skills ?? []).map((skill) => this.#skills.add(skill)),
          tools: task.agent?.tools ?? [{ type: "agent_toolset_20260401", configs: [], default_config: null }],
          mcp_servers: [],
          multiagent: null,
        },
        resources: (task.memory ?? []).map((memory) => this.#memories.attach(memory)),
        source,
      });
      this.#player.start(id);
      this.#work.enqueue(id);
      return id;
    });
  }

  /** Queues an item that is not a session, such as a health check. Returns its id. */
  enqueue(dataId: string, type: string): string {
    return this.#work.enqueue(dataId, type);
  }

  /** Whether a worker has the session now. */
  isHeld(sessionId: string): boolean {
    return this.#work.isHeld(sessionId);
  }

  /** What came of a session so far. */
  results(sessionId: string): object {
    return this.#sessions.results(sessionId);
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    this.#player.close();
    this.#streams.close();
    await new Promise<void>((resolve) => {
      this.#http.close(() => resolve());
      this.#http.closeAllConnections();
    });
    if (this.#database.isOpen) this.#database.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

interface Rooms {
  readonly environmentId: string;
  readonly environmentKey: string;
  readonly operatorKey: string;
  readonly leaseTtlMs: number;
  readonly database: DatabaseSync;
  readonly access: Access;
  readonly bell: WorkBell;
  readonly streams: EventStreams;
  readonly player: Player;
  readonly sessions: Sessions;
  readonly skills: Skills;
  readonly memories: Memories;
  readonly work: WorkItems;
  readonly model: string | undefined;
}

/** So much of a model where the queue's starter says nothing. */
const usualBounds: ModelBounds = { turns: 100, tokens: 2_000_000, timeMs: 3_600_000 };

function openRooms(options: QueueServerOptions): Rooms {
  const now = options.now ?? Date.now;
  const leaseTtlMs = options.leaseTtlMs ?? 120_000;
  const environmentKey = options.environmentKey ?? makeCredential("sk-ant-oat01-");
  const operatorKey = options.operatorKey ?? makeCredential("sk-ant-api03-");
  const database = openDatabase(options.stateFile);
  const stored = database.prepare("SELECT value FROM settings WHERE name = 'environment_id'").get() as Row | undefined;
  const environmentId = options.environmentId ?? (stored === undefined ? makeId("env") : text(stored, "value"));
  database.prepare("INSERT OR REPLACE INTO settings (name, value) VALUES ('environment_id', ?)").run(environmentId);
  const bell = new WorkBell();
  const streams = new EventStreams();
  const work = new WorkItems({
    database,
    environmentId,
    leaseTtlMs,
    reclaimMs: options.reclaimMs ?? 5000,
    now,
    onQueued: () => bell.ring(),
    onTaken: (sessionId) => player.taken(sessionId),
    onReleased: (sessionId, isAsked) => player.released(sessionId, isAsked),
  });
  const sessions = new Sessions({
    database,
    environmentId,
    now,
    // After the transaction: followers may ask for what they were told of.
    onEvent: (sessionId, event) => queueMicrotask(() => streams.send(sessionId, event)),
  });
  const { model } = options;
  const driver =
    model &&
    new ModelDriver({
      ...{ client: model.client, model: model.name, bounds: { ...usualBounds, ...model.bounds } },
      ...{ database, sessions, now, work },
    });
  const player = new Player({ database, sessions, now, model: driver });
  return {
    environmentId,
    environmentKey,
    operatorKey,
    leaseTtlMs,
    database,
    access: new Access({ environmentKey, operatorKey, findToken: (hash) => work.findToken(hash) }),
    bell,
    streams,
    player,
    sessions,
    skills: new Skills(database, now),
    memories: new Memories(database, now),
    work,
    model: model?.name,
  };
}

async function answer(
  raw: IncomingMessage,
  response: ServerResponse,
  rooms: Rooms,
  bell: WorkBell,
  submit: (task: unknown) => string,
): Promise<void> {
  const requestId = `req_${randomUUID()}`;
  response.setHeader("request-id", requestId);
  try {
    const url = new URL(raw.url ?? "/", "http://127.0.0.1");
    const path = url.pathname
      .split("/")
      .filter((part) => part !== "")
      .map(decodeURIComponent);
    const caller = rooms.access.identify(raw);
    checkHeaders(raw, path[1] ?? "", caller);
    const request: QueueRequest = {
      method: raw.method ?? "GET",
      path,
      query: url.searchParams,
      caller,
      raw,
      response,
      body: () => readBody(raw),
    };
    const reply = await route(request, rooms, bell, submit);
    if (reply === undefined) throw new WireError("not_found_error", `there is no ${raw.method} ${url.pathname}`);
    if (reply === "handled") return;
    raw.resume();
    if ("bytes" in reply) {
      response.writeHead(200, { "content-type": "application/binary" }).end(reply.bytes);
    } else {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(reply.json));
    }
  } catch (error) {
    raw.resume();
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const refusal = toWireError(error);
    response
      .writeHead(refusal.status, { "content-type": "application/json" })
      .end(JSON.stringify(refusal.toBody(requestId)));
  }
}

function toWireError(error: unknown): WireError {
  if (error instanceof WireError) return error;
  if (HoldfastError.is(error)) return new WireError("invalid_request_error", error.message);
  if (error instanceof URIError) return new WireError("invalid_request_error", "the path is not well encoded");
  return new WireError("api_error", error instanceof Error ? error.message : String(error));
}

async function route(
  request: QueueRequest,
  rooms: Rooms,
  bell: WorkBell,
  submit: (task: unknown) => string,
): Promise<Reply | undefined> {
  const [version, area, ...rest] = request.path;
  if (version !== "v1") return undefined;
  switch (area) {
    case "environments": {
      const [id, segment, ...more] = rest;
      if (id !== rooms.environmentId) throw new WireError("not_found_error", `there is no environment ${id ?? ""}`);
      return segment === "work" ? await routeWork(request, more, rooms.work, bell) : undefined;
    }
    case "sessions":
      return routeSessions(request, rest, { ...rooms, submit });
    case "skills":
      return routeSkills(request, rest, rooms.skills);
    case "memory_stores":
      return routeMemories(request, rest, rooms.memories);
    default:
      return undefined;
  }
}
