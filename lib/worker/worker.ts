import { WorkPoller } from "@anthropic-ai/sdk/helpers/beta/environments";
import type { BetaSelfHostedWork } from "@anthropic-ai/sdk/resources/beta/environments/work";
import { createClient } from "./client.ts";
import { type Redactor, sessionsToken } from "./credentials.ts";
import { describe } from "./failure.ts";
import { type ItemSettings, serveItem } from "./item.ts";
import type { WorkerLog } from "./log.ts";
import { Polls } from "./polls.ts";
import { SessionTurns, type Turn } from "./session-turns.ts";

export interface WorkerOptions {
  readonly environmentId: string;
  readonly environmentKey: string;
  readonly baseUrl: string | undefined;
  readonly workerId: string;
  /** Sessions at once. */
  readonly concurrency: number;
  /** Ends when the queue is empty and every session is done. */
  readonly drain: boolean;
  /** Serves one item, then ends. */
  readonly once: boolean;
  readonly log: WorkerLog;
  readonly redactor: Redactor;
  readonly item: ItemSettings;
}

/**
 * Claims items with the SDK's poller and serves up to `concurrency` of them at once, until `signal` aborts, the queue is
 * drained, or polling fails for good.
 *
 * @throws what the last poll failed with, when it was refused (401, 403, 404 …)
 */
export async function runWorker(options: WorkerOptions, signal: AbortSignal): Promise<void> {
  const { log, redactor, environmentKey, baseUrl } = options;
  redactor.add(environmentKey);
  const client = createClient(environmentKey, baseUrl, new Polls(options.environmentId, log));
  const active = new Set<Promise<unknown>>();
  const turns = new SessionTurns();
  const poller = new WorkPoller({
    client,
    environmentId: options.environmentId,
    environmentKey,
    workerId: options.workerId,
    // Each item is stopped by who serves it, unless its lease was lost.
    autoStop: false,
    drain: options.drain,
    signal,
  });
  try {
    for await (const work of poller) {
      const serving = turns
        .take(text(work.data.id), work.id, (turn) => serve(work, options, signal, turn))
        .catch((error: unknown) => log.error({ work: work.id, error: describe(error) }, "the item failed"))
        .finally(() => active.delete(serving));
      active.add(serving);
      if (options.once) return;
      while (active.size >= options.concurrency) await Promise.race(active);
    }
  } catch (error) {
    if (signal.aborted) return;
    log.error({ error: describe(error), sessions: active.size }, "polling was refused: the worker ends");
    throw error;
  } finally {
    await Promise.allSettled(active);
  }
}

async function serve(work: BetaSelfHostedWork, options: WorkerOptions, signal: AbortSignal, turn: Turn): Promise<void> {
  const { log, redactor, environmentKey, baseUrl } = options;
  // Only a poll's answer carries it.
  const { secret } = work;
  const token = sessionsToken(secret);
  redactor.add(secret, token);
  if (secret && token === null) {
    log.warn({ work: work.id }, "the item's secret yields no token: the environment key serves");
  }
  try {
    await serveItem(
      {
        id: work.id,
        environmentId: work.environment_id,
        type: text(work.data.type),
        sessionId: text(work.data.id),
      },
      { client: createClient(token ?? environmentKey, baseUrl), hasSessionsToken: token !== null },
      options.item,
      signal,
      turn,
    );
  } finally {
    redactor.remove(secret, token);
  }
}

/** A field that should be a text; the types promise more than a server keeps. */
function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
