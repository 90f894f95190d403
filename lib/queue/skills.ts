import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { HoldfastError } from "../errors.ts";
import { integer, type Row, text } from "./database.ts";
import type { TaskSkill } from "./task.ts";
import { makeId, timestamp, WireError } from "./wire.ts";
import { packFolder } from "./zip-writer.ts";

/** Skill versions and their archives (protocol section 12). */
export class Skills {
  readonly #database: DatabaseSync;
  readonly #now: () => number;

  constructor(database: DatabaseSync, now: () => number) {
    this.#database = database;
    this.#now = now;
  }

  /** Stores a task's skill and gives the reference that goes into the session's agent. */
  add(skill: TaskSkill): object {
    let archive: Uint8Array;
    try {
      archive =
        skill.archive === undefined
          ? packFolder(skill.folder ?? "", basename(skill.name.trim()) || "skill")
          : readFileSync(skill.archive);
    } catch (error) {
      throw new HoldfastError(
        `the skill ${JSON.stringify(skill.name)} cannot be read: ${error instanceof Error ? error.message : error}`,
        {
          code: "ERR_HOLDFAST_TASK_SKILL",
          step: "queue",
          hint: "Name a folder or an archive that exists, relative to the task file.",
          path: skill.archive ?? skill.folder ?? skill.name,
          cause: error,
        },
      );
    }
    const skillId = makeId("skill");
    this.#database
      .prepare(
        "INSERT INTO skill_versions (id, skill_id, name, description, archive, created_at) VALUES (?, ?, ?, ?, ?, ?)",
      )
      .run(makeId("skver"), skillId, skill.name, skill.description ?? "", archive, this.#now());
    return { type: "custom", skill_id: skillId, version: "latest" };
  }

  version(skillId: string, version: string): object {
    const row = this.#row(skillId, version, true);
    return {
      type: "skill_version",
      id: text(row, "id"),
      // Older SDKs know versions by a number, and take the highest for the latest.
      version: text(row, "number"),
      skill_id: skillId,
      name: text(row, "name"),
      description: text(row, "description"),
      created_at: timestamp(integer(row, "created_at")),
    };
  }

  archive(skillId: string, version: string): Uint8Array {
    const archive = this.#row(skillId, version, false)["archive"];
    return archive instanceof Uint8Array ? archive : new Uint8Array();
  }

  /** All versions, newest first: what older SDKs list to find the latest. */
  versions(skillId: string): object {
    const rows = this.#database
      .prepare("SELECT id FROM skill_versions WHERE skill_id = ? ORDER BY number DESC")
      .all(skillId) as Row[];
    return { data: rows.map((row) => this.version(skillId, text(row, "id"))), next_page: null };
  }

  #row(skillId: string, version: string, latestAllowed: boolean): Row {
    const row = (
      latestAllowed && version === "latest"
        ? this.#database
            .prepare("SELECT * FROM skill_versions WHERE skill_id = ? ORDER BY number DESC LIMIT 1")
            .get(skillId)
        : this.#database
            .prepare("SELECT * FROM skill_versions WHERE skill_id = ? AND ? IN (id, CAST(number AS TEXT))")
            .get(skillId, version)
    ) as Row | undefined;
    if (row === undefined) throw new WireError("not_found_error", `there is no version ${version} of skill ${skillId}`);
    return row;
  }
}
