import { HoldfastError } from "../errors.ts";
import { hasEgress, type NetworkEndpoint } from "./network.ts";
import type { Policy } from "./policy.ts";

/** Whether its bytes can be passed on as they are. */
function isCarried({ protocol, host, credentialSigning, credentialProvider }: NetworkEndpoint): boolean {
  const isPlain = credentialSigning === "" && credentialProvider === "";
  return (protocol === "" || protocol === "tcp") && host !== "" && isPlain;
}

/**
 * Why a policy that grants network cannot be launched yet: what it allows would need the egress proxy, and running
 * without it would refuse what the policy promises. Null when the policy grants none.
 */
export function networkRefusal(policy: Policy): HoldfastError | null {
  const rules = Object.entries(policy.networkPolicies)
    .filter(([, { endpoints }]) => endpoints.some((endpoint) => !isCarried(endpoint)))
    .toSorted(([, a], [, b]) => a.line - b.line);
  const middleware = Object.values(policy.networkMiddlewares)[0];
  if (middleware !== undefined && hasEgress(policy)) {
    return new HoldfastError(
      `${policy.source}:${middleware.line}:${middleware.column}: network_middlewares cannot be enforced: this version has none`,
      {
        code: "ERR_HOLDFAST_NETWORK_UNSUPPORTED",
        step: "egress",
        hint: "Take network_middlewares out of the policy.",
        path: policy.source,
      },
    );
  }
  const first = rules[0];
  if (first === undefined) return null;
  const [name, rule] = first;
  const others = rules.length === 1 ? "" : ` and ${rules.length - 1} more`;
  return new HoldfastError(
    `${policy.source}:${rule.line}:${rule.column}: the network rule "${name}"${others} cannot be enforced: this version does not inspect requests`,
    {
      code: "ERR_HOLDFAST_NETWORK_UNSUPPORTED",
      step: "egress",
      hint: "Give the endpoint `protocol: tcp`, or no protocol: then it is carried, whatever is said on it.",
      path: policy.source,
    },
  );
}
