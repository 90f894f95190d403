import type { Anthropic } from "@anthropic-ai/sdk";
import type { BetaManagedAgentsSession } from "@anthropic-ai/sdk/resources/beta/sessions/sessions";
import { isWithin } from "../host/paths.ts";
import type { Guarded } from "../secrets/leak-guard.ts";
import type { Redact } from "./call-queue.ts";
import { describe, statusOf } from "./failure.ts";
import { Lease } from "./lease.ts";
import type { WorkerLog } from "./log.ts";
import { SessionMemories } from "./memory.ts";
import { type MemoryMount, memoryMounts } from "./memory-mounts.ts";
import type { PlaceMaker, SessionPlace } from "./place.ts";
import { type SessionEnd, SessionRunner } from "./session-runner.ts";
import type { Turn } from "./session-turns.ts";
import { installSkills } from "./skills.ts";
import { protocolTimings, settlesWithin, type WorkerTimings } from "./timings.ts";

/** A claimed item, as far as serving it needs. */
export interface WorkItem {
  readonly id: string;
  readonly environmentId: string;
  readonly type: string;
  readonly sessionId: string;
}

export interface ItemSettings {
  readonly log: WorkerLog;
  /** Milliseconds after the end of a turn until a session is left; 0: never. */
  readonly maxIdleMs: number;
  readonly places: PlaceMaker;
  readonly redact: Redact;
  readonly timings?: WorkerTimings;
}

/** What a client that serves an item speaks with. */
export interface ItemClient {
  readonly client: Anthropic;
  /** Its credential is a sessions token: memory stores accept nothing else. */
  readonly hasSessionsToken: boolean;
}

/**
 * Serves one item from its first heartbeat to its stop (protocol section 5). Never rejects: what fails is this item
 * alone.
 *
 * @param signal the worker's end: cancels the running call
 * @param turn when its session may be served; at once when absent
 * @returns how its session was left, or that it could not be served; undefined when there was none to serve
 */
export async function serveItem(
  item: WorkItem,
  api: ItemClient,
  settings: ItemSettings,
  signal: AbortSignal,
  turn?: Turn,
): Promise<SessionEnd | "failed" | undefined> {
  const { log, timings = protocolTimings } = settings;
  // Before anything else: what follows may take longer than the lease.
  const lease = new Lease(api.client, item, timings, log);
  turn?.taken.addEventListener("abort", () => lease.lose("the item was handed out again: its lease is lost"));
  const running = AbortSignal.any([signal, lease.signal]);
  const began = performance.now();
  let end: SessionEnd | "failed" | undefined;
  try {
    if (item.type === "session") await settlesBefore(running, turn?.after);
    if (item.type === "session") end = await serveIfAlive(new ServedItem(item, api, settings, timings, lease), running);
    else log.info({ work: item.id, type: item.type }, "not a session: passed over");
  } catch (error) {
    if (!running.aborted) {
      log.error({ work: item.id, session: item.sessionId, error: describe(error) }, "the item failed");
      end = "failed";
    }
  }
  await lease.finish();
  if (lease.end !== "lost") await stop(item, api.client, log, timings);
  log.info(
    {
      work: item.id,
      session: item.sessionId,
      session_end: end,
      lease: lease.end,
      ms: Math.round(performance.now() - began),
    },
    "item ended",
  );
  return end;
}

