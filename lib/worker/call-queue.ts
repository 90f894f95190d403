import type { ToolRunner } from "../tools/toolset.ts";
import type { ToolUse } from "./events.ts";
import { describe } from "./failure.ts";
import type { WorkerLog } from "./log.ts";
import { type CallResult, type PostOptions, type PostOutcome, postResult } from "./result-post.ts";
import type { WorkerTimings } from "./timings.ts";

const interrupted = "the call was interrupted by the user";

/** What a session's result must never hold; the sandbox has none of it, this is the second wall. */
export type Redact = (text: string) => string;

export interface CallQueueOptions {
  readonly tools: ToolRunner;
  readonly post: PostOptions;
  readonly timings: WorkerTimings;
  readonly log: WorkerLog;
  readonly redact: Redact;
  /** The item's end: cancels the running call and everything that waits. */
  readonly signal: AbortSignal;
  /** A call is over: posted or not. */
  readonly onSettled: (call: ToolUse, outcome: PostOutcome) => void;
  /** After each call's result has been posted, before the next is run. */
  readonly afterCall: () => void;
}

interface Job {
  readonly call: ToolUse;
  /** Aborted when the call alone is to end. */
  readonly cancel: AbortController;
  /** Aborted when the session has an answer to it. */
  readonly settled: AbortController;
}

/**
 * Runs a session's calls one after another, since they share one shell and one file tree, and posts each result before
 * the next is run.
 */
export class CallQueue {
  readonly #options: CallQueueOptions;
  #waiting: Job[] = [];
  #current: Job | undefined;
  /** Results that could not be posted: posted again at the next reconnection, the call is not run again. */
  readonly #unposted = new Map<string, CallResult>();
  #pumping: Promise<void> | undefined;

  constructor(options: CallQueueOptions) {
    this.#options = options;
  }

  add(call: ToolUse): void {
    this.#waiting.push({ call, cancel: new AbortController(), settled: new AbortController() });
    this.#pumping ??= this.#pump();
  }

  has(id: string): boolean {
    return this.#current?.call.id === id || this.#waiting.some(({ call }) => call.id === id);
  }

  /** Somebody's answer to a call is in the session. */
  settle(id: string): void {
    this.#unposted.delete(id);
    for (const job of this.#jobs()) if (job.call.id === id) job.settled.abort();
  }

  /** Void calls are never started. */
  drop(thread: string): void {
    for (const { call } of this.#waiting.filter((job) => job.call.thread === thread)) {
      this.#waiting = this.#waiting.filter((job) => job.call !== call);
      this.#options.onSettled(call, "cancelled");
    }
  }

  /** Ends the calls that the user interrupted; each is still answered. */
  interrupt(isMeant: (call: ToolUse) => boolean): void {
    for (const job of this.#jobs()) {
      if (isMeant(job.call)) job.cancel.abort(new Error(interrupted));
    }
  }

  /** Resolves when nothing is run or posted. */
  async idle(): Promise<void> {
    await this.#pumping;
  }

  #jobs(): Job[] {
    return this.#current === undefined ? this.#waiting : [this.#current, ...this.#waiting];
  }

  async #pump(): Promise<void> {
    // Not within the caller's own step: more calls of the same reading may follow.
    await undefined;
    for (let job = this.#waiting.shift(); job !== undefined; job = this.#waiting.shift()) {
      this.#current = job;
      const outcome = await this.#serve(job).catch((error: unknown) => this.#failed(job, error));
      this.#current = undefined;
      try {
        this.#options.onSettled(job.call, outcome);
        if (!this.#options.signal.aborted) this.#options.afterCall();
      } catch (error) {
        this.#failed(job, error);
      }
    }
    this.#pumping = undefined;
  }

  /** Not to be expected; it must end neither the queue nor the worker. */
  #failed({ call }: Job, error: unknown): PostOutcome {
    const { log, post } = this.#options;
    log.error({ session: post.sessionId, tool: call.name, call: call.id, error: describe(error) }, "a call failed");
    return "given up";
  }

  async #serve(job: Job): Promise<PostOutcome> {
    const { signal } = this.#options;
    const { call, settled } = job;
    if (signal.aborted) return "cancelled";
    if (settled.signal.aborted) return "posted";
    const result = this.#unposted.get(call.id) ?? (await this.#run(job));
    if (signal.aborted) return "cancelled";
    const outcome = await postResult(result, this.#options.post, signal, settled.signal);
    if (outcome === "posted") this.#unposted.delete(call.id);
    else this.#unposted.set(call.id, result);
    return outcome;
  }

  async #run({ call, cancel }: Job): Promise<CallResult> {
    const { tools, timings, log, redact } = this.#options;
    const session = this.#options.post.sessionId;
    const began = performance.now();
    const signal = AbortSignal.any([this.#options.signal, cancel.signal]);
    // One that was interrupted before its turn must have no effect.
    const { text, isError } = cancel.signal.aborted
      ? { text: `${call.name}: ${interrupted}`, isError: true }
      : await withinLimit(tools, call, signal, timings);
    const clean = redact(text.toWellFormed());
    if (clean !== text) log.warn({ session, call: call.id }, "a result held a credential, or text that is not Unicode");
    log.info(
      {
        session,
        tool: call.name,
        ms: Math.round(performance.now() - began),
        error: isError || undefined,
        characters: clean.length,
      },
      "tool call",
    );
    return { toolUseId: call.id, text: clean === "" ? "(no output)" : clean, isError };
  }
}

/** The tools keep to the limit themselves; this is for one that does not end when it is told to. */
async function withinLimit(
  tools: ToolRunner,
  call: ToolUse,
  outer: AbortSignal,
  timings: WorkerTimings,
): Promise<{ text: string; isError: boolean }> {
  const limit = new AbortController();
  const signal = AbortSignal.any([outer, limit.signal]);
  let graceTimer: NodeJS.Timeout | undefined;
  let abandon = (): void => {};
  const abandoned = new Promise<{ text: string; isError: boolean }>((resolve) => {
    abandon = (): void => {
      graceTimer = setTimeout(
        () => resolve({ text: `${call.name}: the call did not end when it was cancelled`, isError: true }),
        timings.callGrace,
      );
    };
    if (signal.aborted) abandon();
    else signal.addEventListener("abort", abandon, { once: true });
  });
  const timer = setTimeout(
    () => limit.abort(new Error(`${call.name} command timed out after ${timings.call}ms`)),
    timings.call,
  );
  try {
    return await Promise.race([
      Promise.resolve()
        .then(() => tools.run(call.name, call.input, signal))
        .catch((error: unknown) => ({
          text: `Error: ${error instanceof Error ? error.message : String(error)}`,
          isError: true,
        })),
      abandoned,
    ]);
  } finally {
    // A signal that is made of others lives as long as somebody listens to it.
    signal.removeEventListener("abort", abandon);
    clearTimeout(timer);
    clearTimeout(graceTimer);
  }
}
