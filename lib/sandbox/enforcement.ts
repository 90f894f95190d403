import type { LaunchPlan } from "../plan/launch-plan.ts";
import type { HeldByCgroup } from "../plan/workspace.ts";
import type { WallStatus } from "./types.ts";

/** What stands, wall by wall: each was proved by the init before the sandbox was handed out. */
export function enforcementOf(plan: LaunchPlan, held: HeldByCgroup): WallStatus[] {
  const { abi } = plan.landlock;
  const walls: WallStatus[] = plan.verify.map(({ wall }) => ({ wall, status: "enforced" }));
  if (abi < 6) {
    walls.push({
      wall: "landlock-scope",
      status: "unavailable",
      reason: `Landlock ABI ${abi} has no scopes (Linux 6.12)`,
    });
  }
  if (abi < 4) {
    walls.push({
      wall: "landlock-network",
      status: "unavailable",
      reason: `Landlock ABI ${abi} has no TCP rights (Linux 6.7)`,
    });
  }
  if (!plan.identity.drop) {
    walls.push({
      wall: "supplementary-groups",
      status: "partial",
      reason: "an ordinary user cannot drop them; the mount view hides what they would open",
    });
  }
  if (plan.cgroup?.memoryBytes) walls.push({ wall: "cgroup-memory", status: "enforced" });
  if (plan.cgroup?.tasks) walls.push({ wall: "cgroup-processes", status: "enforced" });
  if (plan.watched.memoryBytes > 0) {
    const reason = `the init watches the sum; no cgroup can be made: ${held.reasons?.memory ?? "none was looked for"}`;
    walls.push({ wall: "cgroup-memory", status: "partial", reason });
  }
  return walls;
}
