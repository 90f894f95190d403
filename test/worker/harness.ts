import type { ExecutionContext } from "ava";
import { secretsInUse } from "../../lib/secrets/secret-search.ts";
import { createClient } from "../../lib/worker/client.ts";
import { Redactor } from "../../lib/worker/credentials.ts";
import type { ItemSettings } from "../../lib/worker/item.ts";
import type { LogFields, WorkerLog } from "../../lib/worker/log.ts";
import type { PlaceRequest, SessionPlace } from "../../lib/worker/place.ts";
import type { FolderScan, SessionFolders } from "../../lib/worker/session-folders.ts";
import { protocolTimings, type WorkerTimings } from "../../lib/worker/timings.ts";
import { runWorker, type WorkerOptions } from "../../lib/worker/worker.ts";
import { environmentKey, FaultyServer } from "./faulty-server.ts";

/** The protocol's numbers, so short that nothing has to be waited for. */
export const fast: WorkerTimings = {
  ...protocolTimings,
  heartbeatShortest: 20,
  heartbeatFirst: 3000,
  assumedTtl: 9000,
  streamBackoff: 10,
  streamBackoffMost: 50,
  postBackoff: 10,
  postBackoffMost: 40,
  callGrace: 100,
  drain: 2000,
  memorySync: 0,
  memoryDelete: 0,
  memoryFinal: 3000,
  memoryHurried: 1000,
  stop: 8000,
};

export interface Call {
  readonly name: string;
  readonly input: unknown;
  readonly signal: AbortSignal;
}

/** Log lines as they were said. */
export class KeptLog implements WorkerLog {
  readonly lines: { level: string; fields: LogFields; message: string }[] = [];

  info(fields: LogFields, message: string): void {
    this.lines.push({ level: "info", fields, message });
  }

  warn(fields: LogFields, message: string): void {
    this.lines.push({ level: "warn", fields, message });
  }

  error(fields: LogFields, message: string): void {
    this.lines.push({ level: "error", fields, message });
  }

  get text(): string {
    return JSON.stringify(this.lines);
  }
}

/** A session's folders in memory. */
export class MemoryFolders implements SessionFolders {
  readonly folders: Set<string> = new Set();
  readonly files: Map<string, { data: Buffer; mode: number }> = new Map();

  async exists(path: string): Promise<boolean> {
    return this.folders.has(path) || this.files.has(path);
  }

  async make(path: string): Promise<void> {
    this.folders.add(path);
  }

  async makeFresh(path: string): Promise<void> {
    await this.remove([path]);
    this.folders.add(path);
  }

  async remove(paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      this.folders.delete(path);
      for (const file of [...this.files.keys()]) {
        if (file === path || file.startsWith(`${path}/`)) this.files.delete(file);
      }
    }
  }

  async setModes(modes: ReadonlyMap<string, number>): Promise<void> {
    for (const [path, mode] of modes) {
      const file = this.files.get(path);
      if (file !== undefined) this.files.set(path, { ...file, mode });
    }
  }

  async scan(root: string): Promise<FolderScan | undefined> {
    if (!this.folders.has(root)) return undefined;
    const { createHash } = await import("node:crypto");
    const found = new Map<string, string>();
    for (const [path, { data }] of this.files) {
      if (path.startsWith(`${root}/`)) {
        found.set(path.slice(root.length + 1), createHash("sha256").update(data).digest("hex"));
      }
    }
    return found;
  }

  async read(root: string, path: string, mostBytes: number): Promise<Buffer | undefined> {
    const data = this.files.get(`${root}/${path}`)?.data;
    return data === undefined || data.length > mostBytes ? undefined : data;
  }

  async write(root: string, path: string, data: Uint8Array): Promise<void> {
    if (!this.folders.has(root)) throw new Error(`${root} is not there`);
    this.files.set(`${root}/${path}`, { data: Buffer.from(data), mode: 0o600 });
  }

  text(path: string): string | undefined {
    return this.files.get(path)?.data.toString();
  }
}

export interface Harness {
  readonly server: FaultyServer;
  readonly calls: Call[];
  readonly log: KeptLog;
  readonly folders: MemoryFolders;
  readonly places: { request: PlaceRequest; disposed: boolean }[];
  readonly item: ItemSettings;
  readonly redactor: Redactor;
  /** Begins to poll; the promise is the worker's end. */
  start(options?: Partial<WorkerOptions>): Promise<void>;
  /** SIGTERM. */
  stop(): void;
}

export interface HarnessOptions {
  readonly timings?: Partial<WorkerTimings>;
  readonly maxIdleMs?: number;
  readonly run?: (call: Call) => Promise<{ text: string; isError: boolean } | string>;
  readonly prefix?: string;
}

/** A worker in this process, with tools that a test plays, against the faulty server. */
export async function openHarness(t: ExecutionContext, options: HarnessOptions = {}): Promise<Harness> {
  const server = await FaultyServer.start(options.prefix);
  t.teardown(() => server.close());
  const calls: Call[] = [];
  const log = new KeptLog();
  const folders = new MemoryFolders();
  const places: Harness["places"] = [];
  const redactor = new Redactor();
  const stop = new AbortController();
  const item: ItemSettings = {
    log,
    maxIdleMs: options.maxIdleMs ?? 0,
    timings: { ...fast, ...options.timings },
    redact: (text) => secretsInUse.redact(text),
    places: {
      workdir: "/workspace",
      async open(request): Promise<SessionPlace> {
        const kept = { request, disposed: false };
        places.push(kept);
        return {
          name: `place-${places.length}`,
          workdir: "/workspace",
          about: {},
          folders,
          tools: {
            names: ["bash", "read"],
            definitions: [],
            async run(name, input, signal) {
              const call = { name, input, signal };
              calls.push(call);
              const result = (await options.run?.(call)) ?? `ran ${calls.length}`;
              return typeof result === "string" ? { text: result, isError: false } : result;
            },
            async close() {},
          },
          check: async (text) => ({ text, leaks: [] }),
          takeDenials: () => [],
          takeUnreached: () => [],
          async end() {},
          async extract() {},
          async dispose() {
            kept.disposed = true;
          },
        };
      },
    },
  };
  let running: Promise<void> = Promise.resolve();
  t.teardown(async () => {
    stop.abort(new Error("the test is over"));
    await running.catch(() => {});
  });
  return {
    server,
    calls,
    log,
    folders,
    places,
    item,
    redactor,
    start(extra = {}) {
      running = runWorker(
        {
          environmentId: "env_test",
          environmentKey,
          baseUrl: server.url,
          workerId: "worker-of-the-tests",
          concurrency: 1,
          drain: false,
          once: false,
          log,
          redactor,
          item,
          ...extra,
        },
        stop.signal,
      );
      running.catch(() => {});
      return running;
    },
    stop: () => stop.abort(new Error("the worker was asked to end (SIGTERM)")),
  };
}

/** A tool call that ends when it is cancelled, and not before. */
export function untilCancelled(call: Call): Promise<{ text: string; isError: boolean }> {
  return new Promise((resolve) => {
    const end = (): void => {
      const reason: unknown = call.signal.reason;
      resolve({ text: `${call.name}: ${reason instanceof Error ? reason.message : reason}`, isError: true });
    };
    if (call.signal.aborted) end();
    else call.signal.addEventListener("abort", end, { once: true });
  });
}

export { createClient };
