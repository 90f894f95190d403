import type { Anthropic } from "@anthropic-ai/sdk";
import type { ToolRunner } from "../tools/toolset.ts";
import { CallQueue, type Redact } from "./call-queue.ts";
import { Dispatch, HistoryPass } from "./dispatch.ts";
import { describe, isFatal } from "./failure.ts";
import { IdleClock } from "./idle-clock.ts";
import type { WorkerLog } from "./log.ts";
import { type LiveEvents, openLiveEvents, readHistory } from "./session-events.ts";
import { pause, settlesWithin, type WorkerTimings } from "./timings.ts";

export interface SessionRunnerOptions {
  readonly client: Anthropic;
  readonly sessionId: string;
  readonly tools: ToolRunner;
  /** Milliseconds after the end of a turn; 0: for ever. */
  readonly maxIdleMs: number;
  readonly timings: WorkerTimings;
  readonly log: WorkerLog;
  readonly redact: Redact;
  /** The lease's length, undefined until it is known. */
  readonly ttlMs: () => number | undefined;
  readonly afterCall: () => void;
}

/** Why a session was left. */
export type SessionEnd = "terminated" | "idle" | "refused" | "cancelled";

/**
 * Serves one session's calls: follows its events over any number of connections, runs each call once, posts the results
 * (protocol sections 7 to 11). Events are read while a call runs, so that an interrupt, the session's end, or an answer
 * that was thought lost is noticed at once.
 *
 * The SDK has a runner of its own, which handles no event while a call runs or its result is posted, runs a call again
 * when only its result was lost, and waits for one more byte after an event whose lines end in CR.
 */
export class SessionRunner {
  readonly #options: SessionRunnerOptions;
  readonly #ended = new AbortController();
  readonly #clock: IdleClock;
  readonly #calls: CallQueue;
  readonly #dispatch: Dispatch;
  readonly #signal: AbortSignal;
  #end: SessionEnd | undefined;

  /** @param signal the item's end: cancels the running call, and nothing more is posted */
  constructor(options: SessionRunnerOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = AbortSignal.any([signal, this.#ended.signal]);
    const { client, sessionId, timings, log, tools } = options;
    this.#clock = new IdleClock(options.maxIdleMs, () => this.#leave("idle", "the session is idle"));
    this.#calls = new CallQueue({
      tools,
      timings,
      log,
      redact: options.redact,
      signal: this.#signal,
      post: { client, sessionId, timings, log, ttlMs: options.ttlMs },
      afterCall: options.afterCall,
      onSettled: (call, outcome) => {
        if (outcome === "posted") this.#dispatch.markAnswered(call.id);
        this.#clock.unblock(call.id);
      },
    });
    this.#dispatch = new Dispatch({
      names: tools.names,
      clock: this.#clock,
      start: (call) => this.#calls.add(call),
      isUnderWay: (id) => this.#calls.has(id),
      dropThread: (thread) => this.#calls.drop(thread),
      onAnswered: (id) => this.#calls.settle(id),
      interrupt: (isMeant) => this.#calls.interrupt(isMeant),
      onPassedOver: (call, why) => log.info({ session: sessionId, tool: call.name, call: call.id }, `call ${why}`),
    });
  }

  /** Serves the session until it is over. Never rejects. */
  async run(): Promise<SessionEnd> {
    try {
      await this.#follow();
    } catch (error) {
      if (!this.#signal.aborted) {
        this.#options.log.error(
          { session: this.#options.sessionId, error: describe(error) },
          "the session's events were refused",
        );
        this.#leave("refused", "the session's events were refused");
      }
    } finally {
      this.#clock.disarm();
    }
    if (!(await settlesWithin(this.#calls.idle(), this.#options.timings.drain))) {
      this.#options.log.error({ session: this.#options.sessionId }, "a call did not end");
    }
    return this.#end ?? "cancelled";
  }

  #leave(end: SessionEnd, why: string): void {
    this.#end ??= end;
    this.#ended.abort(new Error(why));
  }

  async #follow(): Promise<void> {
    const { client, sessionId, timings, log } = this.#options;
    let backoff = timings.streamBackoff;
    while (!this.#signal.aborted) {
      let live: LiveEvents | undefined;
      let again: NodeJS.Timeout | undefined;
      try {
        // The stream first: what happens between the two waits in it.
        const opened = await openLiveEvents(client, sessionId, this.#signal);
        live = opened;
        const history = await this.#reconcile();
        if (history === "over") return this.#leave("terminated", "the session is over");
        // What is open in it alone would wait for a connection that may never break off.
        if (history === "unread") again = setTimeout(() => void opened.close(), timings.historyAgain);
        for await (const event of opened) {
          again?.refresh();
          backoff = timings.streamBackoff;
          if (this.#dispatch.handle(event)) return this.#leave("terminated", "the session is over");
          if (this.#signal.aborted) return;
        }
      } catch (error) {
        if (this.#signal.aborted) return;
        if (isFatal(error)) throw error;
        log.warn({ session: sessionId, error: describe(error) }, "the session's events broke off");
      } finally {
        clearTimeout(again);
        await live?.close();
      }
      await pause(backoff, this.#signal);
      backoff = Math.min(backoff * 2, timings.streamBackoffMost);
    }
  }

  /** Reads the whole history and takes up what is open in it; tells whether it could be read, and if the session is over. */
  async #reconcile(): Promise<"read" | "unread" | "over"> {
    const { client, sessionId, log } = this.#options;
    const pass = new HistoryPass();
    try {
      for await (const event of readHistory(client, sessionId, this.#signal)) this.#dispatch.ingest(event, pass);
    } catch (error) {
      this.#dispatch.abandonPass(pass);
      if (this.#signal.aborted) throw error;
      log.warn({ session: sessionId, error: describe(error) }, "the history could not be read");
      return "unread";
    }
    if (pass.isOver) return "over";
    this.#dispatch.finishPass(pass);
    return "read";
  }
}
