import type { Anthropic } from "@anthropic-ai/sdk";
import { describe, isFatal, statusOf } from "./failure.ts";
import type { WorkerLog } from "./log.ts";
import { jitter, longestTimer, pause, type WorkerTimings } from "./timings.ts";

/** A call's result as it is sent: one text block (protocol section 10). */
export interface CallResult {
  readonly toolUseId: string;
  readonly text: string;
  readonly isError: boolean;
}

export type PostOutcome =
  /** It is in the session: sent by us, or seen there. */
  | "posted"
  /** The server will not have it. */
  | "refused"
  /** No answer within the time that the lease allows. */
  | "given up"
  /** The item has ended. */
  | "cancelled";

export interface PostOptions {
  readonly client: Anthropic;
  readonly sessionId: string;
  readonly timings: WorkerTimings;
  readonly log: WorkerLog;
  /** The lease's length, undefined when there is none yet. */
  readonly ttlMs: () => number | undefined;
}

/**
 * Posts a result until it is stored, refused, or the lease's length has passed.
 *
 * @param signal the item's end
 * @param settled aborted when the session shows an answer to the call: an earlier attempt whose own answer was lost
 */
export async function postResult(
  result: CallResult,
  options: PostOptions,
  signal: AbortSignal,
  settled: AbortSignal,
): Promise<PostOutcome> {
  const { timings, log, sessionId } = options;
  const either = AbortSignal.any([signal, settled]);
  const began = performance.now();
  for (let attempt = 0; ; attempt += 1) {
    if (signal.aborted) return "cancelled";
    if (settled.aborted) return "posted";
    const timeLeft = (): number => (options.ttlMs() ?? timings.postWindow) - (performance.now() - began);
    // One that hangs must not be waited for longer than the lease lasts.
    const most = Math.min(Math.max(timeLeft(), timings.postBackoff), longestTimer);
    const cut = AbortSignal.timeout(Math.ceil(most));
    try {
      await options.client.beta.sessions.events.send(
        sessionId,
        {
          events: [
            {
              type: "user.tool_result",
              tool_use_id: result.toolUseId,
              is_error: result.isError,
              content: [{ type: "text", text: result.text }],
            },
          ],
        },
        { signal: AbortSignal.any([either, cut]) },
      );
      return "posted";
    } catch (error) {
      if (signal.aborted) return "cancelled";
      if (settled.aborted) return "posted";
      if (!cut.aborted && isFatal(error)) {
        log.warn({ session: sessionId, call: result.toolUseId, error: describe(error) }, "a result was refused");
        return "refused";
      }
      const left = timeLeft();
      if (left <= 0) {
        log.error(
          { session: sessionId, call: result.toolUseId, error: describe(error) },
          "a result could not be posted",
        );
        return "given up";
      }
      const wait = Math.min(jitter(Math.min(timings.postBackoff * 2 ** attempt, timings.postBackoffMost)), left);
      log.warn(
        { session: sessionId, call: result.toolUseId, status: statusOf(error), again_in_ms: Math.round(wait) },
        "a result could not be posted yet",
      );
      await pause(wait, either);
    }
  }
}
