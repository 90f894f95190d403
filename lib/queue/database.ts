import { chmodSync, closeSync, mkdirSync, openSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { HoldfastError } from "../errors.ts";

const schemaVersion = 1;

const schema = `
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE sessions (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, status TEXT NOT NULL,
  agent TEXT NOT NULL, resources TEXT NOT NULL, metadata TEXT NOT NULL, source TEXT,
  step INTEGER NOT NULL DEFAULT 0, outcome TEXT NOT NULL DEFAULT 'running', interrupted INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, archived_at INTEGER, finished_at INTEGER
) STRICT;
CREATE TABLE scripts (session_id TEXT PRIMARY KEY, task TEXT NOT NULL) STRICT;
CREATE INDEX sessions_source ON sessions (source);
CREATE TABLE events (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, session_id TEXT NOT NULL, type TEXT NOT NULL,
  body TEXT NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX events_session ON events (session_id, number);
CREATE TABLE calls (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, session_id TEXT NOT NULL, step INTEGER NOT NULL,
  script TEXT NOT NULL, state TEXT NOT NULL, text TEXT, is_error INTEGER, passed INTEGER, reasons TEXT,
  asked_at INTEGER NOT NULL, answered_at INTEGER
) STRICT;
CREATE INDEX calls_session ON calls (session_id, state, passed, number);
CREATE TABLE work (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, session_id TEXT NOT NULL, type TEXT NOT NULL,
  state TEXT NOT NULL, metadata TEXT NOT NULL DEFAULT '{}', claim INTEGER NOT NULL DEFAULT 0,
  handed_out_at INTEGER, lease_until INTEGER, ttl_ms INTEGER, last_heartbeat TEXT,
  created_at INTEGER NOT NULL, acknowledged_at INTEGER, started_at INTEGER, latest_heartbeat_at INTEGER,
  stop_requested_at INTEGER, stopped_at INTEGER
) STRICT;
CREATE INDEX work_state ON work (state, number);
CREATE TABLE tokens (hash TEXT PRIMARY KEY, work_id TEXT NOT NULL, session_id TEXT NOT NULL, claim INTEGER NOT NULL)
  STRICT;
CREATE TABLE pollers (worker_id TEXT PRIMARY KEY, seen_at INTEGER NOT NULL) STRICT;
CREATE TABLE skill_versions (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, skill_id TEXT NOT NULL, name TEXT NOT NULL,
  description TEXT NOT NULL, archive BLOB NOT NULL, created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE memory_stores (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_at INTEGER NOT NULL) STRICT;
CREATE TABLE memories (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, store_id TEXT NOT NULL, path TEXT NOT NULL,
  content TEXT NOT NULL, sha256 TEXT NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
  UNIQUE (store_id, path)
) STRICT;
`;

/**
 * Opens the queue's state.
 *
 * @param file the state file, made with mode 0600 when missing; absent: in memory
 * @throws HoldfastError `ERR_HOLDFAST_QUEUE_STATE` when it is not a state file of this version
 */
export function openDatabase(file: string | undefined): DatabaseSync {
  // Loaded here and not at the top: only this command needs it, and older Nodes print a warning for it.
  const sqlite = createRequire(import.meta.url)("node:sqlite") as typeof import("node:sqlite");
  if (file === undefined) {
    const database = new sqlite.DatabaseSync(":memory:");
    database.exec(schema);
    return database;
  }
  let database: DatabaseSync | undefined;
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    closeSync(openSync(file, "a", 0o600));
    chmodSync(file, 0o600);
    database = new sqlite.DatabaseSync(file);
    // One queue for one file: two would play its sessions twice.
    database.exec("PRAGMA busy_timeout = 2000; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;");
    database.exec("PRAGMA synchronous = NORMAL; BEGIN EXCLUSIVE; COMMIT;");
    const version = Number(database.prepare("PRAGMA user_version").get()?.["user_version"] ?? 0);
    if (version === 0) database.exec(`BEGIN; ${schema} PRAGMA user_version = ${schemaVersion}; COMMIT;`);
    else if (version !== schemaVersion) throw new Error(`it is of version ${version}, not ${schemaVersion}`);
    return database;
  } catch (error) {
    database?.close();
    const why = error instanceof Error ? error.message : String(error);
    const isLocked = why === "database is locked";
    throw new HoldfastError(
      `the queue's state file ${file} cannot be used: ${isLocked ? "another queue has it open" : why}`,
      {
        code: "ERR_HOLDFAST_QUEUE_STATE",
        step: "queue",
        hint: isLocked
          ? "End the other queue first, or give another --state file."
          : "Give another --state file, or remove this one if its sessions are no longer needed.",
        path: file,
        cause: error,
      },
    );
  }
}

/** Runs `body` in one transaction; transactions do not nest, an inner one joins the outer. */
export function inTransaction<T>(database: DatabaseSync, body: () => T): T {
  if (database.isTransaction) return body();
  database.exec("BEGIN IMMEDIATE");
  try {
    const result = body();
    database.exec("COMMIT");
    return result;
  } catch (error) {
    database.exec("ROLLBACK");
    throw error;
  }
}

/** One row as node:sqlite gives it. */
export type Row = Record<string, string | number | bigint | null | Uint8Array>;

export function text(row: Row, column: string): string {
  return String(row[column] ?? "");
}

export function integer(row: Row, column: string): number {
  return Number(row[column] ?? 0);
}

export function integerOrNull(row: Row, column: string): number | null {
  const value = row[column];
  return value === null || value === undefined ? null : Number(value);
}

export function textOrNull(row: Row, column: string): string | null {
  const value = row[column];
  return value === null || value === undefined ? null : String(value);
}
