import type { HostCapabilities } from "../host/capabilities.ts";
import { landlockLacks } from "../host/landlock-abi.ts";
import { bindingEntries, type Credential, type SecretSource } from "../policy/credentials.ts";
import { type LimitName, limitKinds, limitNames } from "../policy/limits.ts";
import type { PathGrant, Policy } from "../policy/policy.ts";
import { isToken, keptBy } from "../policy/token-source.ts";
import { filterOptions } from "./filter.ts";
import { type FsRight, fsRights } from "./landlock.ts";
import type { LaunchPlan, MountStep, Ruleset } from "./launch-plan.ts";
import { isOwn } from "./mounts.ts";
import { describeProfile, type SeccompRow } from "./seccomp-table.ts";
import { homeFolder, type Workspace } from "./workspace.ts";

/** One path of the view, what can be done there, and what says so. */
export interface ShownPath {
  readonly path: string;
  readonly access: "read" | "write";
  readonly why: string;
}

/** What a policy would enforce on one host for one session. Holds no value of any variable. */
export interface Explanation {
  readonly policy: string;
  readonly dialect: Policy["dialect"];
  readonly identity: { readonly uid: number; readonly gid: number; readonly hostUid: number; readonly hostGid: number };
  readonly namespaces: readonly string[];
  readonly view: readonly ShownPath[];
  /** Granted, but there is nothing here. */
  readonly missing: readonly { readonly path: string; readonly why: string }[];
  readonly landlock: {
    readonly abi: number;
    readonly rules: readonly { readonly path: string; readonly rights: readonly string[] }[];
    readonly scopes: readonly string[];
    /** What read, glob and grep may do on top of being held to these rules. */
    readonly readingTools: string;
    readonly lacks: readonly string[];
  };
  readonly seccomp: { readonly calls: Readonly<Record<string, number>>; readonly unlisted: string };
  readonly network: string;
  readonly limits: readonly { readonly name: LimitName; readonly value: string; readonly heldBy: string }[];
  readonly environment: readonly {
    readonly name: string;
    readonly from: "every sandbox" | "passed on" | "set" | "placeholders";
  }[];
  /** What programs use and never see. */
  readonly credentials: readonly { readonly name: string; readonly from: string; readonly to: string }[];
  readonly protectedNames: {
    readonly names: readonly string[];
    readonly readOnlyHere: readonly string[];
    readonly pinnedHere: readonly string[];
  };
  /** What the init proves before anything runs, and what stands only in part. */
  readonly walls: readonly { readonly wall: string; readonly status: string; readonly reason?: string }[];
  readonly requires: readonly string[];
}

/** The plan of a session in words. Pure: what it says of paths was found out when the workspace was described. */
export function explainPlan(
  policy: Policy,
  host: HostCapabilities,
  workspace: Workspace,
  plan: LaunchPlan,
  walls: Explanation["walls"],
): Explanation {
  const { uid, gid, hostUid, hostGid } = plan.identity;
  const { base } = plan.landlock;
  const rules = Object.keys(policy.networkPolicies).length;
  return {
    policy: policy.source,
    dialect: policy.dialect,
    identity: { uid, gid, hostUid, hostGid },
    namespaces: plan.namespaces,
    view: viewOf(policy, workspace, plan),
    missing: missingGrants(policy, workspace),
    landlock: {
      abi: plan.landlock.abi,
      rules: base.rules.map(({ path, access }) => ({ path, rights: rightsOf(access) })),
      scopes: scopesOf(base),
      readingTools: plan.landlock.readOnly.handledNet === 0 ? "read only, no sockets" : "read only, no sockets, no TCP",
      lacks: landlockLacks(plan.landlock.abi).map(
        ({ brought, without, linux }) => `${brought}: ${without} (Linux ${linux})`,
      ),
    },
    seccomp: countCalls(describeProfile(host.architecture, filterOptions(policy))),
    network:
      rules === 0
        ? "its own loopback and nothing else; connects are answered and recorded by the broker"
        : `${rules} ${rules === 1 ? "rule" : "rules"}, asked for each connection${pinsOf(policy)}; names are looked up ${namesOf(policy)}`,
    limits: limitNames.flatMap((name) => limitOf(name, policy, plan)),
    environment: variablesOf(policy, workspace, plan),
    credentials: Object.entries(policy.credentials ?? {}).map(([name, credential]) => ({
      name,
      from: secretPlace(credential),
      to: credentialReach(name, credential, policy),
    })),
    protectedNames: {
      names: policy.protectedNames.names,
      readOnlyHere: workspace.readOnly,
      pinnedHere: workspace.pinned,
    },
    walls,
    requires: policy.requires,
  };
}

function placeOf({ line }: PathGrant, policy: Policy): string {
  return line === undefined ? policy.source : `${policy.source}:${line}`;
}

/** The line of the policy that a path of the host is there for. */
function grantOf(path: string, policy: Policy): PathGrant | undefined {
  const { readOnly, readWrite } = policy.filesystem;
  const all = [...readWrite, ...readOnly];
  return all.find((grant) => grant.path === path) ?? all.find((grant) => grant.path === "/");
}

