import type { Verdict } from "./flow.ts";

/** What was refused, counted by who and where. */
export interface RefusedConnection {
  /** `HOST:PORT (by PROGRAM)`, or the name that was asked for. */
  readonly subject: string;
  readonly count: number;
  readonly detail: string;
  readonly remedy?: string;
}

const mostSubjects = 1024;

/** What was refused since it was last taken: for the words at the end of a call. */
export class Refusals {
  readonly #bySubject = new Map<string, { count: number; detail: string; remedy?: string }>();

  add(subject: string, { detail, remedy }: Verdict): void {
    const known = this.#bySubject.get(subject);
    if (known !== undefined) known.count++;
    else if (this.#bySubject.size < mostSubjects)
      this.#bySubject.set(subject, { count: 1, detail, ...(remedy === undefined ? {} : { remedy }) });
  }

  take(): readonly RefusedConnection[] {
    const taken = [...this.#bySubject].map(([subject, refusal]) => ({ subject, ...refusal }));
    this.#bySubject.clear();
    return taken;
  }
}
