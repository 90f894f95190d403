import { endsTurn, isIdleNeutral, type SessionEvent } from "./events.ts";

/**
 * The countdown that starts when a turn ends and after which the worker leaves the session (protocol section 9). Calls
 * that are held, waiting or running defer it; it then starts anew with the last of them.
 */
export class IdleClock {
  readonly #maxIdleMs: number;
  readonly #onExpire: () => void;
  readonly #blockers = new Set<string>();
  #isArmPending = false;
  /** The history could not be read: a countdown may come from an idle state that the session has left since. */
  #mayBeStale = false;
  #timer: NodeJS.Timeout | undefined;

  /** @param maxIdleMs 0 or less: never */
  constructor(maxIdleMs: number, onExpire: () => void) {
    this.#maxIdleMs = maxIdleMs;
    this.#onExpire = onExpire;
  }

  noteEvent(event: SessionEvent): void {
    if (this.#mayBeStale && event.type === "session.thread_status_terminated") this.disarm();
    if (isIdleNeutral(event)) return;
    this.#mayBeStale = false;
    if (endsTurn(event)) this.arm();
    else this.disarm();
  }

  noteHistory(wasRead: boolean): void {
    this.#mayBeStale = !wasRead;
  }

  block(id: string): void {
    this.#blockers.add(id);
    if (this.#timer === undefined) return;
    this.#stop();
    this.#isArmPending = true;
  }

  unblock(id: string): void {
    this.#blockers.delete(id);
    if (this.#blockers.size === 0 && this.#isArmPending) this.arm();
  }

  /** As `unblock`, for a call that can no longer be answered. */
  abandon(id: string): void {
    if (this.#mayBeStale) this.disarm();
    this.unblock(id);
  }

  arm(): void {
    if (this.#maxIdleMs <= 0) return;
    this.#stop();
    this.#isArmPending = this.#blockers.size > 0;
    if (!this.#isArmPending) this.#timer = setTimeout(this.#onExpire, this.#maxIdleMs);
  }

  disarm(): void {
    this.#isArmPending = false;
    this.#stop();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
