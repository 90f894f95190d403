import { describe } from "./failure.ts";
import type { WorkerLog } from "./log.ts";

/** What came of one attempt at a request: an HTTP status, or why there was no answer. */
export type AttemptOutcome = { readonly status: number } | { readonly error: unknown };

/**
 * Tells people that the queue cannot be polled, and that it can again: a line each, however many attempts fail between
 * them.
 */
export class Outage {
  readonly #log: WorkerLog;
  #since: number | undefined;

  constructor(log: WorkerLog) {
    this.#log = log;
  }

  note(outcome: AttemptOutcome): void {
    if ("status" in outcome && outcome.status < 300) {
      if (this.#since === undefined) return;
      this.#log.info({ ms: Math.round(performance.now() - this.#since) }, "the queue can be polled again");
      this.#since = undefined;
      return;
    }
    if (this.#since !== undefined) return;
    this.#since = performance.now();
    const why = "status" in outcome ? `status ${outcome.status}` : describe(outcome.error);
    this.#log.warn({ error: why }, "the queue cannot be polled: tried again, less and less often");
  }
}
