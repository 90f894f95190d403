import type { Anthropic } from "@anthropic-ai/sdk";
import { describe, isFatal, statusOf } from "./failure.ts";
import type { WorkerLog } from "./log.ts";
import { pause, type WorkerTimings } from "./timings.ts";

/**
 * Why a lease ended. `done`: the worker has finished with the item. `stopped`: an operator asked for it. `rejected`:
 * the server will not take its heartbeats. `lost`: the item is the queue's or another worker's, and not to be stopped.
 */
export type LeaseEnd = "done" | "stopped" | "rejected" | "lost";

export interface LeasedItem {
  readonly id: string;
  readonly environmentId: string;
}

/**
 * Keeps one work item ours by heartbeats, each a compare-and-set of the one before (protocol section 3.4). When it
 * cannot be kept `signal` aborts, and with it everything that is done for the item.
 */
export class Lease {
  readonly #client: Anthropic;
  readonly #item: LeasedItem;
  readonly #timings: WorkerTimings;
  readonly #log: WorkerLog;
  readonly #controller = new AbortController();
  readonly #running: Promise<void>;
  #end: LeaseEnd | undefined;
  #intervalMs: number;
  #ttlMs: number | undefined;
  #last = "NO_HEARTBEAT";
  /** When the last heartbeat that got through was sent: the server's count may have begun then. */
  #lastSuccess: number = performance.now();

  /** The first heartbeat goes out at once. */
  constructor(client: Anthropic, item: LeasedItem, timings: WorkerTimings, log: WorkerLog) {
    this.#client = client;
    this.#item = item;
    this.#timings = timings;
    this.#log = log;
    this.#intervalMs = timings.heartbeatFirst;
    this.#running = this.#run();
  }

  /** Aborted when the item is no longer to be worked on. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Undefined while it is held. */
  get end(): LeaseEnd | undefined {
    return this.#end;
  }

  /** The lease's length as the server last said it. */
  get ttlMs(): number | undefined {
    return this.#ttlMs;
  }

  /** Stops heartbeating; resolves when no heartbeat is under way. */
  async finish(): Promise<void> {
    this.#finish("done", "the item is done");
    await this.#running;
  }

  /** It is known from elsewhere that the item is another's. */
  lose(why: string): void {
    this.#finish("lost", why);
  }

  #finish(end: LeaseEnd, why: string): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    if (end !== "done") this.#log.warn({ work: this.#item.id }, why);
    this.#controller.abort(new Error(why));
  }

  async #run(): Promise<void> {
    while (this.#end === undefined) {
      const began = performance.now();
      await this.#beat();
      // Counted from its beginning: one that was slow to fail must not put the next one off.
      await pause(this.#intervalMs - (performance.now() - began), this.signal);
    }
  }

  async #beat(): Promise<void> {
    // With all its attempts: a request that hangs must not outlive the lease.
    const cut = AbortSignal.any([this.signal, AbortSignal.timeout(Math.ceil(this.#intervalMs))]);
    const sent = performance.now();
    try {
      const answer = await this.#client.beta.environments.work.heartbeat(
        this.#item.id,
        { environment_id: this.#item.environmentId, expected_last_heartbeat: this.#last },
        { signal: cut },
      );
      if (this.#end !== undefined) return;
      if (answer?.state === "stopping" || answer?.state === "stopped") {
        return this.#finish("stopped", "the item was asked to stop");
      }
      if (answer?.lease_extended === false) return this.#finish("stopped", "the lease was not extended");
      if (typeof answer?.last_heartbeat !== "string") throw new Error("the answer is no heartbeat");
      this.#last = answer.last_heartbeat;
      if (answer.ttl_seconds > 0) {
        this.#ttlMs = answer.ttl_seconds * 1000;
        const { heartbeatLongest, heartbeatShortest } = this.#timings;
        this.#intervalMs = Math.max(heartbeatShortest, Math.min(this.#ttlMs / 2, heartbeatLongest));
      }
      this.#lastSuccess = sent;
    } catch (error) {
      if (this.#end !== undefined) return;
      if (statusOf(error) === 412) this.#finish("lost", "the lease is lost: the item is another's");
      // A server's fault is none of the lease's, whatever it says of trying again: the next heartbeat is due anyway.
      else if (!cut.aborted && isFatal(error) && (statusOf(error) ?? 0) < 500)
        this.#finish("rejected", `the lease cannot be kept: ${describe(error)}`);
      else if (performance.now() - this.#lastSuccess >= (this.#ttlMs ?? this.#timings.assumedTtl)) {
        this.#finish("lost", "no heartbeat got through for as long as the lease lasts: it is taken as lost");
      } else this.#log.warn({ work: this.#item.id, error: describe(error) }, "a heartbeat failed");
    }
  }
}
