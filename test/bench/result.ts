import type { Times } from "./rounds.ts";

/** One line of the table: what was measured, against what, and how far it may be from it. */
export interface Line {
  readonly name: string;
  readonly what: string;
  readonly base: string;
  readonly times: Times;
  readonly baseTimes: Times;
  /** What is measured; milliseconds when absent. */
  readonly unit?: string;
  /** Median over median may be at most this, or has to be at least this; null for a line that only informs. */
  readonly bar: number | null;
  /** More is better: a rate. */
  readonly isRate?: boolean;
}

/** A comparison that this machine cannot make. */
export interface Skipped {
  readonly name: string;
  readonly skipped: string;
}

export type Outcome = Line | Skipped;

/** A comparison: finishes within seconds, leaves nothing behind. */
export interface Benchmark {
  readonly name: string;
  run(scale: number): Promise<readonly Outcome[]>;
}

export function ratio(line: Line): number {
  return line.times.median / line.baseTimes.median;
}

/** The ratio as it is held against a bar, and against that of another run: less is better. */
function cost(line: Line): number {
  return line.isRate === true ? 1 / ratio(line) : ratio(line);
}

export function isWorse(line: Line, than: Line): boolean {
  return cost(line) > cost(than);
}

export function passes(line: Line): boolean {
  return line.bar === null || (line.isRate === true ? ratio(line) >= line.bar : ratio(line) <= line.bar);
}

const number = (value: number): string => value.toFixed(value < 10 ? 2 : value < 1000 ? 1 : 0);
const ratioText = (value: number): string => (value < 0.1 ? value.toFixed(3) : value.toFixed(2));

/** The outcomes of all runs as text: the worst ratio of each line counts; `best` is best over best. */
export function table(outcomes: readonly Outcome[]): string {
  const rows: string[][] = [["name", "what", "against", "", "its", "base's", "ratio", "best", "bar", ""]];
  for (const outcome of outcomes) {
    if ("skipped" in outcome) {
      rows.push([outcome.name, `skipped: ${outcome.skipped}`]);
      continue;
    }
    const { name, what, base, times, baseTimes, bar, unit = "ms", isRate = false } = outcome;
    rows.push([
      name,
      what,
      base,
      unit,
      number(times.median),
      number(baseTimes.median),
      ratioText(ratio(outcome)),
      ratioText(times.best / baseTimes.best),
      bar === null ? "" : `${isRate ? ">= " : ""}${bar}`,
      bar === null ? "" : passes(outcome) ? "pass" : "MISS",
    ]);
  }
  const complete = rows.filter((row) => row.length > 2);
  const widths = (complete[0] ?? []).map((_, i) => Math.max(...complete.map((row) => row[i]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, i) =>
          row.length === 2 && i === 1
            ? cell
            : i >= 4 && i <= 8
              ? cell.padStart(widths[i] ?? 0)
              : cell.padEnd(widths[i] ?? 0),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
