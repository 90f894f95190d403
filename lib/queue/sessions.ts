import type { DatabaseSync } from "node:sqlite";
import { integer, integerOrNull, type Row, text, textOrNull } from "./database.ts";
import type { Task, TaskCall } from "./task.ts";
import { makeId, timestamp, timestampOrNull, WireError } from "./wire.ts";

export type SessionStatus = "idle" | "running" | "rescheduling" | "terminated";
export type Outcome = "running" | "passed" | "failed" | "canceled";

/** An event as clients see it. */
export interface SessionEvent {
  readonly type: string;
  readonly id: string;
  readonly [field: string]: unknown;
}

/** A session's row, read. */
export interface SessionRecord {
  readonly id: string;
  readonly title: string;
  readonly status: SessionStatus;
  readonly task: Task;
  readonly step: number;
  readonly outcome: Outcome;
  readonly interrupted: boolean;
  readonly archivedAt: number | null;
}

export type CallState = "open" | "asked" | "answered" | "denied" | "void";

/** One tool call of the scripted model. `asked` is one whose permission waits for a verdict. */
export interface CallRecord {
  readonly id: string;
  readonly step: number;
  readonly script: TaskCall;
  readonly state: CallState;
  readonly passed: boolean | null;
}

export interface EventQuery {
  readonly limit: number;
  readonly after: number | undefined;
  readonly descending: boolean;
  readonly types: readonly string[];
  readonly createdFrom: number | undefined;
  readonly createdTo: number | undefined;
}

/** Sessions, their events and their calls: rows in, protocol objects out. */
export class Sessions {
  readonly #database: DatabaseSync;
  readonly #environmentId: string;
  readonly #now: () => number;
  readonly #onEvent: (sessionId: string, event: SessionEvent) => void;
  /** Parsed scripts: one of thousands of calls is looked at with every event. */
  readonly #tasks = new Map<string, Task>();

  constructor(options: {
    database: DatabaseSync;
    environmentId: string;
    now: () => number;
    onEvent: (sessionId: string, event: SessionEvent) => void;
  }) {
    this.#database = options.database;
    this.#environmentId = options.environmentId;
    this.#now = options.now;
    this.#onEvent = options.onEvent;
  }

