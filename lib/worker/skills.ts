import { basename, join } from "node:path";
import type { Anthropic } from "@anthropic-ai/sdk";
import { readSkillArchive } from "./archive/skill-archive.ts";
import { describe } from "./failure.ts";
import type { WorkerLog } from "./log.ts";
import type { SessionFolders } from "./session-folders.ts";

const mostArchiveBytes = 64 * 1024 * 1024;
const mostSkills = 200;

export interface SkillsOptions {
  readonly client: Anthropic;
  readonly sessionId: string;
  /** `agent.skills` as the server sent it. */
  readonly skills: unknown;
  readonly folders: SessionFolders;
  /** The workspace's path inside. */
  readonly workdir: string;
  readonly log: WorkerLog;
  readonly signal: AbortSignal;
}

/**
 * Fetches the skills of a session's agent and puts each below `skills/` of the workspace (protocol section 12). One that
 * fails is passed over with a warning.
 *
 * @returns the folders that were made, to be removed when the session ends
 */
export async function installSkills(options: SkillsOptions): Promise<string[]> {
  const { log, sessionId, signal } = options;
  const wanted: unknown[] = Array.isArray(options.skills) ? options.skills : [];
  const made: string[] = [];
  if (wanted.length > mostSkills) log.warn({ session: sessionId }, `only the first ${mostSkills} skills are taken`);
  for (const skill of wanted.slice(0, mostSkills)) {
    if (signal.aborted) break;
    try {
      await installSkill(skill, options, made);
    } catch (error) {
      if (signal.aborted) break;
      log.warn({ session: sessionId, error: describe(error) }, "a skill was passed over");
    }
  }
  return made;
}

async function installSkill(skill: unknown, options: SkillsOptions, made: string[]): Promise<void> {
  const { client, folders, log, sessionId, signal } = options;
  const { skill_id: skillId, version: wanted } = (skill ?? {}) as { skill_id?: unknown; version?: unknown };
  if (typeof skillId !== "string" || typeof wanted !== "string") throw new Error("it has no id or no version");
  const version = await client.beta.skills.versions.retrieve(wanted, { skill_id: skillId }, { signal });
  const name = folderName(version.name, skillId);
  // `latest` is known to the first call only.
  const response = await client.beta.skills.versions.download(version.id, { skill_id: skillId }, { signal });
  const files = readSkillArchive(await readBounded(response));
  const root = join(options.workdir, "skills");
  const folder = join(root, name);
  if (!made.includes(folder)) made.push(folder);
  await folders.makeFresh(folder);
  for (const file of files) await folders.write(folder, file.path, file.data);
  await folders.setModes(new Map(files.map((file) => [join(folder, file.path), file.executable ? 0o755 : 0o644])));
  log.info({ session: sessionId, skill: name, files: files.length }, "skill in place");
}

/** A skill's folder: the last component of its name, or its id, which must then be one. */
export function folderName(name: unknown, skillId: string): string {
  const last = typeof name === "string" ? basename(name.trim()) : "";
  for (const candidate of [last, skillId]) {
    const isOne = candidate !== "" && candidate !== "." && candidate !== ".." && !/[/\0]/.test(candidate);
    if (isOne && candidate.isWellFormed() && Buffer.byteLength(candidate) <= 255) return candidate;
  }
  throw new Error("neither its name nor its id is a folder's name");
}

async function readBounded(response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > mostArchiveBytes) throw new Error(`its archive is larger than ${mostArchiveBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
