import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import type { LaunchPlan } from "../../lib/plan/launch-plan.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { makeFiles, scratchFolder } from "./session.ts";

// The folders lie below the home of whoever starts sandboxes: here a folder of the test's own.
const home = process.env["HOME"];
test.after.always(() => {
  process.env["HOME"] = home;
});

const inState = ".local/state/holdfast";
const inCache = ".cache/holdfast";
const inConfig = ".config/holdfast";

test.serial(
  "A sandbox over the whole home sees neither another one's layer, nor the launcher's compiled code or its key",
  async (t) => {
    const own = makeFiles(join(scratchFolder(t), "home"), {
      "project/a": "1\n",
      [`${inCache}/compiled/code`]: "code\n",
      [`${inConfig}/receipt.key`]: "key\n",
    });
    process.env["HOME"] = own;
    delete process.env["XDG_CONFIG_HOME"];
    delete process.env["XDG_STATE_HOME"];
    delete process.env["XDG_CACHE_HOME"];
    // The first one begins while there is no folder for layers yet.
    const first = await Sandbox.create({ workdir: own });
    t.teardown(() => first.dispose());
    const other = await Sandbox.create({ workdir: join(own, "project"), workspace: "overlay" });
    t.teardown(() => other.dispose());
    await other.exec("sh", ["-c", "echo private > secret"]);
    const later = await Sandbox.create({ workdir: own });
    t.teardown(() => later.dispose());
    t.true(readdirSync(join(own, inState, "sandboxes")).length > 0, "outside it is there");
    for (const sandbox of [first, later]) {
      const { stdout } = await sandbox.exec("sh", [
        "-c",
        `find ${inState} ${inCache} ${inConfig} -mindepth 1; grep -rl private . ; for folder in ${inState} ${inCache} ${inConfig}; do
         mkdir $folder/new 2>/dev/null && echo made; mv $folder x 2>/dev/null && echo moved; done; true`,
      ]);
      t.is(stdout.toString(), "");
    }
    t.true(existsSync(join(own, inCache, "compiled/code")));
  },
);

test.serial("A copy of a home that holds the copy itself ends", async (t) => {
  const own = makeFiles(join(scratchFolder(t), "home"), { "a/b": "1\n" });
  process.env["HOME"] = own;
  mkdirSync(join(own, inState), { recursive: true });
  writeFileSync(join(own, inState, "note"), "mine\n");
  const refuseOverlay = (plan: LaunchPlan): LaunchPlan => ({
    ...plan,
    mounts: plan.mounts.map((step) =>
      step.op === "overlay" ? { ...step, upper: step.lower, work: step.lower } : step,
    ),
  });
  const sandbox = await Sandbox.create({ workdir: own, workspace: "overlay" }, { alterPlan: refuseOverlay });
  t.teardown(() => sandbox.dispose());
  t.not(sandbox.workspace.copiedAt, undefined);
  t.is((await sandbox.exec("sh", ["-c", `cat a/b; ls -A ${inState} 2>/dev/null`])).stdout.toString(), "1\n");
  t.deepEqual((await sandbox.changes()).changes, []);
});
