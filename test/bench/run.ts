/**
 * What holdfast costs, as ratios within one run: `npm run bench [name...] [--json] [--runs N] [--scale X]`.
 * Exit status 0 whether or not a bar is met; 1 when a measurement failed.
 */
import { parseArgs } from "node:util";
import { cold } from "./cold.ts";
import { command } from "./command.ts";
import { egress } from "./egress/egress.ts";
import { nativeLayer } from "./native.ts";
import { type Benchmark, isWorse, type Outcome, passes, ratio, table } from "./result.ts";
import { secrets } from "./secrets.ts";
import { warm, warmInBigProcess } from "./warm.ts";

const benchmarks: readonly Benchmark[] = [warm, warmInBigProcess, nativeLayer, cold, command, egress, secrets];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    runs: { type: "string", default: "1" },
    scale: { type: "string", default: "1" },
  },
});

const unknown = positionals.filter((name) => !benchmarks.some((benchmark) => benchmark.name === name));
if (unknown.length > 0) {
  console.error(`no benchmark ${unknown.join(", ")}; there are ${benchmarks.map(({ name }) => name).join(", ")}`);
  process.exit(1);
}
const chosen = benchmarks.filter(({ name }) => positionals.length === 0 || positionals.includes(name));

/** Of equal lines of several runs the one with the worst ratio. */
const worst = new Map<string, Outcome>();
for (let run = 0; run < Number(values.runs); run++) {
  for (const benchmark of chosen) {
    for (const outcome of await benchmark.run(Number(values.scale))) {
      const key =
        "skipped" in outcome ? outcome.name : `${outcome.name}: ${outcome.what} / ${outcome.base}, ${outcome.unit}`;
      const known = worst.get(key);
      const counts = known === undefined || "skipped" in known || ("base" in outcome && isWorse(outcome, known));
      if (counts) worst.set(key, outcome);
    }
  }
}

const outcomes = [...worst.values()];
if (values.json) {
  const lines = outcomes.map((outcome) =>
    "skipped" in outcome ? outcome : { ...outcome, ratio: ratio(outcome), pass: passes(outcome) },
  );
  console.log(JSON.stringify({ node: process.version, kernel: (await import("node:os")).release(), lines }, null, 2));
} else {
  console.log(table(outcomes));
}
