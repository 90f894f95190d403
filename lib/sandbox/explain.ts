import { type Explanation, explainPlan } from "../plan/explain.ts";
import { plan } from "../plan/plan.ts";
import type { Policy } from "../policy/policy.ts";
import { heldByCgroup } from "./cgroup.ts";
import { enforcementOf } from "./enforcement.ts";
import { thisHost } from "./sandbox.ts";
import { describeWorkspace, isLayered } from "./workspace.ts";

/**
 * What a policy would enforce on this host in a workspace, wall by wall. Nothing is started and nothing made.
 *
 * @param workdir the workspace; explained as it is now
 * @throws HoldfastError as a launch would, before it starts anything: a path that must exist, a required wall
 */
export function explainPolicy(policy: Policy, workdir: string): Explanation {
  const host = thisHost();
  const { workspace: described } = describeWorkspace({ workdir }, policy, host, {
    toolRuntime: null,
    cgroup: heldByCgroup(policy),
    seccomp: { traceOpens: false },
  });
  // Where the layer would lie is decided when it is made.
  const workspace = isLayered(described) ? { ...described, privateFolder: "/private-layer" } : described;
  const made = plan(policy, host, workspace);
  return explainPlan(policy, host, workspace, made, enforcementOf(made, workspace.cgroup));
}
