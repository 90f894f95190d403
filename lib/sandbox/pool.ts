import type { Sandbox } from "./sandbox.ts";

/**
 * Sandboxes made ahead, so that a session starts in one that stands already. Each is handed out once; what is taken is
 * made again in the background.
 */
export class SandboxPool implements AsyncDisposable {
  readonly #make: () => Promise<Sandbox>;
  readonly #size: number;
  #ready: Promise<Sandbox>[] = [];
  #closed = false;

  constructor(make: () => Promise<Sandbox>, size: number) {
    this.#make = make;
    this.#size = size;
    this.#fill();
  }

  /** A sandbox of the caller's own, to be disposed by it. Rejects as Sandbox.create does. */
  async take(): Promise<Sandbox> {
    const warm = this.#ready.shift();
    this.#fill();
    if (warm === undefined) return this.#make();
    try {
      return await warm;
    } catch {
      // What kept the one made ahead from standing may have passed; if not, this says it.
      return this.#make();
    }
  }

  /** Ends those that nobody took. */
  async dispose(): Promise<void> {
    this.#closed = true;
    const left = this.#ready;
    this.#ready = [];
    await Promise.all(
      left.map((pending) =>
        pending.then(
          (sandbox) => sandbox.dispose(),
          () => {},
        ),
      ),
    );
  }

  /** As `dispose`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #fill(): void {
    while (!this.#closed && this.#ready.length < this.#size) {
      const pending = this.#make();
      pending.catch(() => {}); // heard by whoever takes it
      this.#ready.push(pending);
    }
  }
}
