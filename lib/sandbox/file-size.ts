import { native } from "../native.ts";

/** A call that may be ended for its limit. */
export interface LimitedCall {
  readonly session: number;
  killForLimit(limit: string): void;
}

/**
 * Ends calls by the name of the limit file-size when any of their processes went beyond it. The kernel ends such a
 * process, but tells only its parent, which lies inside unless it is the call's first; kernels before 6.15 tell nobody
 * else at all, and there the call goes on.
 */
export class FileSizeLimit {
  readonly #broker: number;
  readonly #calls = new Set<LimitedCall>();

  constructor(broker: number) {
    this.#broker = broker;
    native().onFileSizeReached(broker, (session) => {
      for (const call of this.#calls)
        if (call.session === session || this.#calls.size === 1) call.killForLimit("file-size");
    });
  }

  add(call: LimitedCall): void {
    this.#calls.add(call);
  }

  /** While a call goes on: the limit's name if it was reached by now. */
  reached(call: LimitedCall): string | null {
    return this.#take(call);
  }

  /** At a call's end: the limit's name if it was reached, however short ago. */
  end(call: LimitedCall): string | null {
    const limit = this.#take(call);
    this.#calls.delete(call);
    return limit;
  }

  #take({ session }: LimitedCall): string | null {
    const alone = this.#calls.size === 1;
    return native().takeFileSizeReached(this.#broker, alone ? 0 : session) ? "file-size" : null;
  }
}
