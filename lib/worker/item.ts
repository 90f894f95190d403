import type Anthropic from "@anthropic-ai/sdk";
import { APIError } from "@anthropic-ai/sdk";
import { SessionToolRunner } from "@anthropic-ai/sdk/helpers/beta/environments";
import type { BetaManagedAgentsSession } from "@anthropic-ai/sdk/resources/beta/sessions/sessions";
import { HoldfastError } from "../errors.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import type { ExtraFolders, SessionExtra } from "./extras.ts";
import { Lease, type LeaseTiming, leaseTiming } from "./lease.ts";
import type { WorkerLog } from "./log.ts";
import { sdkTools } from "./sdk-tools.ts";
import { SessionSandbox } from "./session-sandbox.ts";

/** A claimed item, as far as serving it needs. */
export interface WorkItem {
  readonly id: string;
  readonly environmentId: string;
  readonly type: string;
  readonly sessionId: string;
}

export interface ItemSettings {
  readonly log: WorkerLog;
  readonly maxIdleMs: number;
  /** A sandbox of this session's own. */
  readonly makeSandbox: (folders: readonly string[]) => Promise<Sandbox>;
  readonly makeExtras: () => readonly SessionExtra[];
  readonly foldersOf: (session: BetaManagedAgentsSession) => ExtraFolders;
  /** After the sandbox ended, before its private layer goes. */
  readonly extract: (sandbox: Sandbox, sessionId: string) => Promise<void>;
  readonly timing?: LeaseTiming;
}

/**
 * Serves one item from its first heartbeat to its stop (protocol.md 5). Never rejects: one failed item is that item's.
 *
 * @returns whether the session was served to a clean end
 */
export async function serveItem(
  item: WorkItem,
  client: Anthropic,
  hasSessionsToken: boolean,
  settings: ItemSettings,
  signal: AbortSignal,
): Promise<boolean> {
  const { log } = settings;
  let runner: SessionToolRunner | undefined;
  const lease = new Lease(
    client,
    item,
    (ttlMs) => setSendWindow(runner, ttlMs),
    settings.timing ?? leaseTiming,
  );
  const running = AbortSignal.any([signal, lease.signal]);
  let served = false;
  const began = performance.now();
  try {
    if (item.type !== "session") {
      log.info({ work: item.id, type: item.type }, "not a session: passed over");
    } else {
      const session = await client.beta.sessions.retrieve(item.sessionId, {}, { signal: running });
      if (session.status === "terminated") log.info({ session: item.sessionId }, "already terminated: nothing to run");
      else served = await serveSession(session, item, client, hasSessionsToken, settings, running, (made) => (runner = made));
    }
  } catch (error) {
    if (!running.aborted) log.error({ work: item.id, session: item.sessionId, error: describe(error) }, "work item failed");
  } finally {
    await lease.finish();
    const lost = lease.end === "lost";
    if (!lost) await stop(client, item, log);
    log.info(
      { work: item.id, session: item.sessionId, lease: lease.end, ms: Math.round(performance.now() - began) },
      lost ? "lease lost: left to its holder" : "item ended",
    );
  }
  return served;
}

async function serveSession(
  session: BetaManagedAgentsSession,
  item: WorkItem,
  client: Anthropic,
  hasSessionsToken: boolean,
  settings: ItemSettings,
  signal: AbortSignal,
  onRunner: (runner: SessionToolRunner) => void,
): Promise<boolean> {
  const { log } = settings;
  const folders = settings.foldersOf(session);
  const sandbox = await settings.makeSandbox([...folders.writable, ...folders.readOnly]);
  const inside = new SessionSandbox(sandbox, item.sessionId, log, [...folders.writable, ...folders.readOnly], folders.readOnly);
  const extras = settings.makeExtras();
  log.info({ session: item.sessionId, work: item.id, sandbox: sandbox.name, uid: sandbox.plan.identity.hostUid }, "claimed");
  let clean = false;
  try {
    for (const extra of extras) await extra.prepare({ client, session, sandbox, log, hasSessionsToken, signal });
    const runner = new SessionToolRunner(item.sessionId, {
      client,
      tools: sdkTools(inside.tools, log, item.sessionId, async () => {
        inside.logDenials();
        for (const extra of extras) await extra.afterCall();
      }),
      maxIdleMs: settings.maxIdleMs,
      signal,
    });
    onRunner(runner);
    for await (const _call of runner) {
      // Each is logged where it is run.
    }
    clean = !signal.aborted;
  } finally {
    for (const extra of extras) {
      await extra.finish(clean).catch((error: unknown) => log.warn({ session: item.sessionId, error: describe(error) }, "not all was brought back"));
    }
    await inside.close();
    try {
      await settings.extract(sandbox, item.sessionId);
    } catch (error) {
      log.error({ session: item.sessionId, error: describe(error) }, "extraction failed");
    }
    await sandbox.dispose();
    log.info({ session: item.sessionId, sandbox: sandbox.name, refused: inside.refused }, "torn down");
  }
  return clean;
}

/** The SDK's worker tells its runner the lease's length, for how long a result may be posted again. */
function setSendWindow(runner: SessionToolRunner | undefined, ttlMs: number): void {
  const set: unknown = runner === undefined ? undefined : Reflect.get(runner, "_setSendRetryWindow");
  if (typeof set === "function") Reflect.apply(set, runner, [ttlMs]);
}

async function stop(client: Anthropic, item: WorkItem, log: WorkerLog): Promise<void> {
  try {
    await client.beta.environments.work.stop(item.id, { environment_id: item.environmentId, force: true });
  } catch (error) {
    // 409: it is stopped already.
    if (!(error instanceof APIError && error.status === 409)) {
      log.warn({ work: item.id, error: describe(error) }, "the item could not be stopped");
    }
  }
}

/** An error in one line: an API's own body may hold anything. */
export function describe(error: unknown): string {
  if (error instanceof APIError) return `${error.status ?? "no answer"} ${error.type ?? error.name}`;
  if (HoldfastError.is(error)) return `${error.message} [${error.code}]`;
  return error instanceof Error ? error.message : String(error);
}
