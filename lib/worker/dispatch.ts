import {
  answeredCall,
  endsSession,
  endsTurn,
  isIdleNeutral,
  readToolUse,
  type SessionEvent,
  type ToolUse,
  textField,
} from "./events.ts";
import type { IdleClock } from "./idle-clock.ts";

export interface DispatchOptions {
  /** The worker's own tools. */
  readonly names: readonly string[];
  readonly clock: IdleClock;
  /** A call is to be run after those before it. */
  readonly start: (call: ToolUse) => void;
  /** Whether a call waits to be run, is being run, or its result is being posted. */
  readonly isUnderWay: (id: string) => boolean;
  /** A thread has ended: its calls that wait to be run are void. Those that run already may end. */
  readonly dropThread: (thread: string) => void;
  /** Somebody answered a call. */
  readonly onAnswered: (id: string) => void;
  /** Ends calls that run or wait to be run. */
  readonly interrupt: (isMeant: (call: ToolUse) => boolean) => void;
  /** Said once for each call that is not run. */
  readonly onPassedOver: (call: ToolUse, why: "denied" | "held" | "not ours" | "thread ended") => void;
}

/** What one reading of the history has gathered. */
export class HistoryPass {
  readonly pending: ToolUse[] = [];
  readonly newlySeen: Set<string> = new Set();
  /** Calls that an interrupt came after. */
  readonly interrupted: Set<string> = new Set();
  /** Calls that a verdict came for. */
  readonly judged: Set<string> = new Set();
  lastEndedTurn = false;
  /** The session's latest status is its end. */
  isOver = false;
}

/** Which calls of a session are run, held and left alone (protocol section 9). It runs nothing itself. */
export class Dispatch {
  readonly #options: DispatchOptions;
  readonly #names: ReadonlySet<string>;
  readonly #seen = new Set<string>();
  readonly #answered = new Set<string>();
  readonly #verdicts = new Map<string, unknown>();
  readonly #held = new Map<string, ToolUse>();
  readonly #deadThreads = new Set<string>();
  readonly #passedOver = new Set<string>();
  /** Interrupts that were acted on: one that comes again must not end a call that was made after it. */
  readonly #interrupts = new Set<string>();

  constructor(options: DispatchOptions) {
    this.#options = options;
    this.#names = new Set(options.names);
  }

  isAnswered(id: string): boolean {
    return this.#answered.has(id);
  }

  /** A result of ours has reached the session. */
  markAnswered(id: string): void {
    this.#answered.add(id);
  }

