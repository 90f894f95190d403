import type Anthropic from "@anthropic-ai/sdk";
import { APIError } from "@anthropic-ai/sdk";

/** Why a lease ended. `lost`: the item is another's now, it is not to be stopped. */
export type LeaseEnd = "done" | "stopped" | "lost" | "rejected";

/** Timing of protocol.md 3.4, in milliseconds; tests make it shorter. */
export interface LeaseTiming {
  readonly longestIntervalMs: number;
  readonly shortestIntervalMs: number;
  readonly firstIntervalMs: number;
  readonly assumedTtlMs: number;
}

export const leaseTiming: LeaseTiming = Object.freeze({
  longestIntervalMs: 30_000,
  shortestIntervalMs: 1000,
  firstIntervalMs: 30_000,
  assumedTtlMs: 90_000,
});

export interface LeasedItem {
  readonly id: string;
  readonly environmentId: string;
}

/**
 * Keeps one work item ours by heartbeats, each a compare-and-set of the one before. When it cannot be kept, `signal`
 * aborts and with it everything that is done for the item.
 */
export class Lease {
  readonly #client: Anthropic;
  readonly #item: LeasedItem;
  readonly #timing: LeaseTiming;
  readonly #controller = new AbortController();
  readonly #onTtl: (ttlMs: number) => void;
  #end: LeaseEnd | undefined;
  #intervalMs: number;
  #ttlMs: number;
  #last = "NO_HEARTBEAT";
  #lastSuccess: number = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #wake: (() => void) | undefined;
  readonly #running: Promise<void>;

  constructor(client: Anthropic, item: LeasedItem, onTtl: (ttlMs: number) => void = () => {}, timing: LeaseTiming = leaseTiming) {
    this.#client = client;
    this.#item = item;
    this.#timing = timing;
    this.#onTtl = onTtl;
    this.#intervalMs = timing.firstIntervalMs;
    this.#ttlMs = timing.assumedTtlMs;
    this.#running = this.#run();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get end(): LeaseEnd | undefined {
    return this.#end;
  }

  /** Stops heartbeating; resolves when no heartbeat is under way. */
  async finish(): Promise<void> {
    this.#finish("done");
    await this.#running;
  }

  #finish(end: LeaseEnd): void {
    this.#end ??= end;
    clearTimeout(this.#timer);
    this.#wake?.();
    this.#controller.abort(new Error(`the work item ended: ${this.#end}`));
  }

  async #run(): Promise<void> {
    // The first goes out at once, before anything is fetched for the session.
    for (;;) {
      await this.#beat();
      if (this.#end !== undefined) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#timer = setTimeout(resolve, this.#intervalMs);
      });
      if (this.#end !== undefined) return;
    }
  }

  async #beat(): Promise<void> {
    // A request that hangs must not outlive the lease.
    const cut = AbortSignal.any([this.signal, AbortSignal.timeout(this.#intervalMs)]);
    try {
      const answer = await this.#client.beta.environments.work.heartbeat(
        this.#item.id,
        { environment_id: this.#item.environmentId, expected_last_heartbeat: this.#last },
        { signal: cut },
      );
      this.#lastSuccess = performance.now();
      this.#last = answer.last_heartbeat;
      if (answer.ttl_seconds > 0) {
        this.#ttlMs = answer.ttl_seconds * 1000;
        const { longestIntervalMs, shortestIntervalMs } = this.#timing;
        this.#intervalMs = Math.max(shortestIntervalMs, Math.min(this.#ttlMs / 2, longestIntervalMs));
        this.#onTtl(this.#ttlMs);
      }
      if (answer.state === "stopping" || answer.state === "stopped" || !answer.lease_extended) this.#finish("stopped");
    } catch (error) {
      if (this.#end !== undefined) return;
      const status = error instanceof APIError ? error.status : undefined;
      if (status === 412) this.#finish("lost");
      else if (status !== undefined && status >= 400 && status < 500 && ![408, 409, 429].includes(status)) this.#finish("rejected");
      else if (performance.now() - this.#lastSuccess > this.#ttlMs) this.#finish("lost");
    }
  }
}
