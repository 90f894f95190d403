import { existsSync } from "node:fs";
import { inWorld, missingForWorld } from "../../egress/world.ts";
import { findOnPath } from "../path.ts";
import type { Benchmark, Outcome } from "../result.ts";

/**
 * Requests of one program in a sandbox through the gateway, its decisions and records included, side by side with other
 * proxies, and with the same program outside with nothing between (world.ts).
 */
export const egress: Benchmark = {
  name: "egress",
  run: async (scale) => {
    const missing = whatIsMissing();
    if (missing !== null) return [{ name: "egress", skipped: missing }];
    return inWorld("../bench/egress/world.ts", { args: [String(scale)], timeoutMs: 900_000 }) as readonly Outcome[];
  },
};

/** Peers that are not installed are left out one by one; without these nothing can be measured. */
function whatIsMissing(): string | null {
  for (const [program, forWhat] of [
    [process.env["CXX"] ?? "g++", "to compile its client with"],
    ["nginx", "as the server (nginx-light)"],
    ["openssl", "to make certificates with"],
  ] as const) {
    if (findOnPath(program) === null) return `no ${program} ${forWhat}`;
  }
  if (!existsSync("/usr/include/openssl/ssl.h")) return "no OpenSSL to compile its client with (libssl-dev)";
  return missingForWorld();
}
