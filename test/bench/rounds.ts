/** One way to do a thing, timed from the outside. */
export interface Variant {
  readonly name: string;
  /** Does it once, to the end. */
  run(): Promise<void> | void;
  /** Done before each run, and not timed. */
  before?(): Promise<void> | void;
}

/** What was measured of one variant: times in milliseconds, unless said otherwise. */
export interface Times {
  readonly median: number;
  /** The shortest time; of rates the highest. */
  readonly best: number;
}

/** The middle of the values; for an even number of them the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}

export function summarise(values: readonly number[], best: (...values: number[]) => number = Math.min): Times {
  return { median: median(values), best: best(...values) };
}

/**
 * Of two that were measured in the same rounds: what one is of the other in a round holds where the machine's speed changes
 * between rounds, so that its median is the base's, times the middle of that.
 */
export function paired(
  values: readonly number[],
  baseValues: readonly number[],
  best?: (...values: number[]) => number,
): { readonly times: Times; readonly baseTimes: Times } {
  const baseTimes = summarise(baseValues, best);
  const ratios = values.map((value, round) => value / (baseValues[round] ?? Number.NaN));
  return { baseTimes, times: { ...summarise(values, best), median: baseTimes.median * median(ratios) } };
}

function shuffle<Item>(items: readonly Item[]): Item[] {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    const [a, b] = [out[i], out[j]];
    if (a === undefined || b === undefined) continue;
    out[i] = b;
    out[j] = a;
  }
  return out;
}

/**
 * Takes every variant once a round, in a new order each round, so that a neighbour's load falls on all of them alike: the
 * ratios hold where the times do not.
 */
export async function inRounds<Variant>(
  variants: readonly Variant[],
  rounds: number,
  warmUp: number,
  take: (variant: Variant, counts: boolean) => Promise<void>,
): Promise<void> {
  for (let round = -warmUp; round < rounds; round++) {
    for (const variant of shuffle(variants)) await take(variant, round >= 0);
  }
}

/** The times of every variant. */
export async function measure(
  variants: readonly Variant[],
  rounds: number,
  warmUp: number,
): Promise<(name: string) => Times> {
  const times = new Map(variants.map(({ name }): [string, number[]] => [name, []]));
  await inRounds(variants, rounds, warmUp, async (variant, counts) => {
    await variant.before?.();
    const began = performance.now();
    await variant.run();
    const took = performance.now() - began;
    if (counts) times.get(variant.name)?.push(took);
  });
  return (name) => {
    const values = times.get(name);
    if (values === undefined) throw new Error(`nothing called ${name} was measured`);
    return summarise(values);
  };
}
