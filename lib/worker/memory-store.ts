import { createHash } from "node:crypto";
import { type Guarded, leakWords } from "../secrets/leak-guard.ts";
import { describe, statusOf } from "./failure.ts";
import type { WorkerLog } from "./log.ts";
import type { MemoryApi, RemoteMemory } from "./memory-api.ts";
import type { MemoryMount } from "./memory-mounts.ts";
import type { FolderScan, SessionFolders } from "./session-folders.ts";

const marker = ".anthropic-memory-store";
const mostContentBytes = 102_400;
const mostPathBytes = 1024;
const mostSegments = 20;

export interface MemoryStoreOptions {
  readonly api: MemoryApi;
  readonly mount: MemoryMount;
  readonly folders: SessionFolders;
  /** What of a text may leave. */
  readonly check: (text: string) => Promise<Guarded>;
  readonly log: WorkerLog;
  readonly sessionId: string;
  /** Milliseconds that a file must be missing before its memory is deleted. */
  readonly deleteAfterMs: number;
}

/**
 * One memory store and its folder (protocol section 13). A sync compares, path by path, what the server has, what the
 * folder has and what both had last; the server's change wins over the folder's.
 */
export class MemoryStore {
  readonly #options: MemoryStoreOptions;
  readonly #markerSha: string;
  /** What both sides had when they were last known to agree, by path. */
  #known = new Map<string, string>();
  /** What the server would not have; tried again when the file has changed. */
  readonly #refused = new Map<string, string>();
  /** Since when a file has been missing. */
  readonly #missing = new Map<string, number>();
  /** What was sent without an answer: it may have been stored. */
  readonly #sent = new Map<string, string>();

  constructor(options: MemoryStoreOptions) {
    this.#options = options;
    this.#markerSha = sha256(`version 1\n${options.mount.storeId}`);
  }

  /** Makes the folder and fills it. @throws Error: the session cannot be served without it */
  async download(signal: AbortSignal): Promise<void> {
    const { folders, mount } = this.#options;
    await folders.make(mount.folder);
    await this.#fill(signal);
  }

