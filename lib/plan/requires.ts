import { HoldfastError } from "../errors.ts";
import type { Policy, WallName } from "../policy/policy.ts";
import { quote } from "../policy/problem.ts";
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
  return `, which ${placeIn(policy, policy.requiresAt?.[named])} requires`;
}

/** `FILE:LINE:COLUMN`, as far as the place is known. */
export function placeIn(policy: Policy, at: { line?: number; column?: number } | undefined): string {
  return [policy.source, at?.line, at?.column].filter((part) => part !== undefined).join(":");
}

/**
 * Holds this host against what its policy asks of it: the paths that must exist, and the walls that it requires by name.
 * (The other walls are required in any case: they are in every plan, and a launch whose host refuses one fails.)
 *
 * @throws HoldfastError ERR_HOLDFAST_WALL_UNAVAILABLE or ERR_HOLDFAST_PATH_MISSING with all that is missing, each as
 *   `file:line:column: message`
 */
export function assertRequired(policy: Policy, plan: LaunchPlan, workspace: Workspace): void {
  const walls = policy.requires.flatMap((wall) => {
    const why = lackOf(wall, policy, plan, workspace);
    const at = policy.requiresAt?.[wall];
    return why === null ? [] : [{ at, message: `this host does not give the wall ${wall}: ${why}` }];
  });
  const paths = (workspace.missing ?? []).map((grant) => ({
    at: grant,
    message: `${quote(grant.path)} ${grant.fault ?? "does not exist"}`,
  }));
  const lines = [...paths, ...walls]
    .toSorted((a, b) => (a.at?.line ?? 0) - (b.at?.line ?? 0) || (a.at?.column ?? 0) - (b.at?.column ?? 0))
    .map(({ at, message }) => `${placeIn(policy, at)}: ${message}`);
  if (lines.length === 0) return;
  const hints = [
    ...(paths.length === 0
      ? []
      : [
          "Create what does not exist, take it out of the policy, or write landlock.compatibility: best_effort to pass it over.",
        ]),
    ...(walls.length === 0 ? [] : ["`holdfast doctor` says how each wall can be had; or take it out of `requires`."]),
  ];
  throw new HoldfastError(lines.join("\n"), {
    code: walls.length === 0 ? "ERR_HOLDFAST_PATH_MISSING" : "ERR_HOLDFAST_WALL_UNAVAILABLE",
    step: "plan",
    hint: hints.join(" "),
  });
}
