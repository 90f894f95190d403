import { spawnSync } from "node:child_process";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runChild } from "./child.ts";
import type { Benchmark, Line } from "./result.ts";
import { measure, type Times } from "./rounds.ts";
import { withWorkdir } from "./workdir.ts";

const program = "/bin/true";

/** A warm confined call with its output captured, against a bare spawn with pipes, in this process. */
async function compare(rounds: number): Promise<{ confined: Times; bare: Times }> {
  return withWorkdir(async (workdir) => {
    const sandbox = await Sandbox.create({ workdir });
    try {
      const confined = async (): Promise<void> => {
        const result = await sandbox.exec(program);
        if (result.exitCode !== 0) throw new Error(`${program} ended with ${result.exitCode ?? result.signal}`);
      };
      const bare = (): Promise<void> => runChild(program, []);
      // Each after one of its own kind, as in cold.ts: what a fork leaves to this process is the bare spawn's cost.
      const times = await measure(
        [
          { name: "confined", before: confined, run: confined },
          { name: "bare", before: bare, run: bare },
        ],
        rounds,
        30,
      );
      return { confined: times("confined"), bare: times("bare") };
    } finally {
      await sandbox.dispose();
    }
  });
}

function line(name: string, what: string, times: { confined: Times; bare: Times }, bar: number): Line {
  return { name, what, base: "child_process.spawn, pipes", times: times.confined, baseTimes: times.bare, bar };
}

export const warm: Benchmark = {
  name: "warm",
  run: async (scale) => [line("warm", "sandbox.exec, output captured", await compare(300 * scale), 0.6)],
};

const heldMegabytes = 512;

/** In a process of its own, so that the memory that it holds weighs on nothing else. */
export const warmInBigProcess: Benchmark = {
  name: "warm-512",
  run: async (scale) => {
    const args = [import.meta.filename, String(Math.ceil(80 * scale))];
    const child = spawnSync(process.execPath, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
    if (child.status !== 0) throw new Error(`the measuring process ended with ${child.status ?? child.signal}`);
    const times: { confined: Times; bare: Times } = JSON.parse(child.stdout);
    return [line("warm-512", `the same, ${heldMegabytes} MB held`, times, 0.08)];
  },
};

if (process.argv[1] === import.meta.filename) {
  const held = Buffer.alloc(heldMegabytes * 1024 * 1024, 1); // written: the pages are there
  const times = await compare(Number(process.argv[2]));
  process.stdout.write(JSON.stringify(times));
  if (held[held.length - 1] !== 1) process.exitCode = 1; // held to the end
}
