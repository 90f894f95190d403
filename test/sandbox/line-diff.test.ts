import test from "ava";
import fc from "fast-check";
import { type Difference, diffLines, splitLines } from "../../lib/sandbox/line-diff.ts";

const buffers = (lines: readonly string[]): Buffer[] => lines.map((line) => Buffer.from(`${line}\n`));

/** What carrying the differences over makes of the old lines. */
function carriedOver(
  before: readonly Buffer[],
  after: readonly Buffer[],
  differences: readonly Difference[],
): Buffer[] {
  const made: Buffer[] = [];
  let at = 0;
  for (const { oldStart, removed, newStart, added } of differences) {
    made.push(...before.slice(at, oldStart), ...after.slice(newStart, newStart + added));
    at = oldStart + removed;
  }
  return [...made, ...before.slice(at)];
}

/** The length of the shortest edit script, by dynamic programming. */
function shortest(a: readonly string[], b: readonly string[]): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (const [i, left] of a.entries()) {
    const next = [i + 1];
    for (const [j, right] of b.entries()) {
      next.push(left === right ? (row[j] ?? 0) : 1 + Math.min(row[j + 1] ?? 0, next[j] ?? 0));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

const words = fc.array(fc.constantFrom("a", "b", "c", "d"), { maxLength: 30 });

test("The differences make the new text of the old one, and are as few as can be", (t) => {
  fc.assert(
    fc.property(words, words, (a, b) => {
      const [before, after] = [buffers(a), buffers(b)];
      const differences = diffLines(before, after);
      t.deepEqual(carriedOver(before, after, differences), after);
      t.is(
        differences.reduce((sum, { removed, added }) => sum + removed + added, 0),
        shortest(a, b),
      );
    }),
    { numRuns: 500 },
  );
});

test("Texts that are far apart are taken as one difference between their common ends", (t) => {
  const before = buffers(["start", ...Array.from({ length: 5000 }, (_, i) => `old ${i}`), "end"]);
  const after = buffers(["start", ...Array.from({ length: 6000 }, (_, i) => `new ${i}`), "end"]);
  const began = performance.now();
  t.deepEqual(diffLines(before, after), [{ oldStart: 1, removed: 5000, newStart: 1, added: 6000 }]);
  t.true(performance.now() - began < 5000);
});

test("Lines are split after their line feeds, and the last one may be without", (t) => {
  const split = (text: string): string[] => splitLines(Buffer.from(text)).map(String);
  t.deepEqual(split(""), []);
  t.deepEqual(split("a\n\nb"), ["a\n", "\n", "b"]);
  t.deepEqual(split("a\n"), ["a\n"]);
});
