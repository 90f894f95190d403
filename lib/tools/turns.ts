/** Lets callers through one after another, in the order in which they asked. */
export class Turns {
  #last: Promise<void> = Promise.resolve();

  /** Runs `work` when all earlier work is over, whether it succeeded or not. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }
}
