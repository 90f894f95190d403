import test from "ava";
import { HoldfastError } from "../../lib/errors.ts";
import { memoryRoom, sharedRlimits, wantedCgroup } from "../../lib/plan/limits.ts";
import { plan } from "../../lib/plan/plan.ts";
import type { Policy, WallName } from "../../lib/policy/policy.ts";
import { presetPolicy } from "../../lib/policy/presets.ts";
import { fixedHost, fixedWorkspace } from "./fixed-plan.ts";

test("A cgroup is made for a limit of memory, with room for the init, and then the init watches no memory", (t) => {
  const preset = presetPolicy("default");
  const policy = { ...preset, limits: { ...preset.limits, memoryBytes: 2 ** 30, processes: 64 } };
  const workspace = fixedWorkspace(policy);
  const held = plan(policy, fixedHost, { ...workspace, cgroup: { memory: true, processes: true } });
  t.deepEqual(held.cgroup, { memoryBytes: 2 ** 30 + memoryRoom, tasks: 80 });
  t.is(held.watched.memoryBytes, 0);
  t.is(held.watched.processes, 64, "the call that forks too much is still named by the init");
  const watched = plan(policy, fixedHost, workspace);
  t.is(watched.cgroup, null);
  t.is(watched.watched.memoryBytes, 2 ** 30);
});

test("Where all of a user's processes count, the kernel's bound lies above what the user has, and a cgroup's replaces it", (t) => {
  const preset = presetPolicy("default");
  const policy = { ...preset, limits: { ...preset.limits, processes: 64 } };
  const workspace = fixedWorkspace(policy);
  const bound = (made: typeof workspace): number | undefined =>
    sharedRlimits(policy, made, 1000).find(({ resource }) => resource === "nproc")?.hard;
  t.is(bound(workspace), 1000 + 80 + 48);
  t.is(bound({ ...workspace, cgroup: { memory: false, processes: true } }), undefined);
});

test("A policy wants a cgroup for a limit of memory, or when it requires the wall by name", (t) => {
  const preset = presetPolicy("default");
  t.deepEqual(wantedCgroup(preset), { memory: false, processes: false });
  t.deepEqual(wantedCgroup(presetPolicy("agent")), { memory: true, processes: true });
  t.deepEqual(wantedCgroup({ ...preset, requires: ["cgroup-processes"] }), { memory: false, processes: true });
  t.deepEqual(wantedCgroup({ ...preset, requires: ["seccomp"] }), { memory: false, processes: false });
});

test("A required cgroup is refused with the place that requires it, and with why there is none", (t) => {
  const preset = presetPolicy("default");
  const requires: WallName[] = ["cgroup-memory", "cgroup-processes"];
  const requiresAt = { "cgroup-memory": { line: 7, column: 3 }, "cgroup-processes": { line: 8, column: 3 } };
  const base = { ...preset, source: "p.yaml", requires, requiresAt };
  const none = { memory: false, processes: false };
  const reasons = { memory: "mkdir: EACCES", processes: "no hierarchy" };
  const message = (policy: Policy): string => {
    const error = t.throws(() => plan(policy, fixedHost, { ...fixedWorkspace(policy), cgroup: { ...none, reasons } }));
    t.true(HoldfastError.is(error) && error.code === "ERR_HOLDFAST_WALL_UNAVAILABLE" && error.exitCode === 125);
    return error?.message ?? "";
  };
  t.is(
    message({ ...base, limits: { ...preset.limits, memoryBytes: 2 ** 30 } }),
    "p.yaml:7:3: this host does not give the wall cgroup-memory: no cgroup can be made: mkdir: EACCES\n" +
      "p.yaml:8:3: this host does not give the wall cgroup-processes: no cgroup can be made: no hierarchy",
  );
  t.regex(message(base), /^p.yaml:7:3: .* the wall cgroup-memory: the policy sets no limit memory for it to hold$/m);
});
