import { HoldfastError } from "../errors.ts";
import type { Policy, WallName } from "../policy/policy.ts";
import type { LaunchPlan } from "./launch-plan.ts";
import type { Workspace } from "./workspace.ts";

/** Why a wall is not in the plan, by name; a wall that every plan has never gets here. */
const lacking: Readonly<Record<string, string>> = {
  "landlock-network": "Landlock has TCP rights from ABI 4 on (Linux 6.7)",
  "landlock-scope": "Landlock has scopes from ABI 6 on (Linux 6.12)",
  "cgroup-memory": "no cgroup with the memory controller is delegated to this user; the init watches the sum instead",
  "cgroup-processes": "no cgroup with the pids controller is delegated to this user; RLIMIT_NPROC holds the number",
};

function stands(wall: WallName, plan: LaunchPlan, workspace: Workspace): boolean {
  switch (wall) {
    case "landlock-scope":
      return plan.landlock.base.scoped !== 0;
    case "cgroup-memory":
      return workspace.cgroup.memory;
    case "cgroup-processes":
      return workspace.cgroup.processes;
    default:
      return plan.verify.some((item) => item.wall === wall);
  }
}

/**
 * Holds a plan against the walls that its policy requires by name. The others are required in any case: they are in
 * every plan, and a launch whose host refuses one fails.
 *
 * @throws HoldfastError ERR_HOLDFAST_WALL_UNAVAILABLE naming all that are missing
 */
export function assertRequired(policy: Policy, plan: LaunchPlan, workspace: Workspace): void {
  const missing = policy.requires.filter((wall) => !stands(wall, plan, workspace));
  if (missing.length === 0) return;
  const reasons = missing.map((wall) => `${wall} (${lacking[wall] ?? "not in this plan"})`);
  throw new HoldfastError(
    `${policy.source} requires ${missing.length === 1 ? "a wall" : "walls"} that this host does not give: ${reasons.join("; ")}`,
    {
      code: "ERR_HOLDFAST_WALL_UNAVAILABLE",
      step: "plan",
      hint: "`holdfast doctor` says how each can be had; or take it out of `requires`.",
    },
  );
}
