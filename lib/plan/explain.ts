import type { HostCapabilities } from "../host/capabilities.ts";
import { inspectPath } from "../host/paths.ts";
import { limitKinds, limitNames } from "../policy/limits.ts";
import type { PathGrant, Policy } from "../policy/policy.ts";
import { identity } from "./identity.ts";
import { isOwn } from "./mounts.ts";
import { describeProfile, renderSeccompTable } from "./seccomp-table.ts";
import { homeFolder } from "./workspace.ts";

/** What one wall would enforce. */
export interface ExplainedWall {
  readonly wall: string;
  readonly status: "enforced" | "partial" | "unavailable" | "not asked for";
  readonly lines: readonly string[];
}

const held: Readonly<Record<string, string>> = {
  processes: "watched by the init over the call, RLIMIT_NPROC a little above",
  memory: "watched by the init: the sum of PSS over the call",
  "cpu-time": "watched by the init, RLIMIT_CPU for each process",
  "wall-time": "a timer of the launcher",
  "open-files": "RLIMIT_NOFILE, watched by the init",
  "file-size": "RLIMIT_FSIZE",
  "tmp-size": "the size of one tmpfs for /tmp, /var/tmp, /dev/shm and home",
  output: "counted by the launcher as it relays",
};

/** A grant in words: what it comes to here, and the line that grants it. */
function grantLine(grant: PathGrant, access: "read" | "write", source: string): string {
  const where = grant.line === undefined ? "" : `  (${source}:${grant.line})`;
  const own = isOwn(grant.path) ? "  the sandbox's own" : "";
  const facts = own === "" && grant.path !== "/" ? inspectPath(grant.path) : null;
  const real =
    facts === null
      ? ""
      : facts.kind === "missing"
        ? "  missing here"
        : facts.real === grant.path
          ? ""
          : `  → ${facts.real}`;
  return `${access.padEnd(5)} ${grant.path}${own}${real}${where}`;
}

/** What would be enforced on this host, wall by wall. Starts nothing; values of variables are not told. */
export function explainWalls(policy: Policy, host: HostCapabilities): ExplainedWall[] {
  const { filesystem, workspace, limits } = policy;
  const who = identity(policy, host, { uid: 0, gid: 0 });
  const abi = host.landlockAbi;
  const rows = describeProfile(host.architecture, { mappedFiles: policy.process.mappedFiles === "executable-only" });
  const counts = Map.groupBy(rows, ({ action }) => action.replace(/:.*/, ""));
  const limitLines = limitNames.flatMap((name) => {
    const value = limits[limitKinds[name].property];
    if (value === undefined) return [];
    const unit = limitKinds[name].unit === "size" ? " bytes" : limitKinds[name].unit === "duration" ? " ms" : "";
    return [`${name.padEnd(10)} ${value}${unit}: ${held[name] ?? ""}`];
  });
  return [
    {
      wall: "identity",
      status: "enforced",
      lines: [
        host.uid === 0
          ? `uid ${who.uid} inside; on the host the policy's, else the workspace owner's, else ${who.hostUid}, never 0`
          : `uid ${who.uid} inside, ${who.hostUid} on the host; no capabilities, no_new_privs`,
      ],
    },
    {
      wall: "mount view",
      status: "enforced",
      lines: [
        ...filesystem.readOnly.map((grant) => grantLine(grant, "read", policy.source)),
        ...filesystem.readWrite.map((grant) => grantLine(grant, "write", policy.source)),
        filesystem.includeWorkdir
          ? `${workspace.access === "read-only" ? "read" : "write"} the workspace, ${workspace.mode}`
          : "no workspace",
        `write /tmp, /var/tmp, /dev/shm and ${homeFolder}: private, empty, gone with the sandbox`,
        "everything else does not exist",
      ],
    },
    {
      wall: "protected names",
      status: policy.protectedNames.names.length === 0 ? "not asked for" : "enforced",
      lines: [policy.protectedNames.names.join(" ")],
    },
    {
      wall: "landlock",
      status: abi === 0 ? "unavailable" : abi >= 6 ? "enforced" : "partial",
      lines: [
        abi === 0 ? "this kernel has none: nothing will run" : `ABI ${abi}: the same grants by inode`,
        abi >= 6 ? "signals and abstract sockets stay inside; a call cannot signal another" : "no scopes below ABI 6",
        "read, glob and grep: a layer on top that writes nothing and has no sockets",
      ],
    },
    {
      wall: "namespaces",
      status: "enforced",
      lines: ["user, mount, pid, network, ipc, uts, cgroup; a refusal of one is the end of the launch"],
    },
    {
      wall: "network",
      status: "enforced",
      lines: [
        Object.keys(policy.networkPolicies).length > 0
          ? "the policy has network rules: this version refuses to launch it"
          : "loopback of its own and nothing else; connects are judged by the broker",
      ],
    },
    {
      wall: "seccomp",
      status: "enforced",
      lines: [
        [...counts].map(([action, group]) => `${group.length} ${action}`).join(", "),
        "the whole table: --seccomp",
      ],
    },
    { wall: "limits", status: limitLines.length === 0 ? "not asked for" : "enforced", lines: limitLines },
    {
      wall: "environment",
      status: "enforced",
      lines: [
        `passed if set: ${policy.environment.pass.join(" ") || "nothing"}`,
        `set: ${Object.keys(policy.environment.set).join(" ") || "nothing"}`,
      ],
    },
    {
      wall: "requires",
      status: "enforced",
      lines: [policy.requires.length === 0 ? "all that this kernel offers" : policy.requires.join(" ")],
    },
  ];
}

/** The explanation as text for people or as JSON, ending in a newline. */
export function explainPolicy(
  policy: Policy,
  host: HostCapabilities,
  options: { json: boolean; seccomp: boolean },
): string {
  const rows = options.seccomp
    ? describeProfile(host.architecture, { mappedFiles: policy.process.mappedFiles === "executable-only" })
    : [];
  const walls = explainWalls(policy, host);
  if (options.json) {
    return `${JSON.stringify({ policy: policy.source, walls, ...(options.seccomp ? { seccomp: rows } : {}) }, null, 2)}\n`;
  }
  if (options.seccomp) return renderSeccompTable(rows);
  return `${policy.source}\n\n${walls
    .map(({ wall, status, lines }) => `${wall} (${status})\n${lines.map((line) => `  ${line}\n`).join("")}`)
    .join("\n")}`;
}
