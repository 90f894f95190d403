/** When an item's session may be served. */
export interface Turn {
  /** Settles when the item of that session that came before has ended; undefined when there is none. */
  readonly after: Promise<unknown> | undefined;
  /** Aborted when the same item is handed out anew: the queue took the lease for lost. */
  readonly taken: AbortSignal;
}

interface Taker {
  readonly work: string;
  readonly taken: AbortController;
  readonly done: Promise<unknown>;
}

/**
 * Lets items of one session be served one after another: side by side each would run the session's calls. The queue hands a
 * session out again when a lease has run out, of which the worker may know later, and under a new item.
 */
export class SessionTurns {
  readonly #last = new Map<string, Taker>();

  async take(session: string, work: string, serve: (turn: Turn) => Promise<void>): Promise<void> {
    const before = this.#last.get(session);
    if (before?.work === work) before.taken.abort();
    const taken = new AbortController();
    const done = serve({ after: before?.done.catch(() => {}), taken: taken.signal });
    const own = { work, taken, done };
    this.#last.set(session, own);
    try {
      await done;
    } finally {
      if (this.#last.get(session) === own) this.#last.delete(session);
    }
  }
}
