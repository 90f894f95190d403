import { existsSync } from "node:fs";
import { inWorld, missingForWorld } from "../../egress/world.ts";
import { findOnPath } from "../path.ts";
import type { Benchmark } from "../result.ts";
import { type Found, lines } from "./lines.ts";

/** What the compiler makes of the launcher is for as long as it runs: one run is not enough of them. */
const launchers = 3;

/**
 * Requests of one program in a sandbox through the gateway, its decisions and records included, side by side with other
 * proxies, and with the same program outside with nothing between (world.ts).
 */
export const egress: Benchmark = {
  name: "egress",
  run: async (scale) => {
    const missing = whatIsMissing();
    if (missing !== null) return [{ name: "egress", skipped: missing }];
    const found: Found[] = [];
    for (let i = 0; i < launchers; i++)
      found.push(inWorld("../bench/egress/world.ts", { args: [String(scale)], timeoutMs: 600_000 }) as Found);
    return lines(found);
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
