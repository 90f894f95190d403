import Anthropic from "@anthropic-ai/sdk";
import { WorkPoller } from "@anthropic-ai/sdk/helpers/beta/environments";
import { type Redactor, sessionsToken } from "./credentials.ts";
import { type ItemSettings, serveItem } from "./item.ts";
import type { WorkerLog } from "./log.ts";

export interface WorkerOptions {
  readonly environmentId: string;
  readonly environmentKey: string;
  readonly baseUrl: string | undefined;
  readonly workerId: string | undefined;
  readonly concurrency: number;
  /** Ends when the queue is empty and every session is done. */
  readonly drain: boolean;
  /** Serves one item, then ends. */
  readonly once: boolean;
  readonly log: WorkerLog;
  readonly redactor: Redactor;
  readonly item: ItemSettings;
}

/** A client that carries exactly one credential, whatever the environment holds. */
export function clientWith(token: string, baseUrl: string | undefined): Anthropic {
  return new Anthropic({
    apiKey: null,
    authToken: token,
    ...(baseUrl === undefined ? {} : { baseURL: baseUrl }),
    logLevel: "off",
  });
}

/**
 * Claims items and serves up to `concurrency` of them at once until `signal` aborts, the queue is drained, or polling
 * fails for good.
 */
export async function runWorker(options: WorkerOptions, signal: AbortSignal): Promise<void> {
  const { log, redactor } = options;
  redactor.add(options.environmentKey);
  const pollClient = clientWith(options.environmentKey, options.baseUrl);
  const poller = new WorkPoller({
    client: pollClient,
    environmentId: options.environmentId,
    environmentKey: options.environmentKey,
    autoStop: false,
    drain: options.drain,
    signal,
    ...(options.workerId === undefined ? {} : { workerId: options.workerId }),
  });
  const active = new Set<Promise<unknown>>();
  try {
    for await (const work of poller) {
      // Only the poll's answer carries it; the SDK's type does not name it.
      const secret: unknown = Reflect.get(work, "secret");
      const token = sessionsToken(typeof secret === "string" ? secret : null);
      if (typeof secret === "string") {
        redactor.add(secret, token);
        if (token === null) log.warn({ work: work.id }, "the item's secret yields no token: the environment key serves");
      }
      const client = clientWith(token ?? options.environmentKey, options.baseUrl);
      const item = { id: work.id, environmentId: work.environment_id, type: work.data.type as string, sessionId: work.data.id };
      const serving = serveItem(item, client, token !== null, options.item, signal).finally(() => active.delete(serving));
      active.add(serving);
      if (options.once) break;
      while (active.size >= options.concurrency) await Promise.race(active);
    }
  } finally {
    await Promise.allSettled(active);
  }
}
