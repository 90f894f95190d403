import { native } from "../native.ts";
import { limitKinds } from "./events.ts";

/** A call that may be ended for its limit. */
export interface LimitedCall {
  /** As the sandbox numbers it; 0 until it is known. */
  readonly session: number;
  killForLimit(limit: string): void;
}

/** Few: what belongs to no call that is known yet. */
const mostKept = 64;

/**
 * Ends calls by the name of a limit that one of their processes met where only the broker sees it: `file-size`, at which
 * the kernel ends a process and tells its parent alone (kernels before 6.15 nobody else), and `open-files`, at which it
 * tells the process alone.
 */
export class ReachedLimits {
  readonly #broker: number;
  readonly #calls = new Set<LimitedCall>();
  #kept: { readonly limit: string; readonly sessions: readonly number[] }[] = [];

  constructor(broker: number) {
    this.#broker = broker;
    native().onLimitReached(broker, () => this.look());
  }

  add(call: LimitedCall): void {
    this.#calls.add(call);
  }

  /** At a call's end: what was reached by it however short ago is its limit by then. */
  end(call: LimitedCall): void {
    this.look();
    this.#calls.delete(call);
    if (this.#calls.size === 0) this.#kept = [];
  }

  /** Ends the calls that reached one by now. */
  look(): void {
    for (const { kind, sessions } of native().takeLimits(this.#broker))
      this.#kept.push({ limit: limitKinds[kind] ?? "", sessions });
    const calls = [...this.#calls];
    const isAllKnown = calls.every(({ session }) => session !== 0);
    this.#kept = this.#kept.filter(({ limit, sessions }) => {
      // The nearest session first: a number may have been another call's before.
      const near = sessions.find((session) => calls.some((call) => call.session === session));
      const call = calls.find(({ session }) => session === near) ?? (calls.length === 1 ? calls[0] : undefined);
      call?.killForLimit(limit);
      return call === undefined && !isAllKnown;
    });
    this.#kept.splice(0, this.#kept.length - mostKept);
  }
}
