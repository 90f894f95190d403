import { inWorld, missingForWorld } from "../egress/world.ts";
import type { Benchmark, Line } from "./result.ts";
import type { Times } from "./rounds.ts";

/** What the compiler makes of the launcher is for as long as it runs: one run is not enough of them. */
const launchers = 3;

/**
 * Inspected requests with a placeholder in a header, side by side with the same requests of the same program to a name
 * without credentials.
 */
export const secrets: Benchmark = {
  name: "secrets",
  run: async (scale) => {
    const missing = missingForWorld();
    if (missing !== null) return [{ name: "secrets", skipped: missing }];
    const runs: (readonly Line[])[] = [];
    for (let i = 0; i < launchers; i++)
      runs.push(inWorld("../bench/secrets-world.ts", { args: [String(scale)], timeoutMs: 300_000 }) as readonly Line[]);
    return (runs[0] ?? []).map((line, at) => {
      const same = runs.flatMap((lines) => lines[at] ?? []);
      return {
        ...line,
        times: mean(same.map(({ times }) => times)),
        baseTimes: mean(same.map((one) => one.baseTimes)),
      };
    });
  },
};

function mean(times: readonly Times[]): Times {
  const sum = times.reduce((total, { median }) => total + median, 0);
  return { median: sum / times.length, best: Math.min(...times.map(({ best }) => best)) };
}
