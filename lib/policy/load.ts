import { HoldfastError } from "../errors.ts";
import { readBounded } from "./bounded-file.ts";
import { credentialsSection } from "./credential-fields.ts";
import { checkCredentials } from "./credentials.ts";
import { defaultLimits, defaultPolicy } from "./default-policy.ts";
import { largestPolicy, type Node, readDocument } from "./document.ts";
import { absentFilesystem, filesystemSection, withBaseline } from "./filesystem.ts";
import { checkInference, inferenceSection } from "./inference-fields.ts";
import { leakGuardSection } from "./leak-guard.ts";
import { checkMiddlewareCover, networkMiddlewaresSection, networkPoliciesSection } from "./network-section.ts";
import { type Policy, type PolicyProblem, policyText } from "./policy.ts";
import { PolicyInvalidError, Problems } from "./problem.ts";
import type { Context, JsonSchema, Read, Reader } from "./reader.ts";
import { integer, section } from "./reader.ts";
import {
  environmentSection,
  extractSection,
  landlockSection,
  limitsSection,
  processSection,
  protectedNamesSection,
  requiresSection,
  toolsSection,
  workspaceSection,
} from "./sections.ts";
import { nearest } from "./spelling.ts";
import { checkProxySecret, dnsSection, upstreamProxySection } from "./upstream.ts";

/** A file's policy, null when it has errors, and everything that is to be said about it, in its order. */
export interface ParsedPolicy {
  /** Null when there is an error among the problems. */
  readonly policy: Policy | null;
  /** Errors and warnings, in the order of their places. */
  readonly problems: readonly PolicyProblem[];
}

const shared = {
  version: integer(0, 4_294_967_295),
  filesystem_policy: filesystemSection,
  landlock: landlockSection,
  process: processSection,
  network_policies: networkPoliciesSection,
  network_middlewares: networkMiddlewaresSection,
};

const additions = {
  limits: limitsSection,
  environment: environmentSection,
  protected_names: protectedNamesSection,
  requires: requiresSection,
  workspace: workspaceSection,
  tools: toolsSection,
  extract: extractSection,
  dns: dnsSection,
  upstream_proxy: upstreamProxySection,
  credentials: credentialsSection,
  inference: inferenceSection,
  leak_guard: leakGuardSection,
};

/** Keys of files that are easily taken for policies. */
const profileKeys = ["id", "credentials", "endpoints", "display_name", "category", "inference_capable", "discovery"];

const openshellShape = section(shared, {
  required: ["version"],
  unknown(key) {
    if (Object.hasOwn(additions, key)) {
      return { message: `${key} is not one of OpenShell's keys`, hint: 'begin the file with "holdfast: 1" to use it' };
    }
    if (profileKeys.includes(key)) {
      return { message: `unknown key "${key}"`, hint: "this looks like a provider profile, not a policy" };
    }
    return undefined;
  },
});

const marker: Reader<number> = {
  schema: { const: 1 },
  read(node, _what, { problems }) {
    if (node.kind === "scalar" && node.value === 1) return 1;
    const written = node.kind === "scalar" ? node.text : `a ${node.kind}`;
    problems.error(node.at, `holdfast: 1 is the only format that this version reads, not ${written}`);
    return undefined;
  },
};

const holdfastShape = section({ holdfast: marker, ...shared, ...additions }, { required: ["holdfast"] });

/** What an editor needs to complete and check a policy of holdfast's own dialect (JSON Schema, draft 2020-12). */
export const policySchema: JsonSchema = Object.freeze({
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "holdfast policy",
  ...holdfastShape.schema,
  properties: { ...(holdfastShape.schema["properties"] as JsonSchema), version: { const: 1 } },
});

/**
 * Reads a policy from a file's bytes. Pure: it never looks at the disk, and never throws on what the bytes hold.
 *
 * @param file what the problems call the file
 */
export function parsePolicy(content: Uint8Array | string, file = "policy"): ParsedPolicy {
  const problems = new Problems(file);
  const root = readDocument(typeof content === "string" ? Buffer.from(content) : content, problems);
  const policy = root === undefined ? null : readRoot(root, problems);
  return Object.freeze({ policy: problems.failed ? null : policy, problems: problems.list() });
}

function readRoot(root: Node, problems: Problems): Policy | null {
  if (root.kind !== "map") {
    problems.error(root.at, `a policy is a map of keys, not a ${root.kind === "list" ? "list" : "value"}`);
    return null;
  }
  const index = root.entries.findIndex((entry) => entry.key === "holdfast");
  // A marker that is misspelt is one error; judged as OpenShell's, the file would be full of them.
  const isOurs = index !== -1 || nearest(root.entries[0]?.key ?? "", ["holdfast"]) !== undefined;
  const context: Context = { dialect: isOurs ? "holdfast" : "openshell", problems };
  if (index > 0)
    problems.error(root.entries[index]?.at ?? root.at, '"holdfast: 1" must be the first key of the policy');
  return context.dialect === "openshell" ? readOpenshell(root, context) : readHoldfast(root, context);
}