/** Waits for an earlier item of the session; what ends this one ends the wait. */
async function settlesBefore(signal: AbortSignal, earlier: Promise<unknown> | undefined): Promise<void> {
  if (earlier === undefined) return;
  await new Promise<void>((resolve) => {
    void earlier.then(() => resolve());
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
  signal.throwIfAborted();
}

class ServedItem {
  readonly item: WorkItem;
  readonly api: ItemClient;
  readonly settings: ItemSettings;
  readonly timings: WorkerTimings;
  readonly lease: Lease;

  constructor(item: WorkItem, api: ItemClient, settings: ItemSettings, timings: WorkerTimings, lease: Lease) {
    this.item = item;
    this.api = api;
    this.settings = settings;
    this.timings = timings;
    this.lease = lease;
  }
}

async function serveIfAlive(served: ServedItem, signal: AbortSignal): Promise<SessionEnd | undefined> {
  const { api, item, settings } = served;
  if (item.sessionId === "") throw new Error("the item names no session");
  const session = await api.client.beta.sessions.retrieve(item.sessionId, {}, { signal });
  if (session.status === "terminated") {
    settings.log.info({ work: item.id, session: item.sessionId }, "already terminated: nothing to run");
    return undefined;
  }
  const mounts = memoryMounts(session.resources, settings.places.workdir);
  if (mounts.length > 0 && !api.hasSessionsToken) {
    throw new Error("the session has memory stores, and the item brought no token to reach them with");
  }
  const outside = mounts.map(({ folder }) => folder).filter((folder) => !isWithin(folder, settings.places.workdir));
  const place = await settings.places.open({
    sessionId: item.sessionId,
    privateFolders: outside,
    readOnlyFolders: mounts.filter(({ isReadOnly }) => isReadOnly).map(({ folder }) => folder),
  });
  try {
    signal.throwIfAborted();
    if (mounts.length > 0 && place.workdir !== settings.places.workdir) {
      throw new Error("memory stores have paths that this host, which gives no namespaces, cannot show");
    }
    return await serveIn(place, session, mounts, served, signal);
  } finally {
    await place.dispose();
    settings.log.info({ session: item.sessionId, sandbox: place.name }, "torn down");
  }
}

async function serveIn(
  place: SessionPlace,
  session: BetaManagedAgentsSession,
  mounts: readonly MemoryMount[],
  served: ServedItem,
  signal: AbortSignal,
): Promise<SessionEnd> {
  const { api, item, settings, timings, lease } = served;
  const { log } = settings;
  const { client } = api;
  const { sessionId } = item;
  const { folders, tools, workdir } = place;
  log.info({ work: item.id, session: sessionId, sandbox: place.name, ...place.about }, "claimed");
  const check = (text: string): Promise<Guarded> => place.check(text);
  const memories = new SessionMemories({ client, sessionId, mounts, folders, check, log, timings });
  const made: string[] = mounts.map(({ folder }) => folder).filter((folder) => isWithin(folder, workdir));
  let end: SessionEnd = "cancelled";
  try {
    made.push(
      ...(await installSkills({ client, sessionId, skills: session.agent?.skills, folders, workdir, log, signal })),
    );
    await memories.download(signal);
    const runner = new SessionRunner(
      {
        client,
        sessionId,
        tools,
        maxIdleMs: settings.maxIdleMs,
        timings,
        log,
        redact: settings.redact,
        ttlMs: () => lease.ttlMs,
        afterCall: () => {
          logDenials(place, sessionId, log);
          memories.syncIfDue();
        },
      },
      signal,
    );
    end = await runner.run();
  } finally {
    // After a lost lease too: what answered calls have noted down is nowhere else, and an upload is a compare-and-set.
    await memories.finish(end === "terminated" || end === "idle", signal.aborted);
    await tools.close();
    await folders.remove(made).catch(() => {});
    logDenials(place, sessionId, log);
    await place.end();
  }
  if (lease.end !== "lost") {
    await place.extract().catch((error: unknown) => {
      log.error({ session: sessionId, error: describe(error) }, "extraction failed");
    });
  }
  return end;
}

function logDenials(place: SessionPlace, session: string, log: WorkerLog): void {
  for (const { kind, subject, count, detail } of place.takeDenials())
    log.warn({ session, kind, subject, count, ...(detail === undefined ? {} : { detail }) }, "refused");
  for (const { subject, count, detail } of place.takeUnreached())
    log.warn({ session, subject, count, detail }, "not reached");
}

async function stop(item: WorkItem, client: Anthropic, log: WorkerLog, timings: WorkerTimings): Promise<void> {
  const cut = new AbortController();
  const stopping = client.beta.environments.work
    .stop(item.id, { environment_id: item.environmentId, force: true }, { signal: cut.signal })
    .then(
      () => undefined,
      (error: unknown) => {
        // 409: it has stopped already.
        if (!cut.signal.aborted && statusOf(error) !== 409) {
          log.warn({ work: item.id, error: describe(error) }, "the item could not be stopped");
        }
      },
    );
  if (await settlesWithin(stopping, timings.stop)) return;
  cut.abort();
  log.warn({ work: item.id }, "the item's stop got no answer");
}
