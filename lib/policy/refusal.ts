import { HoldfastError } from "../errors.ts";
import type { Policy } from "./policy.ts";

/**
 * Why a policy that grants network cannot be launched yet: what it allows would need the egress proxy, and running
 * without it would refuse what the policy promises. Null when the policy grants none.
 */
export function networkRefusal(policy: Policy): HoldfastError | null {
  const rules = Object.entries(policy.networkPolicies).toSorted(([, a], [, b]) => a.line - b.line);
  const first = rules[0];
  if (first === undefined) return null;
  const [name, rule] = first;
  const others = rules.length === 1 ? "" : ` and ${rules.length - 1} more`;
  return new HoldfastError(
    `${policy.source}:${rule.line}:${rule.column}: the network rule "${name}"${others} cannot be enforced: this version has no egress`,
    {
      code: "ERR_HOLDFAST_NETWORK_UNSUPPORTED",
      step: "egress",
      hint: "Take network_policies out of the policy: the sandbox then has no network at all.",
      path: policy.source,
    },
  );
}