function viewOf(policy: Policy, workspace: Workspace, plan: LaunchPlan): ShownPath[] {
  const shown: ShownPath[] = [
    { path: "/", access: "read", why: "every sandbox: an empty root, in which only what is listed here exists" },
    {
      path: "/etc",
      access: "read",
      why: `every sandbox: its own users, hosts and resolver, and ${countEtc(plan.mounts)} harmless names of the host's`,
    },
    { path: "/proc", access: "read", why: "every sandbox: its own processes" },
    {
      path: "/dev",
      access: "write",
      why: "every sandbox: null, zero, full, random, urandom, tty and terminals of its own",
    },
    ...["/tmp", "/var/tmp", "/dev/shm", homeFolder].map(
      (path): ShownPath => ({ path, access: "write", why: "every sandbox: private, empty, gone with it" }),
    ),
    ...workspace.privateFolders.map(
      (path): ShownPath => ({ path, access: "write", why: "this session: private, empty" }),
    ),
  ];
  for (const grant of workspace.grants) {
    if (isOwn(grant.path)) continue;
    const line = grantOf(grant.path, policy);
    const place = line === undefined ? policy.source : placeOf(line, policy);
    const led = grant.path === grant.source ? "" : `, which leads to ${grant.source}`;
    shown.push({ path: grant.path, access: grant.access, why: `${place}${led}` });
  }
  if (workspace.access !== "none") {
    const access = workspace.access === "read-only" ? "read" : "write";
    shown.push({ path: workspace.path, access, why: `the workspace, ${modeWords(workspace)}` });
    const inIt = (name: string): string => `${workspace.path}/${name}`;
    for (const name of workspace.readOnly) {
      shown.push({ path: inIt(name), access: "read", why: "a protected name" });
    }
  }
  return shown.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

function modeWords({ mode, access, hostPath, path }: Workspace): string {
  const at = hostPath === path ? "" : `${hostPath} on the host, `;
  if (mode === "fresh") return `${at}shown empty`;
  if (access === "read-only") return `${at}read-only`;
  return mode === "overlay" ? `${at}with writes kept in a private layer` : `${at}written directly`;
}

function countEtc(mounts: readonly MountStep[]): number {
  return mounts.filter((step) => step.op === "bind" && step.from === "host" && step.path.startsWith("/etc/")).length;
}

function missingGrants(policy: Policy, workspace: Workspace): { path: string; why: string }[] {
  const found = new Set(workspace.grants.map(({ path }) => path));
  return [...policy.filesystem.readOnly, ...policy.filesystem.readWrite]
    .filter((grant) => grant.path !== "/" && !isOwn(grant.path) && !found.has(grant.path))
    .map((grant) => ({ path: grant.path, why: placeOf(grant, policy) }));
}

/** Landlock's rights in words, in the kernel's order. */
const rightWords: Readonly<Record<FsRight, string>> = {
  execute: "execute",
  writeFile: "write files",
  readFile: "read files",
  readDir: "list folders",
  removeDir: "remove folders",
  removeFile: "remove files",
  makeChar: "make character devices",
  makeDir: "make folders",
  makeReg: "make files",
  makeSock: "make sockets",
  makeFifo: "make fifos",
  makeBlock: "make block devices",
  makeSym: "make links",
  refer: "move between folders",
  truncate: "truncate",
  ioctlDev: "control devices",
};

function rightsOf(access: number): string[] {
  const names = Object.keys(fsRights) as FsRight[];
  return names.filter((name) => (access & fsRights[name]) !== 0).map((name) => rightWords[name]);
}

function scopesOf({ scoped }: Ruleset): string[] {
  return [...(scoped & 2 ? ["signals"] : []), ...(scoped & 1 ? ["abstract Unix sockets"] : [])];
}

/** Counts calls by what becomes of them; one whose arguments decide counts as that. */
function countCalls(rows: readonly SeccompRow[]): Explanation["seccomp"] {
  const calls: Record<string, number> = {};
  let unlisted = "";
  for (const [call, own] of Map.groupBy(rows, (row) => row.call)) {
    const actions = [...new Set(own.map(({ action }) => action))];
    const [first = ""] = actions;
    if (call === "*") unlisted = first;
    else if (own[0]?.number !== undefined) {
      const kind = actions.length > 1 ? "by their arguments" : first;
      calls[kind] = (calls[kind] ?? 0) + 1;
    }
  }
  return { calls, unlisted };
}

function sizeText(bytes: number): string {
  for (const [unit, factor] of [
    ["T", 1024 ** 4],
    ["G", 1024 ** 3],
    ["M", 1024 ** 2],
    ["K", 1024],
  ] as const) {
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return String(bytes);
}

function durationText(ms: number): string {
  for (const [unit, factor] of [
    ["h", 3_600_000],
    ["m", 60_000],
    ["s", 1000],
  ] as const) {
    if (ms >= factor && ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return `${ms}ms`;
}

function limitOf(name: LimitName, policy: Policy, plan: LaunchPlan): Explanation["limits"] {
  const { property, unit } = limitKinds[name];
  const limit = policy.limits[property];
  if (limit === undefined) return [];
  const value = unit === "size" ? sizeText(limit) : unit === "duration" ? durationText(limit) : String(limit);
  return [{ name, value, heldBy: holders(name, plan).join(", ") }];
}

/** From the plan itself: what of it holds a limit. */
function holders(name: LimitName, { rlimits, watched, cgroup }: LaunchPlan): string[] {
  const rlimit = (resource: string): string[] => {
    const found = rlimits.find((each) => each.resource === resource);
    return found === undefined ? [] : [`RLIMIT_${resource.toUpperCase()} ${found.hard}`];
  };
  const watch = (is: boolean, what: string): string[] => (is ? [`the init watches ${what}`] : []);
  switch (name) {
    case "processes":
      return [
        ...(cgroup?.tasks == null ? [] : ["a cgroup (pids)"]),
        ...watch(watched.processes > 0, "their number"),
        ...rlimit("nproc"),
      ];
    case "memory":
      return [
        ...(cgroup?.memoryBytes == null ? [] : ["a cgroup (memory)"]),
        ...watch(watched.memoryBytes > 0, "the sum of PSS"),
      ];
    case "cpu-time":
      return [...watch(watched.cpuTimeMs > 0, "the sum over a call"), ...rlimit("cpu")];
    case "open-files":
      return [...rlimit("nofile"), ...watch(watched.openFiles > 0, "each process")];
    case "file-size":
      return rlimit("fsize");
    case "tmp-size":
      return [
        "the size of one tmpfs for all private folders",
        ...watch(watched.tmpPath !== null, "whether it is full"),
      ];
    case "wall-time":
      return ["a timer of the launcher's"];
    case "output":
      return ["the launcher, which counts what it passes on"];
  }
}

function variablesOf(policy: Policy, workspace: Workspace, plan: LaunchPlan): Explanation["environment"] {
  const placeholders = new Set(Object.values(policy.credentials ?? {}).flatMap(({ env }) => env ?? []));
  return [...new Set([...Object.keys(plan.environment), ...placeholders])].sort().map((name) => ({
    name,
    from: placeholders.has(name)
      ? "placeholders"
      : Object.hasOwn(policy.environment.set, name)
        ? "set"
        : Object.hasOwn(workspace.environment, name)
          ? "passed on"
          : "every sandbox",
  }));
}

function secretPlace({ source }: Credential): string {
  const kept = keptBy(source).map(keptAt).join(" and ");
  return isToken(source) ? `${source.url}, asked with ${kept}` : kept;
}

function keptAt(source: SecretSource): string {
  switch (source.kind) {
    case "env":
      return `the launcher's variable ${source.name}`;
    case "file":
      return source.path;
    case "systemd":
      return `the service's credential ${source.name}`;
    case "command":
      return `what ${source.argv[0]} prints`;
  }
}

function credentialReach(
  name: string,
  { networkPolicy, endpoints, binaries, inject }: Credential,
  policy: Policy,
): string {
  const as = inject === undefined ? "" : `, as ${inject.as}`;
  const reach = (where: readonly string[], who: Credential["binaries"]): string =>
    `${where.join(", ")} by ${who.map(({ path }) => path).join(", ")}`;
  const entry = networkPolicy === undefined ? undefined : policy.networkPolicies[networkPolicy];
  if (entry === undefined && endpoints.length > 0) {
    const where = endpoints.map(({ host, ports, path, scheme }) => `${scheme}://${host}:${ports.join(",")}${path}`);
    return `${reach(where, binaries)}${as}`;
  }
  const entries = entry === undefined ? bindingEntries(name, policy) : [entry];
  const all = entries.map((each) =>
    reach(
      each.endpoints.map(({ host, ports, path }) => `${host}:${ports.join(",")}${path}`),
      each.binaries,
    ),
  );
  return `${all.join("; ")}${as}`;
}

function pinsOf({ networkPolicies }: Policy): string {
  const binaries = Object.values(networkPolicies).flatMap((entry) => entry.binaries);
  const pinned = new Set(binaries.flatMap(({ path, sha256 }) => (sha256 === undefined ? [] : [path])));
  return pinned.size === 0 ? "" : ` (${[...pinned].join(", ")} by SHA-256)`;
}

function namesOf({ dns, upstreamProxy }: Policy): string {
  const { servers, split } = dns ?? { servers: [], split: [] };
  return [
    `by ${servers.length === 0 ? "the system" : servers.join(", ")}`,
    ...split.map(({ domains, servers: own }) => `${domains.join(", ")} by ${own.join(", ")}`),
    ...(upstreamProxy === undefined ? [] : [`out through ${upstreamProxy.url}`]),
  ].join("; ");
}
