// Identity under a storm of fork, exec and exit, briefly; `npm run storm` has it last.
import { spawnSync } from "node:child_process";
import test from "ava";
import { type Mode, stormIn } from "./run-storm.ts";
import { missingForWorld } from "./world.ts";

const hasCompiler = spawnSync("cc", ["--version"], { stdio: "ignore" }).error === undefined;
const missing = missingForWorld() ?? (hasCompiler ? null : "there is no C compiler (cc)");

const title = (mode: Mode): string =>
  `Whoever connects is told right while programs fork, execute one another and end (${mode})`;
for (const mode of ["namespaces", "landlock"] as const)
  test.serial(title(mode), (t) => {
    if (missing !== null) {
      t.log(`skipped: ${missing}`);
      t.pass();
      return;
    }
    const { total, tried, made, failed, seen, lastError, wrong, examples, said } = stormIn(mode, 1000, 30);
    t.deepEqual(examples, []);
    t.is(wrong, 0);
    t.true(total >= 1000, `${total} connections in time`);
    t.deepEqual(failed, [0, 0, 0, 0], `errno ${lastError}`);
    t.is(said, "");
    // Each that a program knows of has its record, and none has one that nobody asked for.
    t.true(
      seen.every((count, i) => count >= (made[i] ?? 0) && count <= (tried[i] ?? 0)),
      JSON.stringify({ tried, seen, made }),
    );
  });
