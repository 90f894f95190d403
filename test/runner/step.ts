/** How a step ended. Counts are of tests; a step that is one check counts as one. */
export interface Outcome {
  passed: number;
  failed: number;
  /** What was left out, each with its reason. */
  skipped: readonly string[];
  /** What a reader needs when something failed. */
  detail: string;
}

export interface Step {
  name: string;
  limitMs: number;
  run: (limitMs: number) => Promise<Outcome>;
}

export function passed(): Outcome {
  return { passed: 1, failed: 0, skipped: [], detail: "" };
}

export function failed(detail: string): Outcome {
  return { passed: 0, failed: 1, skipped: [], detail };
}

export function skipped(reason: string): Outcome {
  return { passed: 0, failed: 0, skipped: [reason], detail: "" };
}

/** The last part of a long output: compilers and tests end with what matters. */
export function tail(text: string, lines = 80): string {
  const all = text.trimEnd().split("\n");
  return all.length <= lines
    ? all.join("\n")
    : `[${all.length - lines} lines left out]\n${all.slice(-lines).join("\n")}`;
}
