import { parsePolicy } from "../../lib/policy/load.ts";
import type { Policy, PolicyProblem } from "../../lib/policy/policy.ts";
import { formatProblem } from "../../lib/policy/problem.ts";

/** What the tests call the file that they parse. */
export const file = "p.yaml";

/** The policy of a text that has to be sound. */
export function sound(text: string): Policy {
  const { policy, problems } = parsePolicy(Buffer.from(text), file);
  if (policy === null) throw new Error(problems.map(formatProblem).join("\n"));
  return policy;
}

/** The errors of a text, as they are printed, without the file's name. */
export function errors(text: string | Uint8Array): readonly string[] {
  return printed(text, "error");
}

/** The warnings of a text, as they are printed, without the file's name. */
export function warnings(text: string | Uint8Array): readonly string[] {
  return printed(text, "warning");
}

function printed(text: string | Uint8Array, severity: PolicyProblem["severity"]): readonly string[] {
  return parsePolicy(typeof text === "string" ? Buffer.from(text) : text, file)
    .problems.filter((problem) => problem.severity === severity)
    .map((problem) => formatProblem(problem).slice(file.length + 1));
}

/** How a policy of ours begins that lets programs run in the workspace and reads what is named beside the system. */
export function runnable(...readable: readonly string[]): string {
  const paths = ["/usr", "/bin", "/lib", "/lib64", "/etc", ...readable];
  return [
    "holdfast: 1",
    "version: 1",
    "landlock: { compatibility: best_effort }",
    `filesystem_policy: { include_workdir: true, read_only: ${JSON.stringify(paths)} }`,
    "",
  ].join("\n");
}

/** A policy of OpenShell's with one endpoint, its fields in flow style. */
export function withEndpoint(fields: string): string {
  return [
    "version: 1",
    "filesystem_policy: {include_workdir: true}",
    "network_policies:",
    "  api:",
    "    endpoints:",
    `      - {${fields}}`,
    "    binaries: [{path: /usr/bin/curl}]",
    "",
  ].join("\n");
}
