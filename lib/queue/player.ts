import type { DatabaseSync } from "node:sqlite";
import { inTransaction } from "./database.ts";
import { type Answer, checkAnswer } from "./expectation.ts";
import type { ModelDriver } from "./model/driver.ts";
import type { CallRecord, Outcome, SessionEvent, SessionRecord, Sessions } from "./sessions.ts";
import { callsOf, type Task, type TaskCall, type TaskStep } from "./task.ts";
import { WireError } from "./wire.ts";

/**
 * The scripted model: makes a task's calls one after another, as the protocol's server would (section 8), and judges
 * the answers. Its place in the script is in the database, so a queue that was restarted goes on where it stopped.
 */
export class Player {
  readonly #database: DatabaseSync;
  readonly #sessions: Sessions;
  readonly #now: () => number;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #model: ModelDriver | undefined;

  constructor(options: {
    database: DatabaseSync;
    sessions: Sessions;
    now: () => number;
    /** Makes the calls of sessions without a script. */
    model: ModelDriver | undefined;
  }) {
    this.#database = options.database;
    this.#sessions = options.sessions;
    this.#now = options.now;
    this.#model = options.model;
  }

  /** Begins a session that was just made. */
  start(sessionId: string): void {
    inTransaction(this.#database, () => {
      const { task } = this.#sessions.get(sessionId);
      this.#sessions.addEvent(sessionId, "user.message", {
        content: [{ type: "text", text: task.message ?? task.name ?? "Begin." }],
      });
      this.#goOn(this.#sessions.get(sessionId));
    });
  }

  /** A worker has taken the session. */
  taken(sessionId: string): void {
    const session = this.#modelsSession(sessionId);
    if (session !== undefined && this.#sessions.openCalls(sessionId).length === 0) this.#goOn(session);
  }

  /** It has given it back; isAsked: because an operator wanted it. */
  released(sessionId: string, isAsked: boolean): void {
    if (this.#modelsSession(sessionId) !== undefined) this.#model?.released(sessionId, isAsked);
  }

  /** Verdicts and interrupts that were still to come when the queue last ended. */
  resume(): void {
    for (const id of this.#sessions.unfinished()) {
      for (const call of this.#sessions.openCalls(id)) {
        if (call.state === "asked") this.#confirmLater(id, call);
        this.#interruptLater(id, call);
      }
      const session = this.#sessions.get(id);
      if (session.task.driver === "model") this.#model?.resume(session);
    }
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#model?.close();
  }

  /** Adds calls to the end of a session's script; one that had come to its end goes on. */
  extend(sessionId: string, steps: readonly TaskStep[], end: Task["end"]): void {
    inTransaction(this.#database, () => {
      const session = this.#sessions.get(sessionId);
      if (session.status === "terminated") throw ended(sessionId);
      if (session.task.driver === "model") {
        throw new WireError("invalid_request_error", "calls: the model makes them in this session; send user.message");
      }
      const task: Task = { ...session.task, calls: [...(session.task.calls ?? []), ...steps] };
      if (end !== undefined) task.end = end;
      this.#sessions.update(sessionId, { task });
      if (session.outcome !== "running") {
        this.#sessions.update(sessionId, { outcome: "running", finishedAt: null, interrupted: false });
        this.#run(sessionId);
      }
    });
  }

  /** Stores an event that a client sent, and acts on it. */
  accept(sessionId: string, event: Readonly<Record<string, unknown>>): SessionEvent {
    return inTransaction(this.#database, () => {
      const session = this.#sessions.get(sessionId);
      if (session.status === "terminated") throw ended(sessionId);
      const { type, id: _id, ...fields } = event;
      switch (type) {
        case "user.tool_result":
        case "user.custom_tool_result":
          return this.#acceptResult(sessionId, type, fields);
        case "user.tool_confirmation":
          return this.#acceptConfirmation(sessionId, fields);
        case "user.interrupt": {
          const stored = this.#sessions.addEvent(sessionId, type, fields);
          this.#sessions.update(sessionId, { interrupted: true });
          if (session.task.driver === "model" && session.outcome === "running") this.#model?.interrupt(sessionId);
          else this.#goOnIfSettled(sessionId);
          return stored;
        }
        case "user.message": {
          const stored = this.#sessions.addEvent(sessionId, type, fields);
          if (session.task.driver === "model") {
            if (session.outcome === "running") return stored;
            this.#sessions.update(sessionId, { outcome: "running", finishedAt: null, interrupted: false });
            this.#goOn(this.#sessions.get(sessionId));
            return stored;
          }
          // A scripted model has nothing new to say: its turn begins and ends.
          if (session.outcome !== "running") {
            this.#sessions.addEvent(sessionId, "session.status_running");
            this.#sessions.addEvent(sessionId, "session.status_idle", { stop_reason: { type: "end_turn" } });
          }
          return stored;
        }
        default:
          throw new WireError("invalid_request_error", `events: a client cannot send ${JSON.stringify(type)}`);
      }
    });
  }

  /** Ends a session for good. */
  terminate(sessionId: string): void {
    inTransaction(this.#database, () => {
      const session = this.#sessions.get(sessionId);
      if (session.status === "terminated") return;
      this.#model?.drop(sessionId);
      this.#sessions.voidCalls(sessionId);
      this.#sessions.update(sessionId, { status: "terminated", finishedAt: this.#now() });
      if (session.outcome === "running") this.#sessions.update(sessionId, { outcome: "canceled" });
      this.#sessions.addEvent(sessionId, "session.status_terminated");
    });
  }

  /** The session is deleted. */
  forget(sessionId: string): void {
    this.#model?.drop(sessionId);
  }

  #acceptResult(
    sessionId: string,
    type: "user.tool_result" | "user.custom_tool_result",
    fields: Readonly<Record<string, unknown>>,
  ): SessionEvent {
    const custom = type === "user.custom_tool_result";
    const idField = custom ? "custom_tool_use_id" : "tool_use_id";
    const id = fields[idField];
    const call = typeof id === "string" ? this.#sessions.call(sessionId, id) : undefined;
    if (call === undefined || (call.script.custom === true) !== custom) {
      throw new WireError("invalid_request_error", `${idField}: there is no such call in session ${sessionId}`);
    }
    if (call.state !== "open") {
      throw new WireError("invalid_request_error", `${idField}: call ${call.id} is not open (it is ${call.state})`);
    }
    const answer = readAnswer(fields);
    const stored = this.#sessions.addEvent(sessionId, type, fields);
    this.#settle(call, answer);
    this.#goOnIfSettled(sessionId);
    return stored;
  }

  #acceptConfirmation(sessionId: string, fields: Readonly<Record<string, unknown>>): SessionEvent {
    const id = fields["tool_use_id"];
    const call = typeof id === "string" ? this.#sessions.call(sessionId, id) : undefined;
    if (call === undefined || call.state !== "asked") {
      throw new WireError("invalid_request_error", "tool_use_id: no call of that id waits for a confirmation");
    }
    const verdict = fields["result"];
    if (verdict !== "allow" && verdict !== "deny") {
      throw new WireError("invalid_request_error", "result: must be allow or deny");
    }
    const stored = this.#sessions.addEvent(sessionId, "user.tool_confirmation", fields);
    if (verdict === "allow") this.#sessions.setCallState(call.id, "open");
    else this.#deny(call);
    this.#goOnIfSettled(sessionId);
    return stored;
  }

  #settle(call: CallRecord, answer: Answer): void {
    const reasons = checkAnswer(call.script.expect, answer);
    this.#sessions.settleCall(call.id, "answered", {
      text: answer.text,
      isError: answer.isError,
      passed: reasons.length === 0,
      reasons,
    });
  }

  /** A denied call is as it should be unless the task expected an answer to it. */
  #deny(call: CallRecord): void {
    const expected = call.script.expect !== undefined;
    this.#sessions.settleCall(call.id, "denied", {
      text: null,
      isError: null,
      passed: !expected,
      reasons: expected ? ["expected an answer, but the call was denied"] : [],
    });
  }

  #goOnIfSettled(sessionId: string): void {
    const session = this.#sessions.get(sessionId);
    if (session.outcome === "running" && this.#sessions.openCalls(sessionId).length === 0) this.#goOn(session);
  }

  /** No call is open: what comes next is the script's to say, or the model's. */
  #goOn(session: SessionRecord): void {
    if (session.task.driver !== "model") this.#run(session.id);
    else if (this.#model !== undefined) this.#model.next(session.id);
    else {
      this.#sessions.addFault(
        session.id,
        "the queue was started without the model that this session is of",
        "terminal",
      );
      this.#finish(session.id, "failed");
    }
  }

  /** One that is under way. */
  #modelsSession(sessionId: string): SessionRecord | undefined {
    if (!this.#sessions.unfinished().includes(sessionId)) return undefined;
    const session = this.#sessions.get(sessionId);
    return session.task.driver === "model" ? session : undefined;
  }

  /** Plays on until a call waits for a client or the script is over. */
  #run(sessionId: string): void {
    const session = this.#sessions.get(sessionId);
    const steps = session.task.calls ?? [];
    this.#sessions.update(sessionId, { status: "running" });
    this.#sessions.addEvent(sessionId, "session.status_running");
    for (let position = session.step; ; position += 1) {
      const step = steps[position];
      const failed = this.#sessions.hasFailed(sessionId);
      if (step === undefined || session.interrupted || (failed && session.task.on_failure === "stop")) {
        this.#sessions.update(sessionId, { step: position });
        this.#finish(sessionId, failed ? "failed" : session.interrupted ? "canceled" : "passed");
        return;
      }
      this.#sessions.update(sessionId, { step: position + 1 });
      for (const script of callsOf(step)) this.#ask(sessionId, position, script);
      const waiting = this.#sessions.openCalls(sessionId);
      if (waiting.length > 0) {
        this.#sessions.update(sessionId, { status: "idle" });
        this.#sessions.addEvent(sessionId, "session.status_idle", {
          stop_reason: { type: "requires_action", event_ids: waiting.map((call) => call.id) },
        });
        return;
      }
    }
  }

  #ask(sessionId: string, position: number, script: TaskCall): void {
    if (script.say !== undefined) {
      this.#sessions.addEvent(sessionId, "agent.message", { content: [{ type: "text", text: script.say }] });
    }
    const input = script.input === undefined ? {} : script.input;
    const event = this.#sessions.addEvent(sessionId, script.custom ? "agent.custom_tool_use" : "agent.tool_use", {
      name: script.tool,
      input,
      ...(script.custom && script.permission === undefined
        ? {}
        : { evaluated_permission: script.permission ?? "allow" }),
      ...(script.thread === undefined ? {} : { session_thread_id: script.thread }),
    });
    const permission = script.permission ?? "allow";
    const state = permission === "allow" || permission === "deny" ? "open" : "asked";
    this.#sessions.addCall(sessionId, event.id, position, script, state);
    const call: CallRecord = { id: event.id, step: position, script, state, passed: null };
    if (permission === "deny") this.#deny(call);
    else if (script.answer !== undefined) {
      this.#sessions.addEvent(sessionId, script.custom ? "user.custom_tool_result" : "user.tool_result", {
        [script.custom ? "custom_tool_use_id" : "tool_use_id"]: event.id,
        is_error: false,
        content: [{ type: "text", text: script.answer }],
      });
      this.#settle(call, { text: script.answer, isError: false });
    } else if (state === "asked") this.#confirmLater(sessionId, call);
    this.#interruptLater(sessionId, call);
  }

  #interruptLater(sessionId: string, call: CallRecord): void {
    const { interrupt_after_ms: ms } = call.script;
    if (ms === undefined) return;
    this.#later(ms, () => {
      if (this.#sessions.call(sessionId, call.id)?.state !== "open") return;
      this.accept(sessionId, { type: "user.interrupt" });
    });
  }

  #confirmLater(sessionId: string, call: CallRecord): void {
    const { confirm } = call.script;
    if (confirm === undefined) return;
    this.#later(call.script.confirm_after_ms ?? 0, () => {
      if (this.#sessions.call(sessionId, call.id)?.state !== "asked") return;
      this.accept(sessionId, {
        type: "user.tool_confirmation",
        tool_use_id: call.id,
        result: confirm,
        ...(confirm === "deny" ? { deny_message: "denied by the task" } : {}),
      });
    });
  }

  #later(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      try {
        action();
      } catch (error) {
        // The session was ended or deleted meanwhile: there is nothing left to do for it.
        if (!(error instanceof WireError)) throw error;
      }
    }, ms);
    timer.unref();
    this.#timers.add(timer);
  }

  #finish(sessionId: string, outcome: Outcome): void {
    const { made, passed } = this.#sessions.tally(sessionId);
    this.#sessions.addEvent(sessionId, "agent.message", {
      content: [{ type: "text", text: `${passed} of ${made} calls were as expected.` }],
    });
    this.#sessions.update(sessionId, { status: "idle", outcome, finishedAt: this.#now() });
    this.#sessions.addEvent(sessionId, "session.status_idle", { stop_reason: { type: "end_turn" } });
    if ((this.#sessions.get(sessionId).task.end ?? "terminated") === "terminated") {
      this.#sessions.update(sessionId, { status: "terminated" });
      this.#sessions.addEvent(sessionId, "session.status_terminated");
    }
  }
}

