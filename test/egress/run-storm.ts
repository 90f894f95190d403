// npm run storm [-- CONNECTIONS [SEED]]: whether each of so many connections is told right, in both modes.
import type { Storm } from "./storm.ts";
import { inWorld } from "./world.ts";

export type Mode = "namespaces" | "landlock";

/** A storm of so many connections, or of so many seconds. Process ids come again after a thousand. */
export function stormIn(mode: Mode, connections: number, seconds: number, seed = 1): Storm {
  const args = [mode, connections, seconds, seed].map(String);
  return inWorld("storm.ts", { args, mostPids: 1024, timeoutMs: 1000 * (seconds + 60) }) as Storm;
}

if (import.meta.main) {
  const [connections = 100_000, seed = 1] = process.argv.slice(2).map(Number);
  for (const mode of ["namespaces", "landlock"] as const) {
    const { total, ms, wrong, failed, seen, made, tried, examples, said } = stormIn(
      mode,
      connections,
      30 + connections / 50,
      seed,
    );
    const isComplete =
      total >= connections && seen.every((count, i) => count >= (made[i] ?? 0) && count <= (tried[i] ?? 0));
    const rate = Math.round((1000 * total) / ms);
    process.stdout.write(`${mode}: ${total - wrong} of ${total} connections were told right, ${rate} a second\n`);
    process.stdout.write(`  ${JSON.stringify({ tried, made, failed, seen })}\n`);
    if (wrong === 0 && isComplete) continue;
    process.stdout.write(`${JSON.stringify(examples, null, 2)}\n${said}\n`);
    process.exitCode = 1;
  }
}
