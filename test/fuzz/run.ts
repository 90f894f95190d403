/**
 * Coverage-guided fuzzing of the gateway's parsers.
 *
 *     npm run fuzz [-- TARGET…] [--time 60s] [--keep]
 *
 * `--time` is for each target. What is found is written to test/fuzz/findings/; `--keep` keeps the shortest inputs that reach
 * something in test/fuzz/corpus/, which the tests replay.
 */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { counters, dictionary, usedCounters } from "./instrument.ts";
import { fuzzNative, nativeTargets } from "./native.ts";

const { targets } = await import("./targets.ts");
const { readCorpus, writeCorpus } = await import("./corpus.ts");

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { time: { type: "string", default: "60s" }, keep: { type: "boolean", default: false } },
});
const [, amount = "60", unit] = /^(\d+)(s|m)?$/.exec(values.time) ?? [];
const limitMs = Number(amount) * (unit === "m" ? 60_000 : 1000);
const longestInput = 2048;
/** One input that takes this long is a finding. */
const slowMs = 250;
const findings = join(import.meta.dirname, "findings");

const words = [...dictionary].map((word) => Buffer.from(word, "latin1"));
const interesting = [0, 1, 2, 3, 5, 9, 0x0a, 0x0d, 0x20, 0x2e, 0x2f, 0x30, 0x3a, 0x7f, 0x80, 0xc0, 0xfe, 0xff];
const below = (most: number): number => Math.floor(Math.random() * most);
const one = <Value>(list: readonly Value[]): Value => {
  const value = list[below(list.length)];
  if (value === undefined) throw new Error("nothing to choose from");
  return value;
};

function mutated(input: Buffer, other: Buffer): Buffer {
  let data = Buffer.from(input);
  for (let rounds = 1 + below(1 << below(5)); rounds > 0; rounds--) {
    const at = below(data.length + 1);
    const size = 1 + below(Math.max(1, Math.min(32, data.length - at)));
    const put = (from: number, to: number, middle: Uint8Array): void => {
      data = Buffer.concat([data.subarray(0, from), middle, data.subarray(to)]);
    };
    switch (below(9)) {
      case 0:
        if (at < data.length) data.writeUInt8((data[at] ?? 0) ^ (1 << below(8)), at);
        break;
      case 1:
        if (at < data.length) data.writeUInt8(one(interesting), at);
        break;
      case 2:
        if (at < data.length) data.writeUInt8(((data[at] ?? 0) + below(9) + 252) & 255, at);
        break;
      case 3:
        put(at, at + size, Buffer.alloc(0));
        break;
      case 4:
        put(at, at, data.subarray(below(data.length + 1)).subarray(0, size));
        break;
      case 5:
        put(at, at + (below(2) === 0 ? 0 : size), words.length === 0 ? Buffer.alloc(1) : one(words));
        break;
      case 6:
        put(at, data.length, other.subarray(below(other.length + 1)));
        break;
      case 7:
        put(at, at, Buffer.alloc(1 + below(70), data[at] ?? 0x61));
        break;
      default:
        put(at, at, Buffer.of(one(interesting)));
    }
  }
  return data.subarray(0, longestInput);
}

/** Counts as AFL has them: once, twice, a few, many. */
const bucketOf = Uint8Array.from({ length: 256 }, (_, n) =>
  n === 0 ? 0 : n === 1 ? 1 : n === 2 ? 2 : n < 8 ? 4 : n < 32 ? 8 : n < 128 ? 16 : 32,
);

/** Whether an input reached what none did before. */
function isNew(seen: Uint8Array): boolean {
  let found = false;
  const end = Math.min(usedCounters(), counters.length);
  for (let i = 0; i < end; i++) {
    const bucket = bucketOf[counters[i] ?? 0] ?? 0;
    if ((bucket & ~(seen[i] ?? 0)) === 0) continue;
    seen[i] = (seen[i] ?? 0) | bucket;
    found = true;
  }
  return found;
}

function failure(run: (data: Buffer) => void, input: Buffer): string | undefined {
  counters.fill(0);
  const began = process.cpuUsage();
  try {
    run(input);
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  return process.cpuUsage(began).user > slowMs * 1000 ? "it is slow" : undefined;
}

/** A shorter input that fails as well. */
function shortened(run: (data: Buffer) => void, input: Buffer): Buffer {
  let best = input;
  for (let size = best.length >> 1; size > 0; size >>= 1)
    for (let at = 0; at + size <= best.length; ) {
      const less = Buffer.concat([best.subarray(0, at), best.subarray(at + size)]);
      if (failure(run, less) === undefined) at += size;
      else best = less;
    }
  return best;
}

const all = [...Object.keys(targets), ...nativeTargets];
let failures = 0;
for (const name of positionals.length > 0 ? positionals : all) {
  if (nativeTargets.includes(name)) {
    const ran = fuzzNative(name, Math.ceil(limitMs / 1000));
    console.log(
      `${name}: ${ran === undefined ? "skipped: there is no clang" : ran.failed ? `FAILED: ${ran.said}` : ran.said}`,
    );
    if (ran?.failed === true) failures++;
    continue;
  }
  const target = targets[name];
  if (target === undefined) throw new Error(`there is no target ${name}: ${all.join(", ")}`);
  const seen = new Uint8Array(counters.length);
  const corpus: Buffer[] = [];
  const seeds = [...target.seeds.map((seed) => Buffer.from(seed as string, "latin1")), ...readCorpus(name)];
  let runs = 0;
  let found: string | undefined;
  const attempt = (input: Buffer): void => {
    runs++;
    const why = failure(target.run, input);
    // Once may be the collector's, or the compiler's.
    const again = why !== "it is slow" || [1, 2, 3].every(() => failure(target.run, input) !== undefined);
    if (why !== undefined && again) {
      const short = shortened(target.run, input);
      mkdirSync(findings, { recursive: true });
      const file = join(findings, `${name}-${createHash("sha256").update(short).digest("hex").slice(0, 12)}`);
      writeFileSync(file, short);
      found = `${JSON.stringify(short.toString("latin1"))} in ${file}\n${failure(target.run, short) ?? why}`;
    } else if (isNew(seen)) corpus.push(input);
  };
  for (const seed of seeds) if (found === undefined) attempt(seed);
  const until = performance.now() + limitMs;
  while (found === undefined && performance.now() < until)
    for (let i = 0; i < 200 && found === undefined; i++) attempt(mutated(one(corpus), one(corpus)));
  const reached = seen.reduce((sum, bits) => sum + (bits === 0 ? 0 : 1), 0);
  console.log(
    `${name}: ${runs} inputs, ${reached} branches, ${corpus.length} kept${found === undefined ? "" : `, FAILED: ${found}`}`,
  );
  if (found !== undefined) failures++;
  else if (values.keep) {
    const covered = new Uint8Array(counters.length);
    const shortest = corpus
      .toSorted((a, b) => a.length - b.length)
      .filter((input) => {
        failure(target.run, input);
        return isNew(covered);
      });
    writeCorpus(name, shortest.slice(0, 250));
  }
}
process.exit(failures > 0 ? 1 : 0);