function readOpenshell(root: Node, context: Context): Policy | null {
  const found = openshellShape.read(root, "", context);
  if (found === undefined) return null;
  const { version } = found.values;
  if (version !== undefined && version !== 1) {
    context.problems.warning(found.valuePlace("version"), `version is ${version}; OpenShell's documents know only 1`);
  }
  if (!found.has("filesystem_policy")) {
    const message =
      "filesystem_policy is absent: OpenShell leaves the image readable, here its default paths are granted";
    context.problems.warning(found.at, message, "name the paths that the commands need");
  }
  return build(found, context);
}

function readHoldfast(root: Node, context: Context): Policy | null {
  const found = holdfastShape.read(root, "", context);
  if (found === undefined) return null;
  const { values } = found;
  if (values.version !== undefined && values.version !== 1) {
    context.problems.error(found.valuePlace("version"), `version must be 1, not ${values.version}`);
  }
  const policy: Policy = Object.freeze({
    ...build(found, context),
    limits: values.limits ?? defaultLimits,
    environment: values.environment ?? defaultPolicy.environment,
    protectedNames: values.protected_names ?? defaultPolicy.protectedNames,
    ...(values.requires ?? { requires: defaultPolicy.requires }),
    workspace: values.workspace ?? defaultPolicy.workspace,
    ...(values.tools === undefined ? {} : { tools: values.tools }),
    extract: values.extract ?? defaultPolicy.extract,
    ...(values.dns === undefined ? {} : { dns: values.dns }),
    ...(values.upstream_proxy === undefined ? {} : { upstreamProxy: values.upstream_proxy }),
    ...(values.credentials === undefined ? {} : { credentials: values.credentials }),
    ...(values.inference === undefined ? {} : { inference: values.inference }),
    ...(values.leak_guard === undefined ? {} : { leakGuard: values.leak_guard }),
  });
  checkProxySecret(policy, found.place("upstream_proxy"), context);
  checkCredentials(policy, context);
  checkInference(policy, context);
  return policy;
}

/** What both dialects say; the rest is the default preset's. */
function build(found: Read<typeof openshellShape>, context: Context): Policy {
  const { values } = found;
  const { dialect, problems } = context;
  const networkPolicies = values.network_policies ?? defaultPolicy.networkPolicies;
  const networkMiddlewares = values.network_middlewares ?? defaultPolicy.networkMiddlewares;
  checkMiddlewareCover(networkMiddlewares, networkPolicies, context);
  const filesystem = values.filesystem_policy ?? absentFilesystem(dialect);
  // A path that a file of ours names is meant, and to pass over it would hide a slip; OpenShell does.
  const ownPaths = dialect === "holdfast" && found.has("filesystem_policy");
  const baseline = dialect === "openshell" && Object.keys(networkPolicies).length > 0;
  return Object.freeze({
    ...defaultPolicy,
    source: problems.file,
    dialect,
    filesystem: baseline ? withBaseline(filesystem) : filesystem,
    compatibility: values.landlock?.compatibility ?? (ownPaths ? "hard_requirement" : "best_effort"),
    process: values.process ?? defaultPolicy.process,
    networkPolicies,
    networkMiddlewares,
  });
}

/**
 * Reads a policy file and its problems, warnings included.
 *
 * @throws HoldfastError ERR_HOLDFAST_POLICY_UNREADABLE when the file cannot be opened or read
 */
export function readPolicy(file: string): ParsedPolicy {
  const bytes = readPolicyBytes(file);
  const { policy, problems } = parsePolicy(bytes, file);
  return Object.freeze({ policy: policy && Object.freeze({ ...policy, [policyText]: Buffer.from(bytes) }), problems });
}

/**
 * Reads a policy file that must be sound. Warnings are dropped: `readPolicy` has them.
 *
 * @throws PolicyInvalidError ERR_HOLDFAST_POLICY_INVALID with every problem, each as `file:line:column: message`
 * @throws HoldfastError ERR_HOLDFAST_POLICY_UNREADABLE when the file cannot be opened or read
 */
export function loadPolicy(file: string): Policy {
  const { policy, problems } = readPolicy(file);
  if (policy === null) throw new PolicyInvalidError(file, problems);
  return policy;
}

/** At most one byte more than a policy may have. */
export function readPolicyBytes(file: string): Uint8Array {
  try {
    return readBounded(file, largestPolicy);
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

function unreadable(file: string, cause: unknown): HoldfastError {
  const { code, syscall } = cause as NodeJS.ErrnoException;
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: "there is no such file",
    EISDIR: "it is a folder",
    EACCES: "it may not be read by this user",
    ENOTDIR: "something in its path is no folder",
    ELOOP: "its links lead in a circle",
  };
  return new HoldfastError(`cannot read the policy ${file}: ${reasons[code ?? ""] ?? code ?? String(cause)}`, {
    code: "ERR_HOLDFAST_POLICY_UNREADABLE",
    step: "policy",
    hint: "Name a policy file that exists and that you may read.",
    path: file,
    cause,
    ...(code === undefined ? {} : { errno: code }),
    ...(syscall === undefined ? {} : { syscall }),
  });
}