  create(input: { title: string; task: Task; agent: object; resources: object[]; source: string | undefined }): string {
    const id = makeId("sesn");
    const now = this.#now();
    this.#database
      .prepare(
        `INSERT INTO sessions (id, title, status, agent, resources, metadata, source, created_at, updated_at)
         VALUES (?, ?, 'idle', ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        id,
        input.title,
        JSON.stringify(input.agent),
        JSON.stringify(input.resources),
        JSON.stringify(input.task.metadata ?? {}),
        input.source ?? null,
        now,
        now,
      );
    this.#storeTask(id, input.task);
    return id;
  }

  findBySource(source: string): string | undefined {
    const row = this.#database.prepare("SELECT id FROM sessions WHERE source = ?").get(source) as Row | undefined;
    return row === undefined ? undefined : text(row, "id");
  }

  get(id: string): SessionRecord {
    const row = this.#row(id);
    return {
      id,
      title: text(row, "title"),
      status: text(row, "status") as SessionStatus,
      task: this.#taskOf(id, text(row, "outcome") === "running"),
      step: integer(row, "step"),
      outcome: text(row, "outcome") as Outcome,
      interrupted: integer(row, "interrupted") === 1,
      archivedAt: integerOrNull(row, "archived_at"),
    };
  }

  /** The session object of the protocol. */
  render(id: string): object {
    return this.#render(this.#row(id));
  }

  list(limit: number, after: number): { data: object[]; next_page: string | null } {
    const rows = this.#database
      .prepare("SELECT * FROM sessions WHERE number > ? ORDER BY number LIMIT ?")
      .all(after, limit + 1) as Row[];
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    return {
      data: page.map((row) => this.#render(row)),
      next_page: rows.length > limit && last !== undefined ? String(integer(last, "number")) : null,
    };
  }

  update(
    id: string,
    change: Partial<{
      status: SessionStatus;
      step: number;
      outcome: Outcome;
      task: Task;
      interrupted: boolean;
      archivedAt: number;
      finishedAt: number | null;
    }>,
  ): void {
    if (change.task !== undefined) this.#storeTask(id, change.task);
    else if (change.outcome !== undefined && change.outcome !== "running") this.#tasks.delete(id);
    const values: Record<string, string | number | null | undefined> = {
      status: change.status,
      step: change.step,
      outcome: change.outcome,
      interrupted: change.interrupted === undefined ? undefined : Number(change.interrupted),
      archived_at: change.archivedAt,
      finished_at: change.finishedAt,
      updated_at: this.#now(),
    };
    const set = Object.entries(values).filter((entry) => entry[1] !== undefined);
    this.#database
      .prepare(`UPDATE sessions SET ${set.map(([name]) => `${name} = ?`).join(", ")} WHERE id = ?`)
      .run(...set.map(([, value]) => value ?? null), id);
  }

  /** Ids of sessions whose script has not come to its end. */
  unfinished(): string[] {
    const rows = this.#database.prepare("SELECT id FROM sessions WHERE outcome = 'running' ORDER BY number").all();
    return (rows as Row[]).map((row) => text(row, "id"));
  }

  /** Stores an event and tells those who follow the session. */
  addEvent(sessionId: string, type: string, fields: Readonly<Record<string, unknown>> = {}): SessionEvent {
    const now = this.#now();
    const event: SessionEvent = { ...fields, type, id: makeId("sevt"), processed_at: timestamp(now) };
    this.#database
      .prepare("INSERT INTO events (id, session_id, type, body, created_at) VALUES (?, ?, ?, ?, ?)")
      .run(event.id, sessionId, type, JSON.stringify(event), now);
    this.#onEvent(sessionId, event);
    return event;
  }

  events(sessionId: string, query: EventQuery): { data: SessionEvent[]; next_page: string | null } {
    this.#row(sessionId);
    const where = ["session_id = ?"];
    const values: (string | number)[] = [sessionId];
    if (query.after !== undefined) {
      where.push(query.descending ? "number < ?" : "number > ?");
      values.push(query.after);
    }
    if (query.types.length > 0) {
      where.push(`type IN (${query.types.map(() => "?").join(", ")})`);
      values.push(...query.types);
    }
    if (query.createdFrom !== undefined) {
      where.push("created_at >= ?");
      values.push(query.createdFrom);
    }
    if (query.createdTo !== undefined) {
      where.push("created_at <= ?");
      values.push(query.createdTo);
    }
    const order = query.descending ? "DESC" : "ASC";
    const rows = this.#database
      .prepare(`SELECT number, body FROM events WHERE ${where.join(" AND ")} ORDER BY number ${order} LIMIT ?`)
      .all(...values, query.limit + 1) as Row[];
    const page = rows.slice(0, query.limit);
    const last = page.at(-1);
    return {
      data: page.map((row) => JSON.parse(text(row, "body")) as SessionEvent),
      next_page: rows.length > query.limit && last !== undefined ? String(integer(last, "number")) : null,
    };
  }

  /** What went wrong with a model's session; `terminal`: it is over. */
  addFault(sessionId: string, message: string, status: "retrying" | "terminal"): void {
    this.addEvent(sessionId, "session.error", {
      error: { type: "model_request_failed_error", message, retry_status: { type: status } },
    });
  }

  /** All of a session's, oldest first. */
  allEvents(sessionId: string): SessionEvent[] {
    const rows = this.#database.prepare("SELECT body FROM events WHERE session_id = ? ORDER BY number").all(sessionId);
    return (rows as Row[]).map((row) => JSON.parse(text(row, "body")) as SessionEvent);
  }

  addCall(sessionId: string, id: string, step: number, script: TaskCall, state: CallState): void {
    this.#database
      .prepare("INSERT INTO calls (id, session_id, step, script, state, asked_at) VALUES (?, ?, ?, ?, ?, ?)")
      .run(id, sessionId, step, JSON.stringify(script), state, this.#now());
  }

  call(sessionId: string, id: string): CallRecord | undefined {
    const row = this.#database.prepare("SELECT * FROM calls WHERE session_id = ? AND id = ?").get(sessionId, id);
    return row === undefined ? undefined : readCall(row as Row);
  }

  /** The calls that a client has yet to answer or to judge. */
  openCalls(sessionId: string): CallRecord[] {
    const rows = this.#database
      .prepare("SELECT * FROM calls WHERE session_id = ? AND state IN ('open', 'asked') ORDER BY number")
      .all(sessionId);
    return (rows as Row[]).map(readCall);
  }

  hasFailed(sessionId: string): boolean {
    const found = this.#database
      .prepare(
        "SELECT 1 FROM calls WHERE session_id = ? AND state IN ('answered', 'denied', 'void') AND passed = 0 LIMIT 1",
      )
      .get(sessionId);
    return found !== undefined;
  }

  /** How many calls were made, and how many of them were as expected. */
  tally(sessionId: string): { readonly made: number; readonly passed: number } {
    const row = this.#database
      .prepare("SELECT COUNT(*) AS made, SUM(passed = 1) AS passed FROM calls WHERE session_id = ?")
      .get(sessionId) as Row;
    return { made: integer(row, "made"), passed: integer(row, "passed") };
  }

  setCallState(id: string, state: CallState): void {
    this.#database.prepare("UPDATE calls SET state = ? WHERE id = ?").run(state, id);
  }

  settleCall(
    id: string,
    state: "answered" | "denied" | "void",
    result: { text: string | null; isError: boolean | null; passed: boolean; reasons: readonly string[] },
  ): void {
    this.#database
      .prepare(
        "UPDATE calls SET state = ?, text = ?, is_error = ?, passed = ?, reasons = ?, answered_at = ? WHERE id = ?",
      )
      .run(
        state,
        result.text,
        result.isError === null ? null : Number(result.isError),
        Number(result.passed),
        JSON.stringify(result.reasons),
        this.#now(),
        id,
      );
  }

  /** Nobody is to answer them any more. */
  voidCalls(sessionId: string): void {
    for (const { id } of this.openCalls(sessionId))
      this.settleCall(id, "void", { text: null, isError: null, passed: false, reasons: ["canceled"] });
  }

  /** What came of a session: the calls with their answers, and whether they were as expected. */
  results(sessionId: string): object {
    const session = this.#row(sessionId);
    const rows = this.#database
      .prepare("SELECT * FROM calls WHERE session_id = ? ORDER BY number")
      .all(sessionId) as Row[];
    return {
      type: "session_results",
      session_id: sessionId,
      title: text(session, "title"),
      status: text(session, "status"),
      outcome: text(session, "outcome"),
      answer: lastText(this.#lastEvent(sessionId, "agent.message")),
      fault: lastFault(this.#lastEvent(sessionId, "session.error")),
      created_at: timestamp(integer(session, "created_at")),
      finished_at: timestampOrNull(integerOrNull(session, "finished_at")),
      calls: rows.map((row) => {
        const script = JSON.parse(text(row, "script")) as TaskCall;
        const asked = integer(row, "asked_at");
        const answered = integerOrNull(row, "answered_at");
        const flag = (column: string): boolean | null => {
          const value = integerOrNull(row, column);
          return value === null ? null : value === 1;
        };
        return {
          id: text(row, "id"),
          tool: script.tool,
          input: script.input ?? {},
          state: text(row, "state"),
          text: textOrNull(row, "text"),
          is_error: flag("is_error"),
          passed: flag("passed"),
          reasons: JSON.parse(textOrNull(row, "reasons") ?? "[]") as string[],
          asked_at: timestamp(asked),
          duration_ms: answered === null ? null : answered - asked,
        };
      }),
    };
  }

  #lastEvent(sessionId: string, type: string): SessionEvent | undefined {
    const row = this.#database
      .prepare("SELECT body FROM events WHERE session_id = ? AND type = ? ORDER BY number DESC LIMIT 1")
      .get(sessionId, type) as Row | undefined;
    return row === undefined ? undefined : (JSON.parse(text(row, "body")) as SessionEvent);
  }

  delete(id: string): void {
    this.#row(id);
    this.#tasks.delete(id);
    for (const table of ["events", "calls", "scripts"]) {
      this.#database.prepare(`DELETE FROM ${table} WHERE session_id = ?`).run(id);
    }
    this.#database.prepare("DELETE FROM sessions WHERE id = ?").run(id);
  }

  /** Apart from the session, whose row is written with every event. */
  #storeTask(id: string, task: Task): void {
    this.#tasks.delete(id);
    this.#database
      .prepare("INSERT OR REPLACE INTO scripts (session_id, task) VALUES (?, ?)")
      .run(id, JSON.stringify(task));
  }

  #taskOf(id: string, isRunning: boolean): Task {
    const known = this.#tasks.get(id);
    if (known !== undefined) return known;
    const row = this.#database.prepare("SELECT task FROM scripts WHERE session_id = ?").get(id) as Row;
    const task = JSON.parse(text(row, "task")) as Task;
    if (isRunning) this.#tasks.set(id, task);
    return task;
  }

  #row(id: string): Row {
    const row = this.#database.prepare("SELECT * FROM sessions WHERE id = ?").get(id) as Row | undefined;
    if (row === undefined) throw new WireError("not_found_error", `there is no session ${id}`);
    return row;
  }

  #render(row: Row): object {
    return {
      type: "session",
      id: text(row, "id"),
      environment_id: this.#environmentId,
      title: text(row, "title"),
      status: text(row, "status"),
      agent: JSON.parse(text(row, "agent")),
      resources: JSON.parse(text(row, "resources")),
      metadata: JSON.parse(text(row, "metadata")),
      vault_ids: [],
      archived_at: timestampOrNull(integerOrNull(row, "archived_at")),
      created_at: timestamp(integer(row, "created_at")),
      updated_at: timestamp(integer(row, "updated_at")),
    };
  }
}

function readCall(row: Row): CallRecord {
  const passed = integerOrNull(row, "passed");
  return {
    id: text(row, "id"),
    step: integer(row, "step"),
    script: JSON.parse(text(row, "script")) as TaskCall,
    state: text(row, "state") as CallState,
    passed: passed === null ? null : passed === 1,
  };
}

/** What the agent said last. */
function lastText(event: SessionEvent | undefined): string | null {
  const content = event?.["content"] as readonly { readonly text?: string }[] | undefined;
  return content?.map((block) => block.text ?? "").join("\n") ?? null;
}

/** Why a session ended that should not have. */
function lastFault(event: SessionEvent | undefined): string | null {
  const error = event?.["error"] as { message: string; retry_status: { type: string } } | undefined;
  return error?.retry_status.type === "terminal" ? error.message : null;
}
