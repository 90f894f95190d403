import { secretsInUse } from "../secrets/secret-search.ts";
import type { Verdict } from "./flow.ts";

/** What was refused, or was permitted and not reached, counted by who and where. */
export interface FailedConnection {
  /** `HOST:PORT (by PROGRAM)`, or the name that was asked for. */
  readonly subject: string;
  readonly count: number;
  readonly detail: string;
  readonly remedy?: string;
}

const mostSubjects = 1024;

/** What failed since it was last taken: for the words at the end of a call. */
export class FailedConnections {
  readonly #bySubject = new Map<string, { count: number; detail: string; remedy?: string }>();

  /** @param named what the sandbox names may hold a secret */
  add(named: string, verdict: Pick<Verdict, "detail" | "remedy">): void {
    const [subject, detail] = [secretsInUse.redact(named), secretsInUse.redact(verdict.detail)];
    const remedy = verdict.remedy === undefined ? undefined : secretsInUse.redact(verdict.remedy);
    const known = this.#bySubject.get(subject);
    if (known !== undefined) known.count++;
    else if (this.#bySubject.size < mostSubjects)
      this.#bySubject.set(subject, { count: 1, detail, ...(remedy === undefined ? {} : { remedy }) });
  }

  take(): readonly FailedConnection[] {
    const taken = [...this.#bySubject].map(([subject, refusal]) => ({ subject, ...refusal }));
    this.#bySubject.clear();
    return taken;
  }
}
