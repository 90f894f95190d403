import type { DatabaseSync } from "node:sqlite";
import { inTransaction, integer, integerOrNull, type Row, text, textOrNull } from "./database.ts";
import { credentialHash, makeCredential, makeId, timestamp, timestampOrNull, WireError } from "./wire.ts";

export type WorkState = "queued" | "starting" | "active" | "stopping" | "stopped";

/** Who makes a call for an item: the environment key, an operator, or the holder of one claim's token. */
export type Caller =
  | { readonly kind: "environment" }
  | { readonly kind: "operator" }
  | { readonly kind: "session"; readonly workId: string; readonly sessionId: string; readonly claim: number };

export interface WorkItemsOptions {
  readonly database: DatabaseSync;
  readonly environmentId: string;
  /** How long a lease lasts after an acknowledgement or a heartbeat. */
  readonly leaseTtlMs: number;
  /** How long a handed-out item waits for its acknowledgement when the poll does not say. */
  readonly reclaimMs: number;
  readonly now: () => number;
  /** Called when an item becomes available. */
  readonly onQueued: () => void;
  /** Called when a worker has taken a session's item. */
  readonly onTaken: (sessionId: string) => void;
  /** Called when it has given it back for good; isAsked: because an operator wanted it. */
  readonly onReleased: (sessionId: string, isAsked: boolean) => void;
}

/** The queue proper: items, their leases and their tokens (protocol sections 3 and 4). */
export class WorkItems {
  readonly #options: WorkItemsOptions;
  readonly #database: DatabaseSync;
  #lastHeartbeat = 0;

  constructor(options: WorkItemsOptions) {
    this.#options = options;
    this.#database = options.database;
  }