  /**
   * Brings server and folder together.
   *
   * @param isLast the session is over: files that are missing are missing for good
   */
  async sync(isLast: boolean, signal: AbortSignal): Promise<void> {
    const scan = await this.#scan();
    if (scan === "foreign") return this.#warn("the memory folder's marker is gone or altered: it is not synced");
    if (scan === "gone") return this.#recover(signal);
    const remote = await this.#options.api.list("basic", signal);
    remote.delete(marker);
    this.#settleSent(remote);
    // One file that is gone was deleted; all of them at once were lost.
    if (scan.size === 0 && this.#known.size > 1) return this.#recover(signal);
    const deletions = { left: Math.max(8, Math.min(50, Math.floor(this.#known.size / 4))), isLast };
    for (const path of new Set([...remote.keys(), ...scan.keys(), ...this.#known.keys()])) {
      if (signal.aborted) return;
      await this.#syncPath(path, remote.get(path), scan.get(path), deletions, signal);
    }
  }

  /** Uploads what has changed, and nothing else: for a session that did not end well. */
  async push(signal: AbortSignal): Promise<void> {
    if (this.#options.mount.isReadOnly) return;
    const scan = await this.#scan();
    if (scan === "foreign" || scan === "gone") return;
    const changed = [...scan].filter(
      ([path, sha]) => (sha !== this.#known.get(path) || this.#sent.has(path)) && this.#refused.get(path) !== sha,
    );
    if (changed.length === 0) return;
    const remote = await this.#options.api.list("basic", signal);
    this.#settleSent(remote);
    for (const [path, sha] of changed) {
      if (signal.aborted) return;
      const there = remote.get(path);
      if (sha === this.#known.get(path)) continue;
      if (there?.sha === sha) this.#known.set(path, sha);
      else if (there === undefined || there.sha === this.#known.get(path)) await this.#upload(path, sha, there, signal);
      else this.#warn(`${path} was changed on both sides: the server's is kept`);
    }
  }

  async #syncPath(
    path: string,
    remote: RemoteMemory | undefined,
    local: string | undefined,
    deletions: { left: number; readonly isLast: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const known = this.#known.get(path);
    const { isReadOnly } = this.#options.mount;
    if (local !== undefined) this.#missing.delete(path);
    if (remote === undefined) return this.#syncWithoutRemote(path, known, local, signal);
    if (local === undefined && known !== undefined) {
      // Only what was written is known, so it was here and is gone.
      if (remote.sha !== known) {
        this.#missing.delete(path);
        this.#warn(`${path} was deleted here and changed there: it is restored`);
        await this.#pull(path, remote, signal);
      } else if (!isReadOnly) await this.#deleteRemote(path, remote, deletions, signal);
      return;
    }
    if (remote.sha !== known) {
      if (local === remote.sha) this.#known.set(path, remote.sha);
      else {
        if (local !== undefined && local !== known)
          this.#warn(`${path} was changed on both sides: the server's is kept`);
        await this.#pull(path, remote, signal);
      }
      return;
    }
    if (local !== known && local !== undefined && !isReadOnly && this.#refused.get(path) !== local) {
      await this.#upload(path, local, remote, signal);
    }
  }

  /** The server has no such memory: deleted there, or made here. */
  async #syncWithoutRemote(
    path: string,
    known: string | undefined,
    local: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { folders, mount } = this.#options;
    if (local === undefined) {
      this.#missing.delete(path);
      this.#known.delete(path);
    } else if (known !== undefined && local === known) {
      await folders.remove([`${mount.folder}/${path}`]);
      this.#known.delete(path);
    } else if (!mount.isReadOnly && this.#refused.get(path) !== local) {
      this.#known.delete(path);
      await this.#upload(path, local, undefined, signal);
    }
  }

  async #deleteRemote(
    path: string,
    remote: RemoteMemory,
    deletions: { left: number; readonly isLast: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const now = performance.now();
    const since = this.#missing.get(path) ?? now;
    this.#missing.set(path, since);
    if (!deletions.isLast && now - since < this.#options.deleteAfterMs) return;
    if (deletions.left <= 0) return;
    // Looked at once more: the folder may have been lost while this sync went on.
    const scan = await this.#scan();
    if (scan === "foreign" || scan === "gone" || scan.has(path)) return;
    deletions.left -= 1;
    try {
      await this.#options.api.delete(remote.id, remote.sha, signal);
    } catch (error) {
      if (statusOf(error) !== 404) return this.#warn(`${path} could not be deleted there: ${describe(error)}`);
    }
    this.#missing.delete(path);
    this.#known.delete(path);
  }

  async #pull(path: string, listed: RemoteMemory, signal: AbortSignal): Promise<void> {
    try {
      const memory = await this.#options.api.fetch(listed.id, signal);
      await this.#write(path, memory.content ?? "");
      this.#known.set(path, memory.sha);
    } catch (error) {
      // 404: deleted since it was listed; the next sync sees that.
      if (statusOf(error) !== 404) this.#warn(`${path} could not be fetched: ${describe(error)}`);
    }
  }

  async #upload(path: string, sha: string, there: RemoteMemory | undefined, signal: AbortSignal): Promise<void> {
    const { api, folders, mount } = this.#options;
    const text = memoryText(path, await folders.read(mount.folder, path, mostContentBytes));
    if (text === undefined) {
      this.#refused.set(path, sha);
      return this.#warn(`${path} cannot be a memory (its name, size or text): it is not uploaded`);
    }
    const content = await this.#guarded(path, text);
    if (content === null) {
      this.#refused.set(path, sha);
      return;
    }
    // Both sides are to hold the same.
    if (content !== text) await this.#write(path, content);
    this.#sent.set(path, sha256(content));
    try {
      const stored =
        there === undefined
          ? await api.create(path, content, signal)
          : await api.update(there.id, content, there.sha, signal);
      this.#sent.delete(path);
      this.#refused.delete(path);
      this.#known.set(path, stored);
    } catch (error) {
      const status = statusOf(error);
      // Deleted there meanwhile: what is here is the only copy.
      if (status === 404 && there !== undefined) return this.#upload(path, sha, undefined, signal);
      if (status === 400 || status === 413) {
        this.#sent.delete(path);
        this.#refused.set(path, sha);
      }
      this.#warn(`${path} could not be uploaded: ${describe(error)}`);
    }
  }

  /** Null where nothing of it leaves: a name is not rewritten. */
  async #guarded(path: string, text: string): Promise<string | null> {
    const named = await this.#options.check(path);
    const held = await this.#options.check(text);
    const leaks = [...named.leaks, ...held.leaks];
    if (leaks.length === 0) return text;
    const content = named.text === path ? held.text : null;
    const what =
      content === null ? "it is not uploaded" : content === text ? "it is uploaded" : "that is taken out of it";
    this.#warn(`the memory ${named.text ?? "with a secret in its name"} holds ${leakWords(leaks)}: ${what}`);
    return content;
  }

  /** An upload whose answer was lost is no change of another's. */
  #settleSent(remote: ReadonlyMap<string, RemoteMemory>): void {
    for (const [path, sha] of this.#sent) if (remote.get(path)?.sha === sha) this.#known.set(path, sha);
    this.#sent.clear();
  }

  async #recover(signal: AbortSignal): Promise<void> {
    const { folders, mount } = this.#options;
    this.#warn("the memory folder was emptied: it is fetched again");
    await folders.make(mount.folder);
    await this.#fill(signal);
  }

  async #fill(signal: AbortSignal): Promise<void> {
    const { api, folders, mount } = this.#options;
    this.#known = new Map();
    this.#sent.clear();
    this.#missing.clear();
    await folders.write(mount.folder, marker, Buffer.from(`version 1\n${mount.storeId}`));
    for (const [path, memory] of await api.list("full", signal)) {
      if (path === marker) continue;
      try {
        await this.#write(path, memory.content ?? "");
        this.#known.set(path, memory.sha);
      } catch (error) {
        this.#warn(`${path} could not be written: ${describe(error)}`);
      }
    }
  }

  async #write(path: string, content: string): Promise<void> {
    const { folders, mount } = this.#options;
    const parts = path.split("/");
    if (parts.some((part) => part === "" || part === "." || part === "..") || path.includes("\0")) {
      throw new Error("its path would lead elsewhere");
    }
    await folders.write(mount.folder, path, Buffer.from(content));
  }

  /** The folder's files without the marker; `gone` when there is nothing, `foreign` when the marker is not ours. */
  async #scan(): Promise<Map<string, string> | "gone" | "foreign"> {
    const { folders, mount } = this.#options;
    const scan: FolderScan | undefined = await folders.scan(mount.folder);
    if (scan === undefined) return (await folders.exists(mount.folder)) ? "foreign" : "gone";
    const files = new Map(scan);
    const found = files.get(marker);
    files.delete(marker);
    if (found === this.#markerSha) return files;
    return files.size === 0 && found === undefined ? "gone" : "foreign";
  }

  #warn(message: string): void {
    this.#options.log.warn({ session: this.#options.sessionId, store: this.#options.mount.storeId }, message);
  }
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** A file's content as a memory's, when its path and bytes can be one. */
function memoryText(path: string, data: Buffer | undefined): string | undefined {
  const wire = `/${path}`;
  if (data === undefined || Buffer.byteLength(wire) > mostPathBytes) return undefined;
  if (path.split("/").length > mostSegments || wire.normalize("NFC") !== wire) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    return undefined;
  }
}
