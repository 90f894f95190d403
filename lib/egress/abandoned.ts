/** So many requests may be taken back at once, and so many more in each second: browsers and clients of gRPC take back some. */
const burst = 100;
const perSecond = 100;

/**
 * Holds back the requests of a client that takes them back before they are answered, again and again ("rapid reset",
 * CVE-2023-44487): its server would work for nobody, as often as HTTP/2's bound of streams says that it may not. Who is
 * held back waits, and is not cut off.
 */
export class AbandonedRequests {
  #left = burst;
  #at = performance.now();
  #waiting: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** One that had gone on was taken back, unanswered. */
  add(): void {
    this.#refill();
    this.#left--;
  }

  /** @param go called when the next may go on: at once, as a rule */
  next(go: () => void): void {
    this.#refill();
    if (this.#left > 0 && this.#timer === undefined) {
      go();
      return;
    }
    this.#waiting.push(go);
    this.#wait();
  }

  /** Who waits is forgotten. */
  close(): void {
    clearTimeout(this.#timer);
    this.#waiting = [];
  }

  #refill(): void {
    const now = performance.now();
    this.#left = Math.min(burst, this.#left + ((now - this.#at) * perSecond) / 1000);
    this.#at = now;
  }

  #wait(): void {
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined;
        this.#refill();
        if (this.#left <= 0) {
          this.#wait();
          return;
        }
        const waiting = this.#waiting;
        this.#waiting = [];
        for (const go of waiting) go();
      },
      1 + ((1 - Math.min(0, this.#left)) * 1000) / perSecond,
    ).unref();
  }
}
