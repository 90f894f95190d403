import { HoldfastError } from "../errors.ts";
import type { PolicyProblem } from "./policy.ts";

/** A place in a policy file; both count from 1, the column in characters. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** Problems past this many are counted, not listed: a file of garbage should not fill the screen. */
const mostProblems = 100;

/** Collects what is wrong with one file, so that all of it can be told at once. */
export class Problems {
  readonly file: string;
  #problems: PolicyProblem[] = [];
  readonly #told = new Set<string>();
  #errors = 0;
  #left = 0;

  constructor(file: string) {
    this.file = file;
  }

  error(at: Place, message: string, hint?: string): void {
    this.#errors += 1;
    this.#add("error", at, message, hint);
  }

  warning(at: Place, message: string, hint?: string): void {
    this.#add("warning", at, message, hint);
  }

  get failed(): boolean {
    return this.#errors > 0;
  }

  get errorCount(): number {
    return this.#errors;
  }

  /** In the file's order. */
  list(): readonly PolicyProblem[] {
    const sorted = this.#problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
    const last = sorted.at(-1);
    if (this.#left > 0 && last !== undefined) {
      sorted.push({ ...placed(this.file, last), severity: "error", message: `and ${this.#left} more problems` });
    }
    return Object.freeze(sorted.map((problem) => Object.freeze(problem)));
  }

  #add(severity: "error" | "warning", at: Place, message: string, hint: string | undefined): void {
    // What an alias repeats is told once.
    const identity = `${at.line}:${at.column}:${message}`;
    if (this.#told.has(identity)) return;
    this.#told.add(identity);
    if (this.#problems.length >= mostProblems) {
      this.#left += 1;
      return;
    }
    const problem = { ...placed(this.file, at), severity, message: printable(message) };
    this.#problems.push(hint === undefined ? problem : { ...problem, hint: printable(hint) });
  }
}

function placed(file: string, at: Place): { file: string; line: number; column: number } {
  return { file, line: at.line, column: at.column };
}

/** Longer messages lose their middle: a key may be as long as its file. */
const longestMessage = 600;

/** Text of the file's own may hold control characters: they must not reach a terminal. */
function printable(text: string): string {
  const half = longestMessage / 2;
  const whole = text.length <= longestMessage ? text : `${text.slice(0, half)} … ${text.slice(-half)}`;
  return whole.replaceAll(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/gu, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16).padStart(4, "0");
    return `\\u{${code}}`;
  });
}

/** A value of the file's, quoted and cut for a message. */
export function quote(value: string): string {
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value);
}

/** `file:line:column: message (did you mean "x"?)`, as compilers print it. */
export function formatProblem(problem: PolicyProblem): string {
  const severity = problem.severity === "warning" ? "warning: " : "";
  const hint = problem.hint === undefined ? "" : ` (${problem.hint})`;
  return `${problem.file}:${problem.line}:${problem.column}: ${severity}${problem.message}${hint}`;
}

/** A policy file that cannot be used. `problems` has all of its errors and warnings, in the file's order. */
export class PolicyInvalidError extends HoldfastError {
  readonly problems: readonly PolicyProblem[];

  constructor(file: string, problems: readonly PolicyProblem[]) {
    const errors = problems.filter((problem) => problem.severity === "error");
    super(errors.map(formatProblem).join("\n"), {
      code: "ERR_HOLDFAST_POLICY_INVALID",
      step: "policy",
      hint: `Correct the policy and try it with "holdfast policy check ${file}".`,
      path: file,
    });
    this.name = "PolicyInvalidError";
    this.problems = problems;
  }
}
