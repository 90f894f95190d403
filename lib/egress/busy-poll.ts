import { availableParallelism } from "node:os";

/** What a halted processor takes to wake is a good part of this, so that waiting longer than it saves would be a loss. */
const longestMs = 0.25;
/** How often in a row one flow has to be that fast before anything is waited for so. */
const quickEnough = 8;

/**
 * Waits for the next bytes of the one flow that is busy without letting the thread sleep, as the kernel does for its guests
 * (virt/guest-halt-polling.rst) and its sockets (SO_BUSY_POLL, socket(7)): where requests follow each other on one
 * connection, waking up is as dear as carrying them.
 */
export class BusyPoll {
  readonly #isWorthwhile: boolean;
  readonly #now: () => number;
  readonly #soon: (poll: () => void) => void;
  #flow: object | undefined;
  #quick = 0;
  #lastMs = 0;
  #isPolling = false;

  /** @param options cpus on how many the thread may run: on a single one it would keep it from whom it waits for */
  constructor({
    cpus = availableParallelism(),
    now = () => performance.now(),
    // An immediate that is due keeps the loop from waiting (libuv, uv_backend_timeout).
    soon = setImmediate,
  }: {
    readonly cpus?: number;
    readonly now?: () => number;
    readonly soon?: (poll: () => void) => void;
  } = {}) {
    this.#isWorthwhile = cpus > 1;
    this.#now = now;
    this.#soon = soon;
  }

  /** A flow has passed something on: what comes next on it may come soon. */
  passed(flow: object): void {
    if (!this.#isWorthwhile) return;
    const now = this.#now();
    const isQuick = flow === this.#flow && now - this.#lastMs <= longestMs;
    this.#flow = flow;
    this.#lastMs = now;
    this.#quick = isQuick ? this.#quick + 1 : 0;
    if (this.#quick < quickEnough || this.#isPolling) return;
    this.#isPolling = true;
    this.#poll();
  }

  readonly #poll = (): void => {
    if (this.#quick < quickEnough || this.#now() - this.#lastMs > longestMs) this.#isPolling = false;
    else this.#soon(this.#poll);
  };
}

/** Of this thread's loop, which all of its sandboxes share. */
export const busyPoll: BusyPoll = new BusyPoll();