function ended(sessionId: string): WireError {
  return new WireError("invalid_request_error", `session ${sessionId} is terminated`);
}

const blockTypes = new Set(["text", "image", "document", "search_result"]);

function readAnswer(fields: Readonly<Record<string, unknown>>): Answer {
  const content = fields["content"];
  if (!Array.isArray(content) || content.length === 0) {
    throw new WireError("invalid_request_error", "content: must be a list of at least one block");
  }
  const texts: string[] = [];
  for (const [index, block] of content.entries()) {
    const type: unknown = typeof block === "object" && block !== null ? block.type : undefined;
    if (typeof type !== "string" || !blockTypes.has(type)) {
      throw new WireError("invalid_request_error", `content.${index}: unknown block type`);
    }
    if (type !== "text") continue;
    if (typeof block.text !== "string" || block.text === "") {
      throw new WireError("invalid_request_error", `content.${index}.text: must be a string that is not empty`);
    }
    if (!block.text.isWellFormed()) {
      throw new WireError("invalid_request_error", `content.${index}.text: is not well-formed Unicode`);
    }
    texts.push(block.text);
  }
  const isError = fields["is_error"];
  if (isError !== undefined && isError !== null && typeof isError !== "boolean") {
    throw new WireError("invalid_request_error", "is_error: must be a boolean");
  }
  return { text: texts.join("\n"), isError: isError === true };
}
