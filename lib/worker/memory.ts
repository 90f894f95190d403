import type { Anthropic } from "@anthropic-ai/sdk";
import type { Guarded } from "../secrets/leak-guard.ts";
import { describe } from "./failure.ts";
import type { WorkerLog } from "./log.ts";
import { MemoryApi } from "./memory-api.ts";
import type { MemoryMount } from "./memory-mounts.ts";
import { MemoryStore } from "./memory-store.ts";
import type { SessionFolders } from "./session-folders.ts";
import { settlesWithin, type WorkerTimings } from "./timings.ts";

export interface SessionMemoriesOptions {
  /** Carrying a sessions token: nothing else is accepted. */
  readonly client: Anthropic;
  readonly sessionId: string;
  readonly mounts: readonly MemoryMount[];
  readonly folders: SessionFolders;
  /** What of a text may leave. */
  readonly check: (text: string) => Promise<Guarded>;
  readonly log: WorkerLog;
  readonly timings: WorkerTimings;
}

/** A session's memory stores, downloaded, kept in step, and brought back (protocol section 13). */
export class SessionMemories {
  readonly #options: SessionMemoriesOptions;
  readonly #stores: readonly MemoryStore[];
  #lastSync = 0;
  #syncing: Promise<void> = Promise.resolve();
  readonly #stopped = new AbortController();
  #isDownloaded = false;

  constructor(options: SessionMemoriesOptions) {
    this.#options = options;
    const { client, folders, check, log, sessionId } = options;
    this.#stores = options.mounts.map(
      (mount) =>
        new MemoryStore({
          api: new MemoryApi(client, mount.storeId),
          mount,
          folders,
          check,
          log,
          sessionId,
          deleteAfterMs: options.timings.memoryDelete,
        }),
    );
  }

  /**
   * Makes the stores' folders and fills them.
   *
   * @throws Error when one cannot be had: the session was told of it, so it is not served without it
   */
  async download(signal: AbortSignal): Promise<void> {
    for (const { folder } of this.#options.mounts) {
      // A private folder of the sandbox is there already, and empty.
      const scan = await this.#options.folders.scan(folder);
      if (scan === undefined ? await this.#options.folders.exists(folder) : scan.size > 0) {
        throw new Error(`something is at the memory store's path already: ${folder}`);
      }
    }
    for (const store of this.#stores) await store.download(signal);
    this.#lastSync = performance.now();
    this.#isDownloaded = true;
  }

  /** After a call: syncs when it is time, without keeping the next call waiting. */
  syncIfDue(): void {
    if (!this.#isDownloaded || performance.now() - this.#lastSync < this.#options.timings.memorySync) return;
    this.#lastSync = performance.now();
    void this.#queue((store) => store.sync(false, this.#stopped.signal));
  }

  /** Resolves when no sync is under way. */
  async settled(): Promise<void> {
    await this.#syncing;
  }

  /**
   * The last sync after a clean end, and after every end an upload of what changed.
   *
   * @param isHurried the worker is ending and has little time
   */
  async finish(isClean: boolean, isHurried: boolean): Promise<void> {
    if (!this.#isDownloaded || this.#stores.length === 0) return;
    const { memoryFinal, memoryHurried } = this.#options.timings;
    this.#stopped.abort();
    await settlesWithin(this.#syncing, isHurried ? 2000 : memoryFinal);
    if (isClean) await this.#bounded(memoryFinal, "last sync", (store, signal) => store.sync(true, signal));
    await this.#bounded(isHurried ? memoryHurried : memoryFinal, "last upload", (store, signal) => store.push(signal));
  }

  async #bounded(
    ms: number,
    what: string,
    act: (store: MemoryStore, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const cut = new AbortController();
    this.#syncing = Promise.resolve();
    const work = this.#queue((store) => act(store, cut.signal));
    if (await settlesWithin(work, ms)) return;
    cut.abort();
    this.#options.log.warn({ session: this.#options.sessionId }, `the memory stores' ${what} was cut off`);
  }

  /** One at a time: a sync works on what the one before it has learnt. */
  #queue(act: (store: MemoryStore) => Promise<void>): Promise<void> {
    this.#syncing = this.#syncing.then(async () => {
      for (const store of this.#stores) {
        try {
          await act(store);
        } catch (error) {
          this.#options.log.warn({ session: this.#options.sessionId, error: describe(error) }, "a memory sync failed");
        }
      }
    });
    return this.#syncing;
  }
}
