import type { Expectation } from "./task.ts";

/** What a worker answered to a call: the text of all its text blocks, joined by line feeds. */
export interface Answer {
  readonly text: string;
  readonly isError: boolean;
}

function asList(value: string | readonly string[] | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === "string" ? [value] : value;
}

/** Why an answer is not what a task expected; an empty list when it is. */
export function checkAnswer(expected: Expectation | undefined, answer: Answer): string[] {
  if (expected === undefined) return [];
  const reasons: string[] = [];
  if (expected.is_error !== undefined && expected.is_error !== answer.isError) {
    reasons.push(expected.is_error ? "expected an error, got a success" : "expected a success, got an error");
  }
  if (expected.equals !== undefined && expected.equals !== answer.text) {
    reasons.push(`expected exactly ${JSON.stringify(clip(expected.equals))}`);
  }
  for (const part of asList(expected.contains)) {
    if (!answer.text.includes(part)) reasons.push(`expected the text to contain ${JSON.stringify(clip(part))}`);
  }
  for (const part of asList(expected.excludes)) {
    if (answer.text.includes(part)) reasons.push(`expected the text not to contain ${JSON.stringify(clip(part))}`);
  }
  for (const pattern of asList(expected.matches)) {
    if (!new RegExp(pattern, "su").test(answer.text)) reasons.push(`expected the text to match /${pattern}/`);
  }
  return reasons;
}

function clip(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
