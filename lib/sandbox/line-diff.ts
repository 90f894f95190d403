/**
 * Which lines two texts share: Myers, "An O(ND) Difference Algorithm and Its Variations" (1986), the greedy form.
 */

/** A run of lines that differ: `removed` lines from `oldStart` became `added` lines from `newStart`. Counted from 0. */
export interface Difference {
  readonly oldStart: number;
  readonly removed: number;
  readonly newStart: number;
  readonly added: number;
}

/** Texts further apart than this many lines are not taken apart: the search's memory grows with its square. */
const mostEdits = 1500;

/** Splits after every line feed; the last line may be without one. */
export function splitLines(text: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let from = 0; from < text.length; ) {
    const feed = text.indexOf(0x0a, from);
    const to = feed < 0 ? text.length : feed + 1;
    lines.push(text.subarray(from, to));
    from = to;
  }
  return lines;
}

/** The differences in order. Where the texts are far apart, all between their common ends is one difference. */
export function diffLines(before: readonly Buffer[], after: readonly Buffer[]): Difference[] {
  const numbers = new Map<string, number>();
  const numbered = (line: Buffer): number => {
    const key = line.toString("latin1");
    const known = numbers.get(key);
    if (known !== undefined) return known;
    numbers.set(key, numbers.size);
    return numbers.size - 1;
  };
  const a = Int32Array.from(before, numbered);
  const b = Int32Array.from(after, numbered);
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const middleA = a.subarray(start, a.length - end);
  const middleB = b.subarray(start, b.length - end);
  if (middleA.length === 0 && middleB.length === 0) return [];
  const found = myers(middleA, middleB) ?? [
    { oldStart: 0, removed: middleA.length, newStart: 0, added: middleB.length },
  ];
  return found.map((one) => ({ ...one, oldStart: one.oldStart + start, newStart: one.newStart + start }));
}

function myers(a: Int32Array, b: Int32Array): Difference[] | null {
  const most = Math.min(a.length + b.length, mostEdits);
  // furthest[most + k]: how far along `a` the best path on diagonal k has come.
  const furthest = new Int32Array(2 * most + 3);
  const centre = most + 1;
  const at = (row: Int32Array, index: number): number => row[index] ?? 0;
  const rows: Int32Array[] = [];
  for (let edits = 0; edits <= most; edits++) {
    // As it was before this round, as far as the walk back will look.
    rows.push(furthest.slice(centre - edits - 1, centre + edits + 2));
    for (let k = -edits; k <= edits; k += 2) {
      const down = k === -edits || (k !== edits && at(furthest, centre + k - 1) < at(furthest, centre + k + 1));
      let x = down ? at(furthest, centre + k + 1) : at(furthest, centre + k - 1) + 1;
      let y = x - k;
      while (x < a.length && y < b.length && a[x] === b[y]) {
        x++;
        y++;
      }
      furthest[centre + k] = x;
      if (x >= a.length && y >= b.length) return walkBack(a.length, b.length, rows);
    }
  }
  return null;
}

/** From the end to the start along the rows of the search; neighbouring edits become one difference. */
function walkBack(lengthA: number, lengthB: number, rows: readonly Int32Array[]): Difference[] {
  const found: Difference[] = [];
  let x = lengthA;
  let y = lengthB;
  for (let edits = rows.length - 1; edits > 0; edits--) {
    const row = rows[edits] ?? new Int32Array();
    const at = (k: number): number => row[k + edits + 1] ?? 0;
    const k = x - y;
    const down = k === -edits || (k !== edits && at(k - 1) < at(k + 1));
    const fromK = down ? k + 1 : k - 1;
    const fromX = at(fromK);
    const fromY = fromX - fromK;
    const edit: Difference = { oldStart: fromX, removed: down ? 0 : 1, newStart: fromY, added: down ? 1 : 0 };
    const next = found.at(-1);
    if (
      next !== undefined &&
      next.oldStart === edit.oldStart + edit.removed &&
      next.newStart === edit.newStart + edit.added
    ) {
      found[found.length - 1] = {
        oldStart: edit.oldStart,
        removed: edit.removed + next.removed,
        newStart: edit.newStart,
        added: edit.added + next.added,
      };
    } else {
      found.push(edit);
    }
    x = fromX;
    y = fromY;
  }
  return found.reverse();
}
