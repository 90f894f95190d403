import type { DatabaseSync } from "node:sqlite";
import { inTransaction } from "../database.ts";
import type { Outcome, SessionRecord, Sessions } from "../sessions.ts";
import { WireError } from "../wire.ts";
import type { WorkItems } from "../work-items.ts";
import { type ModelClient, ModelFault } from "./client.ts";
import { type Conversation, conversationOf } from "./conversation.ts";
import { instructionsFor } from "./instructions.ts";
import { type OfferedTool, offeredTools } from "./offered-tools.ts";
import type { AskedCall, ModelReply } from "./reply.ts";

/** What one session may use of the model. */
export interface ModelBounds {
  /** Requests after one message of the user's. */
  readonly turns: number;
  /** Read and written, over all of a session. */
  readonly tokens: number;
  /** After one message of the user's, from the first request on. */
  readonly timeMs: number;
}

export interface ModelDriverOptions {
  readonly client: ModelClient;
  readonly model: string;
  readonly bounds: ModelBounds;
  readonly database: DatabaseSync;
  readonly sessions: Sessions;
  readonly work: WorkItems;
  readonly now: () => number;
}

type StopReason = "end_turn" | "retries_exhausted" | "budget_reached" | "refusal";

interface Ending {
  readonly outcome: Outcome;
  readonly reason: StopReason;
  readonly fault?: string | undefined;
}

const mostReturns = 3;

/** The model in its sessions: asks it when it is its turn, and puts what it calls before the worker. */
export class ModelDriver {
  readonly #options: ModelDriverOptions;
  readonly #sessions: Sessions;
  readonly #asking = new Map<string, AbortController>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  /** How often a worker has given a session back before its end. */
  readonly #returns = new Map<string, number>();

  constructor(options: ModelDriverOptions) {
    this.#options = options;
    this.#sessions = options.sessions;
  }

