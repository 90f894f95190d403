/**
 * The number of single edits (insert, delete, replace, swap of neighbours) that turn one word into the other: optimal
 * string alignment distance.
 */
export function editDistance(left: string, right: string): number {
  let beforeLast: number[] = [];
  let last: number[] = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row += 1) {
    const current: number[] = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const same = left[row - 1] === right[column - 1];
      let best = Math.min(at(last, column) + 1, at(current, column - 1) + 1, at(last, column - 1) + (same ? 0 : 1));
      if (row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1]) {
        best = Math.min(best, at(beforeLast, column - 2) + 1);
      }
      current.push(best);
    }
    beforeLast = last;
    last = current;
  }
  return at(last, right.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}

/** Longest word that is compared: a key of a megabyte gets no suggestion. */
const longestWord = 64;

/**
 * The candidate that the writer most likely meant, or undefined when none is near: within two edits, or a third of the
 * word where that is more, not counting case, dashes and underscores; else one that begins with the word.
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  if (word.length === 0 || word.length > longestWord) return undefined;
  let best: string | undefined;
  let bestScore = Number.POSITIVE_INFINITY;
  const bare = strip(word);
  for (const candidate of candidates) {
    const distance = editDistance(bare, strip(candidate));
    const limit = Math.min(Math.max(2, Math.floor(candidate.length / 3)), candidate.length - 1);
    if (distance > limit) continue;
    // Equal distances are told apart by the words as they were written.
    const score = distance + editDistance(word, candidate) / 1000;
    if (score < bestScore) {
      best = candidate;
      bestScore = score;
    }
  }
  if (best !== undefined || bare.length < 3) return best;
  for (const candidate of candidates) {
    if (strip(candidate).startsWith(bare)) return candidate;
  }
  return undefined;
}

function strip(word: string): string {
  return word.toLowerCase().replaceAll(/[-_\s]/g, "");
}

/** More names than this in a message help nobody. */
const mostNamed = 24;

/** `did you mean "x"?`; the names that are known when none is near and they are few; else undefined. */
export function suggest(word: string, candidates: readonly string[]): string | undefined {
  const near = nearest(word, candidates);
  if (near !== undefined) return `did you mean "${near}"?`;
  return candidates.length > mostNamed ? undefined : `known: ${candidates.join(", ")}`;
}
