import { HoldfastError } from "../errors.ts";
import type { Policy, WallName } from "../policy/policy.ts";
import type { LaunchPlan } from "./launch-plan.ts";
import type { Workspace } from "./workspace.ts";

/** Why a cgroup does not hold a limit; null when one does. */
function cgroupLack(limit: string, wanted: number | undefined, isHeld: boolean, reason?: string): string | null {
  if (wanted === undefined) return `the policy sets no limit ${limit} for it to hold`;
  return isHeld ? null : `no cgroup can be made: ${reason ?? "none was looked for"}`;
}

/** Why a wall does not stand in a plan; null when it does. */
function lackOf(wall: WallName, policy: Policy, plan: LaunchPlan, workspace: Workspace): string | null {
  const { limits } = policy;
  const { memory, processes, reasons } = workspace.cgroup;
  switch (wall) {
    case "landlock-scope":
      return plan.landlock.base.scoped !== 0 ? null : "Landlock has scopes from ABI 6 on (Linux 6.12)";
    case "landlock-network":
      return plan.landlock.readOnly.handledNet !== 0 ? null : "Landlock has TCP rights from ABI 4 on (Linux 6.7)";
    case "cgroup-memory":
      return cgroupLack("memory", limits.memoryBytes, memory, reasons?.memory);
    case "cgroup-processes":
      return cgroupLack("processes", limits.processes, processes, reasons?.processes);
    default:
      return plan.verify.some((item) => item.wall === wall) ? null : "it is not in this plan";
  }
}

/** `, which FILE:LINE requires`, where the policy names the wall. */
export function requiredBy(policy: Policy, wall: string): string {
  const named = policy.requires.find((each) => each === wall);
  if (named === undefined) return "";
  const line = policy.requiresLines?.[named];
  return `, which ${policy.source}${line === undefined ? "" : `:${line}`} requires`;
}

/**
 * Holds a plan against the walls that its policy requires by name. The others are required in any case: they are in
 * every plan, and a launch whose host refuses one fails.
 *
 * @throws HoldfastError ERR_HOLDFAST_WALL_UNAVAILABLE naming all that are missing, each with its line of the policy
 */
export function assertRequired(policy: Policy, plan: LaunchPlan, workspace: Workspace): void {
  const missing = policy.requires.flatMap((wall) => {
    const why = lackOf(wall, policy, plan, workspace);
    const line = policy.requiresLines?.[wall];
    return why === null ? [] : [`${wall}${line === undefined ? "" : `, line ${line}`} (${why})`];
  });
  if (missing.length === 0) return;
  throw new HoldfastError(
    `${policy.source} requires ${missing.length === 1 ? "a wall" : "walls"} that this host does not give: ${missing.join("; ")}`,
    {
      code: "ERR_HOLDFAST_WALL_UNAVAILABLE",
      step: "plan",
      hint: "`holdfast doctor` says how each can be had; or take it out of `requires`.",
    },
  );
}