  /** It is the model's turn; it is asked once a worker has the session. */
  next(sessionId: string): void {
    if (this.#asking.has(sessionId) || !this.#options.work.isHeld(sessionId)) return;
    const abort = new AbortController();
    this.#asking.set(sessionId, abort);
    void this.#turns(sessionId, abort).catch((error: unknown) => {
      // It was deleted, or the queue ends.
      if (abort.signal.aborted || error instanceof WireError) return;
      this.#end(sessionId, { outcome: "failed", reason: "retries_exhausted", fault: String(error) });
    });
  }

  /** Goes on where a queue that ended has stopped. */
  resume(session: SessionRecord): void {
    this.#guard(session.id, this.#conversation(session.id));
    if (this.#sessions.openCalls(session.id).length === 0) this.next(session.id);
  }

  /** A worker has given it back before its end: another may take it, or an operator wanted that. */
  released(sessionId: string, isAsked: boolean): void {
    const returns = (this.#returns.get(sessionId) ?? 0) + 1;
    this.#returns.set(sessionId, returns);
    if (!isAsked && returns <= mostReturns) return void this.#options.work.enqueue(sessionId);
    this.drop(sessionId);
    const fault = isAsked ? undefined : `${returns} times a worker gave the session back before its end: see its log`;
    this.#end(sessionId, { outcome: isAsked ? "canceled" : "failed", reason: "retries_exhausted", fault });
  }

  /** The user wants no more of it. */
  interrupt(sessionId: string): void {
    this.drop(sessionId);
    this.#end(sessionId, { outcome: "canceled", reason: "end_turn" });
  }

  /** The session is over: what the model still answers is for nobody. */
  drop(sessionId: string): void {
    this.#asking.get(sessionId)?.abort(new Error("the session is over"));
    this.#asking.delete(sessionId);
    clearTimeout(this.#timers.get(sessionId));
    this.#timers.delete(sessionId);
    this.#returns.delete(sessionId);
  }

  close(): void {
    for (const id of [...this.#asking.keys(), ...this.#timers.keys()]) this.drop(id);
    this.#options.client.close();
  }

  async #turns(sessionId: string, abort: AbortController): Promise<void> {
    const { client } = this.#options;
    // After the transaction in which its turn came.
    await null;
    try {
      for (;;) {
        abort.signal.throwIfAborted();
        const begun = this.#begin(sessionId);
        if (begun === undefined) return;
        const { tools, turns, messages } = begun;
        const question = {
          model: begun.model,
          system: begun.system,
          tools: tools.map(({ definition }) => definition),
          turns,
        };
        const retry = (why: string): void =>
          this.#sessions.addFault(sessionId, `the model is asked again: ${why}`, "retrying");
        const reply = await client.ask(question, abort.signal, retry);
        // Aborted in the same moment: the session is over.
        abort.signal.throwIfAborted();
        if (!this.#hear(sessionId, reply, tools, messages)) return;
      }
    } catch (error) {
      if (!(error instanceof ModelFault)) throw error;
      const fault = `the model cannot be asked: ${error.message}`;
      this.#end(sessionId, { outcome: "failed", reason: "retries_exhausted", fault });
    } finally {
      if (this.#asking.get(sessionId) === abort) this.#asking.delete(sessionId);
    }
  }

  /** What is to be asked; undefined where the session ends here instead. */
  #begin(
    sessionId: string,
  ): (Conversation & { model: string; system: string; tools: readonly OfferedTool[] }) | undefined {
    return inTransaction(this.#options.database, () => {
      const session = this.#sessions.get(sessionId);
      if (session.outcome !== "running") return undefined;
      const conversation = this.#conversation(sessionId);
      const { turns, tokens } = this.#options.bounds;
      const budget = (fault: string): undefined =>
        this.#end(sessionId, { outcome: "failed", reason: "budget_reached", fault });
      if (session.interrupted) return this.#end(sessionId, { outcome: "canceled", reason: "end_turn" });
      if (conversation.requests >= turns) return budget(`the model was asked ${turns} times and has not ended`);
      if (conversation.tokens >= tokens)
        return budget(`the model has used ${conversation.tokens} tokens; ${tokens} are what a session may`);
      this.#sessions.update(sessionId, { status: "running" });
      this.#sessions.addEvent(sessionId, "session.status_running");
      this.#sessions.addEvent(sessionId, "span.model_request_start");
      const begun = { ...conversation, begunAt: conversation.begunAt ?? this.#options.now() };
      this.#guard(sessionId, begun);
      const { task } = session;
      return {
        ...{ ...begun, model: task.agent?.model ?? this.#options.model },
        ...{ system: instructionsFor(task), tools: offeredTools(task.agent?.tools) },
      };
    });
  }

  /** @returns whether it is the model's turn again at once */
  #hear(sessionId: string, reply: ModelReply, tools: readonly OfferedTool[], heardMessages: number): boolean {
    return inTransaction(this.#options.database, () => {
      const session = this.#sessions.get(sessionId);
      if (session.outcome !== "running") return false;
      this.#sessions.addEvent(sessionId, "span.model_request_end", {
        model_usage: { input_tokens: reply.inputTokens, output_tokens: reply.outputTokens },
      });
      if (reply.text !== "")
        this.#sessions.addEvent(sessionId, "agent.message", {
          content: [{ type: "text", text: reply.text.toWellFormed() }],
        });
      for (const call of reply.calls) this.#call(session, call, tools);
      this.#sessions.update(sessionId, { step: session.step + 1 });
      const waiting = this.#sessions.openCalls(sessionId);
      if (waiting.length > 0) {
        this.#sessions.update(sessionId, { status: "idle" });
        this.#sessions.addEvent(sessionId, "session.status_idle", {
          stop_reason: { type: "requires_action", event_ids: waiting.map(({ id }) => id) },
        });
        return false;
      }
      // The user said more while it was thinking, or no call of it could be made.
      if (reply.calls.length > 0 || this.#conversation(sessionId).messages > heardMessages) return true;
      if (reply.ending === "done") this.#end(sessionId, { outcome: "passed", reason: "end_turn" });
      else if (reply.ending === "refusal")
        this.#end(sessionId, { outcome: "failed", reason: "refusal", fault: "the model refuses" });
      else {
        const fault = "the model's answer was cut off at the most tokens that one may have";
        this.#end(sessionId, { outcome: "failed", reason: "budget_reached", fault });
      }
      return false;
    });
  }

  /** Puts a call before whoever answers it; one that cannot be made is answered here. */
  #call(
    { id: sessionId, step }: SessionRecord,
    { name, input, fault }: AskedCall,
    tools: readonly OfferedTool[],
  ): void {
    const tool = tools.find(({ definition }) => definition.name === name);
    const names = tools.map(({ definition }) => definition.name).join(", ");
    const why = tool === undefined ? `there is no tool ${JSON.stringify(name.slice(0, 100))}: ${names}` : fault;
    // Denied, so that no worker takes it up.
    const permission = why === undefined ? tool?.permission : "deny";
    const isCustom = tool?.isCustom === true;
    const event = this.#sessions.addEvent(sessionId, isCustom ? "agent.custom_tool_use" : "agent.tool_use", {
      name: name.slice(0, 256).toWellFormed(),
      input,
      evaluated_permission: permission,
    });
    const script = { tool: name, input, ...(isCustom ? { custom: true } : {}) };
    this.#sessions.addCall(sessionId, event.id, step, script, permission === "ask" ? "asked" : "open");
    if (why === undefined) return;
    this.#sessions.addEvent(sessionId, isCustom ? "user.custom_tool_result" : "user.tool_result", {
      [isCustom ? "custom_tool_use_id" : "tool_use_id"]: event.id,
      is_error: true,
      content: [{ type: "text", text: why.toWellFormed() }],
    });
    this.#sessions.settleCall(event.id, "answered", { text: why, isError: true, passed: false, reasons: [why] });
  }

  #conversation(sessionId: string): Conversation {
    return conversationOf(this.#sessions.allEvents(sessionId));
  }

  /** Ends the session when its time is over, whatever it waits for. */
  #guard(sessionId: string, { begunAt }: Pick<Conversation, "begunAt">): void {
    if (begunAt === undefined || this.#timers.has(sessionId)) return;
    const { timeMs } = this.#options.bounds;
    const leftMs = Math.max(0, begunAt + timeMs - this.#options.now());
    const timer = setTimeout(() => {
      this.drop(sessionId);
      const fault = `the session has not ended within ${timeMs / 1000} s`;
      this.#end(sessionId, { outcome: "failed", reason: "budget_reached", fault });
    }, leftMs);
    timer.unref();
    this.#timers.set(sessionId, timer);
  }

  #end(sessionId: string, { outcome, reason, fault }: Ending): undefined {
    inTransaction(this.#options.database, () => {
      const session = this.#sessions.get(sessionId);
      if (session.outcome !== "running") return;
      clearTimeout(this.#timers.get(sessionId));
      this.#timers.delete(sessionId);
      this.#sessions.voidCalls(sessionId);
      if (fault !== undefined) this.#sessions.addFault(sessionId, fault, "terminal");
      this.#sessions.update(sessionId, { status: "idle", outcome, finishedAt: this.#options.now() });
      this.#sessions.addEvent(sessionId, "session.status_idle", { stop_reason: { type: reason } });
      if ((session.task.end ?? "terminated") === "idle") return;
      this.#sessions.update(sessionId, { status: "terminated" });
      this.#sessions.addEvent(sessionId, "session.status_terminated");
    });
  }
}
