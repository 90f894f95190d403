import type { Anthropic } from "@anthropic-ai/sdk";

/** A memory as far as a sync needs it. `content` only where it was asked for. */
export interface RemoteMemory {
  readonly id: string;
  readonly sha: string;
  readonly content: string | null;
}

/** The calls on one memory store (protocol section 13), paths relative to it. */
export class MemoryApi {
  readonly #client: Anthropic;
  readonly storeId: string;

  constructor(client: Anthropic, storeId: string) {
    this.#client = client;
    this.storeId = storeId;
  }

  async list(view: "basic" | "full", signal: AbortSignal): Promise<Map<string, RemoteMemory>> {
    const found = new Map<string, RemoteMemory>();
    const pages = this.#client.beta.memoryStores.memories.list(
      this.storeId,
      { view, limit: view === "full" ? 20 : 100 },
      { signal },
    );
    for await (const item of pages) {
      // Prefixes are sums of memories, not memories.
      if (item.type !== "memory") continue;
      const { id, content_sha256: sha, path } = item;
      found.set(path.replace(/^\/+/, ""), { id, sha, content: item.content ?? null });
    }
    return found;
  }

  async fetch(id: string, signal: AbortSignal): Promise<RemoteMemory> {
    const item = await this.#client.beta.memoryStores.memories.retrieve(
      id,
      { memory_store_id: this.storeId, view: "full" },
      { signal },
    );
    return { id: item.id, sha: item.content_sha256, content: item.content ?? null };
  }

  /** Gives the hash of what is stored now. */
  async create(path: string, content: string, signal: AbortSignal): Promise<string> {
    const body = { path: `/${path}`, content };
    const item = await this.#client.beta.memoryStores.memories.create(this.storeId, body, { signal });
    return item.content_sha256;
  }

  /** @param known the hash that the memory must still have */
  async update(id: string, content: string, known: string, signal: AbortSignal): Promise<string> {
    const item = await this.#client.beta.memoryStores.memories.update(
      id,
      {
        memory_store_id: this.storeId,
        content,
        precondition: { type: "content_sha256", content_sha256: known },
      },
      { signal },
    );
    return item.content_sha256;
  }

  async delete(id: string, known: string, signal: AbortSignal): Promise<void> {
    await this.#client.beta.memoryStores.memories.delete(
      id,
      { memory_store_id: this.storeId, expected_content_sha256: known },
      { signal },
    );
  }
}
