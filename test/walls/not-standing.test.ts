import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { HoldfastError } from "../../lib/errors.ts";
import { wallNumbers } from "../../lib/plan/launch-plan.ts";
import { Sandbox, thisHost } from "../../lib/sandbox/sandbox.ts";
import { leftOut } from "./broken-plan.ts";

/** Walls that only newer kernels have (landlock(7)). */
const neededAbi: Readonly<Record<string, number>> = {
  "landlock-network": 4,
  "landlock-signal": 6,
  "landlock-abstract": 6,
};

/** All but the one that stands in for a network namespace. */
const wallsHere = Object.keys(wallNumbers).filter((wall) => wall !== "socket-filter");

const workdir = mkdtempSync(join(tmpdir(), "holdfast-walls-"));
test.after.always(() => rmSync(workdir, { recursive: true, force: true }));

test("Every wall that the init can prove has a plan here that leaves it out", (t) => {
  t.deepEqual(Object.keys(leftOut).sort(), wallsHere.toSorted());
});

test.serial("A sandbox whose plan is whole starts, and says that each of its walls is enforced", async (t) => {
  const sandbox = await Sandbox.create({ workdir });
  t.teardown(() => sandbox.dispose());
  const expected = wallsHere.filter((wall) => (neededAbi[wall] ?? 0) <= thisHost().landlockAbi);
  const enforced = sandbox.enforcement.filter(({ status }) => status === "enforced").map(({ wall }) => wall);
  t.deepEqual(enforced.sort(), expected.sort());
});

for (const [wall, ways] of Object.entries(leftOut)) {
  for (const [way, alterPlan] of Object.entries(ways)) {
    test.serial(`No sandbox starts without the wall ${wall}: ${way}`, async (t) => {
      const abi = neededAbi[wall] ?? 0;
      if (abi > thisHost().landlockAbi) {
        t.log(`skipped: this kernel's Landlock has ABI ${thisHost().landlockAbi}, the wall needs ${abi}`);
        t.pass();
        return;
      }
      const created = Sandbox.create({ workdir }, { alterPlan });
      t.teardown(async () => (await created.catch(() => undefined))?.dispose());
      const error: unknown = await t.throwsAsync(created, undefined, "the sandbox started without the wall");
      if (!HoldfastError.is(error)) {
        t.fail(String(error));
        return;
      }
      t.is(error.code, "ERR_HOLDFAST_WALL_NOT_STANDING", error.message);
      t.regex(error.message, new RegExp(`^the wall ${wall} does not stand: .* was not refused$`));
      t.is(error.exitCode, 125);
    });
  }
}