  /** Acts on a live event. Returns whether the session is over. */
  handle(event: SessionEvent): boolean {
    const { clock } = this.#options;
    clock.noteEvent(event);
    const call = readToolUse(event);
    if (call !== undefined) {
      if (this.#seen.has(call.id)) return false;
      this.#seen.add(call.id);
      this.#route(call);
      return false;
    }
    this.#note(event);
    switch (event.type) {
      case "user.tool_confirmation": {
        const held = this.#held.get(textField(event, "tool_use_id") ?? "");
        if (held !== undefined) this.#applyVerdict(held, event["result"]);
        break;
      }
      case "session.thread_status_terminated":
        this.#releaseDeadThreads();
        break;
      case "user.interrupt":
        if (this.#isNewInterrupt(event)) this.#options.interrupt((running) => isMeantBy(event, running));
        break;
    }
    return endsSession(event);
  }

  /** Takes in one event of the history; nothing is run before all of it has been read. */
  ingest(event: SessionEvent, pass: HistoryPass): void {
    if (!isIdleNeutral(event)) pass.lastEndedTurn = endsTurn(event);
    if (event.type.startsWith("session.status_") || event.type === "session.deleted") pass.isOver = endsSession(event);
    const call = readToolUse(event);
    if (call === undefined) {
      this.#note(event);
      if (event.type === "user.tool_confirmation") pass.judged.add(textField(event, "tool_use_id") ?? "");
      else if (event.type === "user.interrupt") this.#interruptPending(event, pass);
      return;
    }
    if (!this.#seen.has(call.id)) {
      this.#seen.add(call.id);
      pass.newlySeen.add(call.id);
    }
    if (!this.#answered.has(call.id)) pass.pending.push(call);
  }

  /** The history could not be read to its end: calls seen only there are forgotten, so that a later pass finds them. */
  abandonPass(pass: HistoryPass): void {
    for (const id of pass.newlySeen) if (!this.#options.isUnderWay(id)) this.#seen.delete(id);
    this.#options.interrupt(({ id }) => pass.interrupted.has(id));
    this.#options.clock.noteHistory(false);
    this.#releaseDeadThreads();
  }

  /** The history has been read: routes every call in it that is not answered, oldest first. */
  finishPass(pass: HistoryPass): void {
    const { clock } = this.#options;
    clock.noteHistory(true);
    this.#releaseDeadThreads();
    clock.disarm();
    const open = pass.pending.filter((call) => !this.#answered.has(call.id));
    for (const call of open) this.#route(call);
    // Those too that were only just taken up: whoever makes a call wants its answer.
    this.#options.interrupt(({ id }) => pass.interrupted.has(id));
    // A held call that this history did not have.
    for (const call of [...this.#held.values()]) {
      if (this.#verdicts.has(call.id)) this.#applyVerdict(call, this.#verdicts.get(call.id));
    }
    const waitsForOthers = open.some(
      ({ id, thread }) =>
        !this.#answered.has(id) && !this.#held.has(id) && !this.#isDead(thread) && !this.#options.isUnderWay(id),
    );
    if (pass.lastEndedTurn && !waitsForOthers) clock.arm();
    else clock.disarm();
  }

  /** What live and past events alike leave behind. */
  #note(event: SessionEvent): void {
    const answered = answeredCall(event);
    if (answered !== undefined) {
      this.#answered.add(answered);
      if (this.#held.delete(answered)) this.#options.clock.unblock(answered);
      this.#options.onAnswered(answered);
    } else if (event.type === "user.tool_confirmation") {
      const id = textField(event, "tool_use_id");
      if (id !== undefined && !this.#answered.has(id)) this.#verdicts.set(id, event["result"]);
    } else if (event.type === "session.thread_status_terminated") {
      const thread = textField(event, "session_thread_id");
      if (thread !== undefined) this.#deadThreads.add(thread);
    }
  }

  #isNewInterrupt(event: SessionEvent): boolean {
    const id = textField(event, "id");
    if (id === undefined) return true;
    if (this.#interrupts.has(id)) return false;
    this.#interrupts.add(id);
    return true;
  }

  /** As live: what runs or waits to be run is interrupted, not what is held for a verdict. */
  #interruptPending(event: SessionEvent, pass: HistoryPass): void {
    this.#isNewInterrupt(event);
    for (const call of pass.pending) {
      const isHeld = !needsNoVerdict(call) && !pass.judged.has(call.id);
      if (!isHeld && isMeantBy(event, call)) pass.interrupted.add(call.id);
    }
  }

  #isDead(thread: string | undefined): boolean {
    return thread !== undefined && this.#deadThreads.has(thread);
  }

  #route(call: ToolUse): void {
    if (this.#isDead(call.thread)) {
      this.#passOver(call, "thread ended");
      return;
    }
    // The server's own refusal stands, whatever anybody has said.
    if (call.permission === "deny") {
      this.#applyVerdict(call, "deny");
      return;
    }
    if (this.#verdicts.has(call.id)) {
      this.#applyVerdict(call, this.#verdicts.get(call.id));
      return;
    }
    if (needsNoVerdict(call)) {
      this.#run(call);
      return;
    }
    // `ask`, or a word of later days: not without a verdict.
    if (this.#held.has(call.id)) return;
    this.#held.set(call.id, call);
    this.#options.clock.block(call.id);
    this.#passOver(call, "held");
  }

  #applyVerdict(call: ToolUse, verdict: unknown): void {
    const wasHeld = this.#held.delete(call.id);
    if (verdict === "allow" && call.permission !== "deny") {
      const isOurs = this.#run(call);
      // Its owner still has to answer: the turn is not over.
      if (!isOurs) this.#options.clock.disarm();
      if (wasHeld && !isOurs) this.#options.clock.unblock(call.id);
      return;
    }
    this.#answered.add(call.id);
    if (wasHeld) this.#options.clock.unblock(call.id);
    this.#passOver(call, "denied");
  }

  /** Returns whether the call is one of ours. */
  #run(call: ToolUse): boolean {
    if (this.#answered.has(call.id)) {
      this.#options.clock.unblock(call.id);
      return true;
    }
    if (call.custom || !this.#names.has(call.name)) {
      this.#passOver(call, "not ours");
      return false;
    }
    if (!this.#options.isUnderWay(call.id)) {
      this.#options.clock.block(call.id);
      this.#options.start(call);
    }
    return true;
  }

  #releaseDeadThreads(): void {
    for (const call of [...this.#held.values()]) {
      if (!this.#isDead(call.thread)) continue;
      this.#held.delete(call.id);
      this.#options.clock.abandon(call.id);
      this.#passOver(call, "thread ended");
    }
    for (const thread of this.#deadThreads) this.#options.dropThread(thread);
  }

  #passOver(call: ToolUse, why: "denied" | "held" | "not ours" | "thread ended"): void {
    const mark = `${why} ${call.id}`;
    if (this.#passedOver.has(mark)) return;
    this.#passedOver.add(mark);
    this.#options.onPassedOver(call, why);
  }
}

function needsNoVerdict({ permission }: ToolUse): boolean {
  return permission === undefined || permission === "allow";
}

/** An interrupt without a thread is for all of the session. */
function isMeantBy(interrupt: SessionEvent, call: ToolUse): boolean {
  const thread = textField(interrupt, "session_thread_id");
  return thread === undefined || call.thread === thread;
}
