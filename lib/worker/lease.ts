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
  #expiry: NodeJS.Timeout | undefined;

  /** The first heartbeat goes out at once. */
  constructor(client: Anthropic, item: LeasedItem, timings: WorkerTimings, log: WorkerLog) {
    this.#client = client;
    this.#item = item;
    this.#timings = timings;
    this.#log = log;
    this.#intervalMs = timings.heartbeatFirst;
    this.#extend(timings.assumedTtl);
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

  #finish(end: LeaseEnd, why: string): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    clearTimeout(this.#expiry);
    if (end !== "done") this.#log.warn({ work: this.#item.id }, why);
    this.#controller.abort(new Error(why));
  }

  /** Nobody may rely on a lease that no heartbeat has extended for its length. */
  #extend(ms: number): void {
    clearTimeout(this.#expiry);
    this.#expiry = setTimeout(() => this.#finish("lost", "no heartbeat got through: the lease is taken as lost"), ms);
  }

  async #run(): Promise<void> {
    while (this.#end === undefined) {
      await this.#beat();
      await pause(this.#intervalMs, this.signal);
    }
  }

  async #beat(): Promise<void> {
    // With all its attempts: a request that hangs must not outlive the lease.
    const cut = AbortSignal.any([this.signal, AbortSignal.timeout(this.#intervalMs)]);
    const sent = performance.now();
    try {
      const answer = await this.#client.beta.environments.work.heartbeat(
        this.#item.id,
        { environment_id: this.#item.environmentId, expected_last_heartbeat: this.#last },
        { signal: cut },
      );
      if (this.#end !== undefined) return;
      this.#last = answer.last_heartbeat;
      if (answer.ttl_seconds > 0) {
        this.#ttlMs = answer.ttl_seconds * 1000;
        const { heartbeatLongest, heartbeatShortest } = this.#timings;
        this.#intervalMs = Math.max(heartbeatShortest, Math.min(this.#ttlMs / 2, heartbeatLongest));
      }
      // From when it was sent: the server's count may have begun then.
      this.#extend((this.#ttlMs ?? this.#timings.assumedTtl) - (performance.now() - sent));
      if (answer.state === "stopping" || answer.state === "stopped") {
        this.#finish("stopped", "the item was asked to stop");
      } else if (!answer.lease_extended) this.#finish("stopped", "the lease was not extended");
    } catch (error) {
      if (this.#end !== undefined) return;
      if (statusOf(error) === 412) this.#finish("lost", "the lease is lost: the item is another's");
      else if (!cut.aborted && isFatal(error)) this.#finish("rejected", `the lease cannot be kept: ${describe(error)}`);
      else this.#log.warn({ work: this.#item.id, error: describe(error) }, "a heartbeat failed");
    }
  }
}
