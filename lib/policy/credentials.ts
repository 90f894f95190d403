import { matchesName } from "./environment.ts";
import { comparisonBudget, hostsOverlap } from "./host-pattern.ts";
import { type Binary, type NetworkEndpoint, type NetworkPolicy, readsRequests } from "./network.ts";
import type { Policy } from "./policy.ts";
import { type Place, quote } from "./problem.ts";
import type { Context } from "./reader.ts";
import { suggest } from "./spelling.ts";
import { type CredentialSource, isAws, keptBy } from "./token-source.ts";

/** Where a secret is kept, outside the policy and the sandbox. Read when it is needed. */
export type SecretSource =
  | { readonly kind: "env"; readonly name: string }
  | { readonly kind: "file"; readonly path: string }
  /** What a service was given: a file of $CREDENTIALS_DIRECTORY (systemd.exec(5), LoadCredential=). */
  | { readonly kind: "systemd"; readonly name: string }
  | {
      readonly kind: "command";
      readonly argv: readonly string[];
      /** For so long what it printed is good. */
      readonly ttlMs: number;
      readonly timeoutMs: number;
    };

/** Where a credential may be sent. */
export interface CredentialEndpoint {
  /** Lower case, or a pattern as in `network_policies`. */
  readonly host: string;
  readonly ports: readonly number[];
  /** A glob; empty: every path. */
  readonly path: string;
  /** `http`: also where nothing hides it on the way. */
  readonly scheme: "http" | "https";
}

/** Where a request carries a credential though its program knows of none: what it sent in that place is replaced. */
export type CredentialInjection =
  | { readonly as: "bearer" }
  /** Without a username the secret is `USER:PASSWORD` itself. */
  | { readonly as: "basic"; readonly username?: string }
  | { readonly as: "header"; readonly name: string; readonly prefix: string }
  | { readonly as: "query"; readonly name: string }
  /** The segment that `{}` stands in, after what stands before: `/bot{}/`. */
  | { readonly as: "path"; readonly template: string };

/** What a placeholder looks like, where the secret is not to be asked: some clients check it. */
export const placeholderFormats = [
  "generic",
  "openshell",
  "anthropic",
  "aws",
  "github",
  "gitlab",
  "npm",
  "openai",
  "slack",
] as const;
export type PlaceholderFormat = (typeof placeholderFormats)[number];

/** A secret that programs use and never see. */
export interface Credential extends Place {
  readonly source: CredentialSource;
  /** The variable that holds its placeholder inside. */
  readonly env?: string;
  /** Absent: as the secret itself looks, which is read for that when the sandbox is made. */
  readonly format?: PlaceholderFormat;
  /** The entry of `network_policies` whose inspected endpoints and binaries it is bound to. */
  readonly networkPolicy?: string;
  /** Instead of an entry. */
  readonly endpoints: readonly CredentialEndpoint[];
  readonly binaries: readonly Binary[];
  readonly inject?: CredentialInjection;
}

/** How a credential comes to its places. */
export const boundBy =
  "name an entry by network_policy, or endpoints and binaries, or let endpoints name it by credential_binding";

const isInspected = (each: NetworkEndpoint): boolean => each.tls !== "skip" && readsRequests(each);

/** Entries with those of their endpoints that bind a credential which says of no place itself. */
export function bindingEntries(
  name: string,
  { networkPolicies }: Pick<Policy, "networkPolicies">,
): readonly Pick<NetworkPolicy, "endpoints" | "binaries">[] {
  return Object.values(networkPolicies).flatMap(({ endpoints, binaries }) => {
    const binding = endpoints.filter(({ credentialProvider }) => credentialProvider === name);
    return binding.length === 0 ? [] : [{ endpoints: binding, binaries }];
  });
}

