import type { LaunchPlan } from "../plan/launch-plan.ts";
import type { HeldByCgroup } from "../plan/workspace.ts";
import type { WallStatus } from "./types.ts";

/** What Landlock, the filter and the broker do not hold (docs/hosts.md). */
export const missingWithoutNamespaces: readonly WallStatus[] = Object.freeze(
  (
    [
      [
        "mount-namespace",
        "whether a name is there, its size and its times can be seen: no list, no content, not where links lead",
      ],
      [
        "pid-namespace",
        "the host's processes can be seen by number, with parent, user, priority and limits; no more, and nothing done to them",
      ],
      [
        "protected-names",
        "Landlock cannot make a name read-only in a writable folder: new ones are put aside at the end",
      ],
      [
        "network-namespace",
        "servers inside have addresses of their own on the host's loopback, where its programs can look for them; no UDP",
      ],
      ["uts-namespace", "the host's name, users and /etc/hosts can be read"],
      ["tmp-size", "the private /tmp is a folder of the host's disk, named by TMPDIR, whose size nothing holds"],
    ] as const
  ).map(([wall, reason]) => ({ wall, status: "unavailable" as const, reason })),
);

/** What stands, wall by wall: each was proved by the init before the sandbox was handed out. */
export function enforcementOf(plan: LaunchPlan, held: HeldByCgroup): WallStatus[] {
  const { abi } = plan.landlock;
  const walls: WallStatus[] = plan.verify.map(({ wall }) => ({ wall, status: "enforced" }));
  if (plan.territory !== undefined) walls.push(...missingWithoutNamespaces);
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
