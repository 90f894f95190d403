import { createHash } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import { inTransaction, integer, type Row, text } from "./database.ts";
import type { TaskMemory } from "./task.ts";
import { makeId, timestamp, WireError } from "./wire.ts";

const maxPathBytes = 1024;
const maxSegments = 20;
const maxContentBytes = 102_400;

/** Memory stores (protocol section 13). A store belongs to the queue, not to a session: tasks share it by name. */
export class Memories {
  readonly #database: DatabaseSync;
  readonly #now: () => number;

  constructor(database: DatabaseSync, now: () => number) {
    this.#database = database;
    this.#now = now;
  }

  /** Finds or makes a task's store, adds its memories where they are missing, and gives the session's resource. */
  attach(memory: TaskMemory): object {
    return inTransaction(this.#database, () => {
      const found = this.#database.prepare("SELECT id FROM memory_stores WHERE name = ?").get(memory.name);
      const id = found === undefined ? makeId("memstore") : text(found as Row, "id");
      if (found === undefined) {
        this.#database
          .prepare("INSERT INTO memory_stores (id, name, created_at) VALUES (?, ?, ?)")
          .run(id, memory.name, this.#now());
      }
      for (const [path, content] of Object.entries(memory.memories ?? {})) {
        if (this.#byPath(id, path) === undefined) this.create(id, { path, content });
      }
      return {
        type: "memory_store",
        memory_store_id: id,
        name: memory.name,
        mount_path: memory.mount_path ?? null,
        access: memory.access ?? "read_write",
        description: memory.description ?? null,
        instructions: memory.instructions ?? null,
      };
    });
  }

  list(storeId: string, full: boolean, limit: number, after: number): object {
    this.#requireStore(storeId);
    const rows = this.#database
      .prepare("SELECT * FROM memories WHERE store_id = ? AND number > ? ORDER BY number LIMIT ?")
      .all(storeId, after, limit + 1) as Row[];
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    return {
      data: page.map((row) => render(row, full)),
      next_page: rows.length > limit && last !== undefined ? String(integer(last, "number")) : null,
    };
  }

  get(storeId: string, id: string, full: boolean): object {
    return render(this.#row(storeId, id), full);
  }

  create(storeId: string, body: { path?: unknown; content?: unknown }): object {
    this.#requireStore(storeId);
    const path = checkPath(body.path);
    const content = checkContent(body.content);
    if (this.#byPath(storeId, path) !== undefined) {
      throw new WireError("conflict_error", `there is already a memory at ${path}`, {
        error_code: "memory_path_conflict_error",
      });
    }
    const id = makeId("mem");
    const now = this.#now();
    this.#database
      .prepare(
        "INSERT INTO memories (id, store_id, path, content, sha256, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
      )
      .run(id, storeId, path, content, sha256(content), now, now);
    return this.get(storeId, id, true);
  }

  update(storeId: string, id: string, body: { content?: unknown; precondition?: unknown }): object {
    const row = this.#row(storeId, id);
    const content = checkContent(body.content);
    const precondition = body.precondition as { content_sha256?: unknown } | undefined;
    if (precondition !== undefined && precondition.content_sha256 !== text(row, "sha256")) throw changed();
    this.#database
      .prepare("UPDATE memories SET content = ?, sha256 = ?, updated_at = ? WHERE id = ?")
      .run(content, sha256(content), this.#now(), id);
    return this.get(storeId, id, true);
  }

  delete(storeId: string, id: string, expected: string | undefined): object {
    const row = this.#row(storeId, id);
    if (expected !== undefined && expected !== text(row, "sha256")) throw changed();
    this.#database.prepare("DELETE FROM memories WHERE id = ?").run(id);
    return { type: "memory_deleted", id };
  }

  #byPath(storeId: string, path: string): Row | undefined {
    return this.#database.prepare("SELECT id FROM memories WHERE store_id = ? AND path = ?").get(storeId, path) as
      | Row
      | undefined;
  }

  #requireStore(id: string): void {
    if (this.#database.prepare("SELECT id FROM memory_stores WHERE id = ?").get(id) === undefined) {
      throw new WireError("not_found_error", `there is no memory store ${id}`);
    }
  }

  #row(storeId: string, id: string): Row {
    const row = this.#database.prepare("SELECT * FROM memories WHERE store_id = ? AND id = ?").get(storeId, id);
    if (row === undefined) throw new WireError("not_found_error", `there is no memory ${id}`);
    return row as Row;
  }
}

function changed(): WireError {
  return new WireError("conflict_error", "the memory has changed", { error_code: "memory_precondition_failed_error" });
}

function sha256(content: string): string {
  return createHash("sha256").update(content).digest("hex");
}

function checkPath(path: unknown): string {
  const refuse = (why: string): WireError => new WireError("invalid_request_error", `path: ${why}`);
  if (typeof path !== "string" || !path.startsWith("/") || path.endsWith("/")) throw refuse("must be /a/path");
  const segments = path.slice(1).split("/");
  if (segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
    throw refuse("has an empty, . or .. segment");
  }
  if (segments.length > maxSegments) throw refuse(`has more than ${maxSegments} segments`);
  if (Buffer.byteLength(path) > maxPathBytes) throw refuse(`is longer than ${maxPathBytes} bytes`);
  if (path.normalize("NFC") !== path) throw refuse("is not in Unicode normal form C");
  return path;
}

function checkContent(content: unknown): string {
  if (typeof content !== "string" || !content.isWellFormed()) {
    throw new WireError("invalid_request_error", "content: must be text in UTF-8");
  }
  if (Buffer.byteLength(content) > maxContentBytes) {
    throw new WireError("request_too_large", `content: is larger than ${maxContentBytes} bytes`);
  }
  return content;
}

function render(row: Row, full: boolean): object {
  const content = text(row, "content");
  return {
    type: "memory",
    id: text(row, "id"),
    memory_store_id: text(row, "store_id"),
    path: text(row, "path"),
    content: full ? content : null,
    content_sha256: text(row, "sha256"),
    content_size_bytes: Buffer.byteLength(content),
    created_at: timestamp(integer(row, "created_at")),
    updated_at: timestamp(integer(row, "updated_at")),
  };
}