/** What a credential needs of the rest of the policy, and what the rest may not do to it. */
export function checkCredentials(policy: Policy, { problems }: Context): void {
  const { credentials = {}, networkPolicies, environment } = policy;
  const inspected = Object.values(networkPolicies).flatMap(({ endpoints }) => endpoints.filter(isInspected));
  const budget = comparisonBudget();
  for (const [name, credential] of Object.entries(credentials)) {
    const what = `credentials.${name}`;
    const { source, env, networkPolicy } = credential;
    if (networkPolicy !== undefined) {
      const entry = Object.hasOwn(networkPolicies, networkPolicy) ? networkPolicies[networkPolicy] : undefined;
      if (entry === undefined) {
        const hint = suggest(networkPolicy, Object.keys(networkPolicies));
        problems.error(credential, `${what}.network_policy: there is no entry ${quote(networkPolicy)}`, hint);
      } else if (!entry.endpoints.some(isInspected))
        problems.error(credential, `${what}: no endpoint of ${networkPolicy} is inspected`, "give one protocol: rest");
    }
    const binding = bindingEntries(name, policy);
    const isBoundElsewhere = networkPolicy !== undefined || credential.endpoints.length > 0;
    if (!isBoundElsewhere && credential.binaries.length === 0) {
      if (binding.length === 0) problems.error(credential, `${what} is bound to nothing`, boundBy);
      else if (!binding.some(({ endpoints }) => endpoints.some(isInspected)))
        problems.error(credential, `${what}: no endpoint that binds it is inspected`, "give one protocol: rest");
    }
    const [other] = binding.flatMap(({ endpoints }) => endpoints);
    if (isBoundElsewhere && other !== undefined)
      problems.error(other, `credential_binding: ${what} says itself what it is for`, "take one of the two out");
    for (const { host, ports } of credential.endpoints) {
      const isMet = inspected.some(
        (other) => hostsOverlap(host, other.host, budget) && other.ports.some((port) => ports.includes(port)),
      );
      if (!isMet)
        problems.error(
          credential,
          `${what}: no inspected endpoint of network_policies leads to ${host}:${ports.join(",")}`,
          "add one with protocol: rest",
        );
    }
    if (isAws(source) && !isSigned(credential, binding, policy))
      problems.error(
        credential,
        `${what}: no endpoint that it is bound to is signed`,
        "give one credential_signing: sigv4 and signing_service",
      );
    if (env !== undefined && Object.hasOwn(environment.set, env))
      problems.error(credential, `${what}.env: environment.set has ${env} too`);
    for (const fault of keptBy(source).map((kept) => sourceFault(kept, policy)))
      if (fault !== undefined) problems.error(credential, `${what}: ${fault.message}`, fault.hint);
  }
}

/** Whether an endpoint of its entry, or one where it may be used, asks for signatures. */
function isSigned(
  { networkPolicy, endpoints }: Credential,
  binding: readonly Pick<NetworkPolicy, "endpoints">[],
  { networkPolicies }: Policy,
): boolean {
  if (binding.some((entry) => entry.endpoints.some((each) => each.credentialSigning !== ""))) return true;
  const entries = networkPolicy === undefined ? Object.values(networkPolicies) : [networkPolicies[networkPolicy]];
  const signed = entries.flatMap((entry) => entry?.endpoints.filter((each) => each.credentialSigning !== "") ?? []);
  if (networkPolicy !== undefined) return signed.length > 0;
  const budget = comparisonBudget();
  return endpoints.some(({ host }) => signed.some((other) => hostsOverlap(host, other.host, budget)));
}

/** /tmp is the sandbox's own, and empty; which names of the host's /etc it sees is known when it is made. */
const areOwn: ReadonlySet<string> = new Set(["/tmp", "/etc"]);

/** Why a secret may not be kept there: the sandbox sees it. */
export function sourceFault(
  source: SecretSource,
  { environment, filesystem }: Policy,
): { readonly message: string; readonly hint: string } | undefined {
  if (source.kind === "env") {
    const names = [...environment.pass, ...Object.keys(environment.set)];
    if (!names.some((each) => matchesName(each, source.name))) return undefined;
    return { message: `${source.name} is passed into the sandbox`, hint: "take it out of environment" };
  }
  if (source.kind !== "file") return undefined;
  const grant = [...filesystem.readOnly, ...filesystem.readWrite].find(
    ({ path }) => !areOwn.has(path) && `${source.path}/`.startsWith(path === "/" ? path : `${path}/`),
  );
  if (grant === undefined) return undefined;
  return { message: `${source.path} can be read in the sandbox, by ${grant.path}`, hint: "keep it elsewhere" };
}
