import type { ToolResult } from "../../lib/tools/toolset.ts";
import type { Session } from "./session.ts";

interface Expectation {
  readonly is_error: boolean;
  readonly text: string;
}

interface Step {
  readonly tool: string;
  readonly input: unknown;
  readonly expect: Expectation;
  /** Other results that are as good. */
  readonly also?: readonly Expectation[];
  /**
   * How the text is compared: exactly when absent; the same lines in any order; not at all; by a regular expression;
   * or by its beginning, end and greatest length.
   */
  readonly compare?: "lines" | "error" | { readonly re: string } | Ends;
}

interface Ends {
  readonly prefix?: string;
  readonly suffix?: string;
  readonly max?: number;
}

/** A table of inputs and results: `toolset-golden.json` and `cases.json` have this form. */
export interface RecordedCases {
  /** A shell script that fills the empty working directory; run by the session's own shell. */
  readonly fixture: string;
  readonly groups: readonly { readonly name: string; readonly steps: readonly Step[] }[];
}

/** Plays one group in a new session. Returns one text for each step that came out differently. */
export async function playGroup(session: Session, fixture: string, steps: readonly Step[]): Promise<string[]> {
  await session.bash(fixture);
  const differences: string[] = [];
  for (const step of steps) {
    const { tool, input, expect, also = [], compare } = inWorkdir(step, session.workdir);
    const result = await session.run(tool, input);
    if ([expect, ...also].some((expected) => isEqual(result, expected, compare))) continue;
    differences.push(
      `${tool} ${JSON.stringify(input)}\n  got      ${JSON.stringify(result)}\n  expected ${JSON.stringify(expect)}`,
    );
  }
  return differences;
}

function inWorkdir(step: Step, workdir: string): Step {
  return JSON.parse(JSON.stringify(step).replaceAll("{{workdir}}", workdir)) as Step;
}

function isEqual(result: ToolResult, expected: Expectation, compare: Step["compare"]): boolean {
  const { text, isError } = result;
  if (isError !== expected.is_error) return false;
  if (compare === undefined) return text === expected.text;
  if (compare === "error") return true;
  if (compare === "lines") return sortedLines(text) === sortedLines(expected.text);
  if ("re" in compare) return new RegExp(compare.re).test(text);
  const { prefix = "", suffix = "", max = Number.POSITIVE_INFINITY } = compare;
  return text.startsWith(prefix) && text.endsWith(suffix) && text.length <= max;
}

function sortedLines(text: string): string {
  return text.split("\n").sort().join("\n");
}