  /** Queues an item. A session that already has one waiting or in work gets no second. */
  enqueue(sessionId: string, type: "session" | "healthcheck" | (string & {}) = "session"): string {
    const waiting = this.#database
      .prepare("SELECT id FROM work WHERE session_id = ? AND type = ? AND state <> 'stopped'")
      .get(sessionId, type);
    if (waiting !== undefined) return text(waiting as Row, "id");
    const id = makeId("work");
    this.#database
      .prepare("INSERT INTO work (id, session_id, type, state, created_at) VALUES (?, ?, ?, 'queued', ?)")
      .run(id, sessionId, type, this.#options.now());
    this.#options.onQueued();
    return id;
  }

  /** Takes a session's item that nobody has claimed off the queue. */
  forget(sessionId: string): void {
    this.#database.prepare("DELETE FROM work WHERE session_id = ? AND state = 'queued'").run(sessionId);
  }

  /** Puts items whose lease ran out back to the queue. Returns how many. */
  expireLeases(): number {
    const now = this.#options.now();
    const stopped = this.#database
      .prepare("UPDATE work SET state = 'stopped', stopped_at = ? WHERE state = 'stopping' AND lease_until <= ?")
      .run(now, now);
    const expired = this.#database
      .prepare(
        `UPDATE work SET state = 'queued', claim = claim + 1, handed_out_at = NULL, lease_until = NULL,
           last_heartbeat = NULL, acknowledged_at = NULL, started_at = NULL, latest_heartbeat_at = NULL
         WHERE state IN ('starting', 'active') AND lease_until <= ?`,
      )
      .run(now);
    if (expired.changes > 0) this.#options.onQueued();
    return Number(expired.changes) + Number(stopped.changes);
  }

  /** Hands the oldest available item out, with a secret of its own; null when there is none. */
  poll(workerId: string | undefined, reclaimMs: number | undefined): object | null {
    const now = this.#options.now();
    return inTransaction(this.#database, () => {
      if (workerId !== undefined) {
        this.#database.prepare("INSERT OR REPLACE INTO pollers (worker_id, seen_at) VALUES (?, ?)").run(workerId, now);
      }
      this.expireLeases();
      const row = this.#database
        .prepare(
          `SELECT * FROM work WHERE state = 'queued' AND (handed_out_at IS NULL OR handed_out_at <= ?)
           ORDER BY number LIMIT 1`,
        )
        .get(now - (reclaimMs ?? this.#options.reclaimMs)) as Row | undefined;
      if (row === undefined) return null;
      const id = text(row, "id");
      const claim = integer(row, "claim") + 1;
      const token = makeCredential("sk-ant-req-");
      this.#database.prepare("UPDATE work SET handed_out_at = ?, claim = ? WHERE id = ?").run(now, claim, id);
      this.#database
        .prepare("INSERT INTO tokens (hash, work_id, session_id, claim) VALUES (?, ?, ?, ?)")
        .run(credentialHash(token), id, text(row, "session_id"), claim);
      const secret = Buffer.from(JSON.stringify({ sessions_token: token })).toString("base64url");
      return { ...this.#render(row), secret };
    });
  }

  ack(id: string): object {
    return inTransaction(this.#database, () => {
      const now = this.#options.now();
      this.expireLeases();
      const row = this.#require(id);
      if (text(row, "state") !== "queued" || integerOrNull(row, "handed_out_at") === null) {
        throw new WireError("conflict_error", `work item ${id} is not waiting for an acknowledgement`);
      }
      this.#database
        .prepare("UPDATE work SET state = 'starting', acknowledged_at = ?, lease_until = ?, ttl_ms = ? WHERE id = ?")
        .run(now, now + this.#options.leaseTtlMs, this.#options.leaseTtlMs, id);
      if (text(row, "type") === "session") this.#options.onTaken(text(row, "session_id"));
      return this.#render(this.#require(id));
    });
  }

  /** Whether a worker has the session now. */
  isHeld(sessionId: string): boolean {
    this.expireLeases();
    const found = this.#database
      .prepare("SELECT 1 FROM work WHERE session_id = ? AND state IN ('starting', 'active') LIMIT 1")
      .get(sessionId);
    return found !== undefined;
  }

  /** Extends a lease by compare-and-set on the previous heartbeat (protocol section 3.4). */
  heartbeat(id: string, caller: Caller, expected: string | undefined, desiredTtlSeconds: number | undefined): object {
    return inTransaction(this.#database, () => {
      const now = this.#options.now();
      this.expireLeases();
      const row = this.#require(id);
      const state = text(row, "state") as WorkState;
      const last = textOrNull(row, "last_heartbeat");
      const ttlMs = Math.min(Math.max((desiredTtlSeconds ?? 0) * 1000 || this.#options.leaseTtlMs, 1), 3_600_000);
      if (state === "stopping" || state === "stopped") {
        return {
          type: "work_heartbeat",
          last_heartbeat: last ?? timestamp(now),
          lease_extended: false,
          state,
          ttl_seconds: ttlMs / 1000,
        };
      }
      const held = state !== "queued" && (caller.kind !== "session" || caller.claim === integer(row, "claim"));
      const matches = expected === undefined || (expected === "NO_HEARTBEAT" ? last === null : expected === last);
      if (!held || !matches) {
        throw new WireError("precondition_error", "the stored heartbeat is not the expected one", {
          error_code: "heartbeat_precondition_failed",
          current_state: { state, last_heartbeat: last, lease_extended: false, ttl_seconds: ttlMs / 1000 },
        });
      }
      // Two beats in one millisecond must still differ.
      this.#lastHeartbeat = Math.max(now, this.#lastHeartbeat + 1);
      const beat = timestamp(this.#lastHeartbeat);
      this.#database
        .prepare(
          `UPDATE work SET state = 'active', last_heartbeat = ?, latest_heartbeat_at = ?, lease_until = ?, ttl_ms = ?,
             started_at = COALESCE(started_at, ?) WHERE id = ?`,
        )
        .run(beat, now, now + ttlMs, ttlMs, now, id);
      return {
        type: "work_heartbeat",
        last_heartbeat: beat,
        lease_extended: true,
        state: "active",
        ttl_seconds: ttlMs / 1000,
      };
    });
  }

  stop(id: string, caller: Caller, force: boolean): object {
    return inTransaction(this.#database, () => {
      const now = this.#options.now();
      this.expireLeases();
      const row = this.#require(id);
      const state = text(row, "state") as WorkState;
      if (state === "stopped") throw new WireError("conflict_error", `work item ${id} has already stopped`);
      if (caller.kind === "session" && caller.claim !== integer(row, "claim")) {
        throw new WireError("conflict_error", `work item ${id} is no longer held by the caller`);
      }
      const next: WorkState = force || state === "queued" ? "stopped" : "stopping";
      this.#database
        .prepare(
          `UPDATE work SET state = ?, stop_requested_at = COALESCE(stop_requested_at, ?), stopped_at = ? WHERE id = ?`,
        )
        .run(next, now, next === "stopped" ? now : null, id);
      if (next === "stopped" && text(row, "type") === "session")
        this.#options.onReleased(text(row, "session_id"), state === "stopping" || caller.kind === "operator");
      return this.#render(this.#require(id));
    });
  }

  get(id: string): object {
    this.expireLeases();
    return this.#render(this.#require(id));
  }

  /** Merges metadata; a null value deletes its key. */
  updateMetadata(id: string, changes: Readonly<Record<string, string | null>>): object {
    return inTransaction(this.#database, () => {
      const metadata = JSON.parse(text(this.#require(id), "metadata")) as Record<string, string>;
      for (const [key, value] of Object.entries(changes)) {
        if (value === null) delete metadata[key];
        else metadata[key] = value;
      }
      this.#database.prepare("UPDATE work SET metadata = ? WHERE id = ?").run(JSON.stringify(metadata), id);
      return this.#render(this.#require(id));
    });
  }

  list(limit: number, after: number): { data: object[]; next_page: string | null } {
    this.expireLeases();
    const rows = this.#database
      .prepare("SELECT * FROM work WHERE number > ? ORDER BY number LIMIT ?")
      .all(after, limit + 1) as Row[];
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    return {
      data: page.map((row) => this.#render(row)),
      next_page: rows.length > limit && last !== undefined ? String(integer(last, "number")) : null,
    };
  }

  stats(): object {
    this.expireLeases();
    const now = this.#options.now();
    const count = (where: string): number =>
      integer(this.#database.prepare(`SELECT COUNT(*) AS n FROM work WHERE ${where}`).get() as Row, "n");
    const oldest = this.#database.prepare("SELECT MIN(created_at) AS at FROM work WHERE state = 'queued'").get() as Row;
    const polling = this.#database
      .prepare("SELECT COUNT(*) AS n FROM pollers WHERE seen_at > ?")
      .get(now - 30_000) as Row;
    return {
      type: "work_queue_stats",
      depth: count("state = 'queued'"),
      pending: count("state = 'queued' AND handed_out_at IS NOT NULL"),
      oldest_queued_at: timestampOrNull(integerOrNull(oldest, "at")),
      workers_polling: integer(polling, "n"),
    };
  }

  /** Whether a token belongs to the claim that holds its item now. */
  holds(caller: Caller): boolean {
    if (caller.kind !== "session") return true;
    this.expireLeases();
    const row = this.#database.prepare("SELECT claim FROM work WHERE id = ?").get(caller.workId) as Row | undefined;
    return row !== undefined && integer(row, "claim") === caller.claim;
  }

  /** The claim that a credential's hash stands for. */
  findToken(hash: string): Caller | undefined {
    const row = this.#database.prepare("SELECT * FROM tokens WHERE hash = ?").get(hash) as Row | undefined;
    if (row === undefined) return undefined;
    return {
      kind: "session",
      workId: text(row, "work_id"),
      sessionId: text(row, "session_id"),
      claim: integer(row, "claim"),
    };
  }

  #require(id: string): Row {
    const row = this.#database.prepare("SELECT * FROM work WHERE id = ?").get(id) as Row | undefined;
    if (row === undefined) throw new WireError("not_found_error", `there is no work item ${id}`);
    return row;
  }

  #render(row: Row): object {
    const at = (column: string): string | null => timestampOrNull(integerOrNull(row, column));
    return {
      type: "work",
      id: text(row, "id"),
      environment_id: this.#options.environmentId,
      data: { type: text(row, "type"), id: text(row, "session_id") },
      secret: null,
      state: text(row, "state"),
      metadata: JSON.parse(text(row, "metadata")),
      created_at: at("created_at"),
      acknowledged_at: at("acknowledged_at"),
      started_at: at("started_at"),
      latest_heartbeat_at: at("latest_heartbeat_at"),
      stop_requested_at: at("stop_requested_at"),
      stopped_at: at("stopped_at"),
    };
  }
}
