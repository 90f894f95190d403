import { HoldfastError } from "../errors.ts";
import { hasEgress, type NetworkEndpoint, readsRequests } from "./network.ts";
import type { Policy } from "./policy.ts";
import { quote } from "./problem.ts";
import { isAws } from "./token-source.ts";

interface Has {
  readonly credentials: Policy["credentials"];
  readonly hasCredentials: boolean;
  readonly hasKeys: boolean;
}

/** What it asks for that is not there; undefined where all is. */
function missingFor(endpoint: NetworkEndpoint, { credentials = {}, hasCredentials, hasKeys }: Has): string | undefined {
  const { protocol } = endpoint;
  if (protocol !== "" && protocol !== "tcp" && !readsRequests(endpoint)) return `protocol ${protocol} is not read yet`;
  if (endpoint.credentialSigning !== "" && !hasKeys) return "there are no keys of AWS's to sign with";
  if (endpoint.credentialProvider !== "" && !Object.hasOwn(credentials, endpoint.credentialProvider))
    return `there is no credential ${quote(endpoint.credentialProvider)} for credential_binding`;
  const rewrites = endpoint.websocketCredentialRewrite || endpoint.requestBodyCredentialRewrite;
  return rewrites && !hasCredentials ? "there are no credentials to put in" : undefined;
}

/**
 * Why a policy that grants network cannot be launched yet: running would refuse, or let through, what the policy says
 * otherwise. Null when all that it asks for is there.
 */
export function networkRefusal(policy: Policy): HoldfastError | null {
  const credentials = Object.values(policy.credentials ?? {});
  const has: Has = {
    credentials: policy.credentials,
    hasCredentials: credentials.length > 0,
    hasKeys: credentials.some(({ source }) => isAws(source)),
  };
  const rules = Object.entries(policy.networkPolicies)
    .filter(([, { endpoints }]) => endpoints.some((endpoint) => missingFor(endpoint, has) !== undefined))
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
  const missing = rule.endpoints.map((endpoint) => missingFor(endpoint, has)).find((what) => what !== undefined);
  const others = rules.length === 1 ? "" : ` and ${rules.length - 1} more`;
  return new HoldfastError(
    `${policy.source}:${rule.line}:${rule.column}: the network rule "${name}"${others} cannot be enforced: ${missing}`,
    {
      code: "ERR_HOLDFAST_NETWORK_UNSUPPORTED",
      step: "egress",
      hint: "Give the endpoint `protocol: rest`, `websocket` or `tcp`, and the policy `credentials` where one asks for them.",
      path: policy.source,
    },
  );
}
