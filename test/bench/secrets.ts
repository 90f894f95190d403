import { inWorld, missingForWorld } from "../egress/world.ts";
import type { Benchmark, Outcome } from "./result.ts";

/** Inspected requests with a placeholder in a header, side by side with the same requests in a sandbox without credentials. */
export const secrets: Benchmark = {
  name: "secrets",
  run: async (scale) => {
    const missing = missingForWorld();
    if (missing !== null) return [{ name: "secrets", skipped: missing }];
    return inWorld("../bench/secrets-world.ts", { args: [String(scale)], timeoutMs: 300_000 }) as readonly Outcome[];
  },
};
