import { chownSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { HoldfastError } from "../errors.ts";
import type { HostCapabilities } from "../host/capabilities.ts";
import { isAlive, launcherMark, markPattern } from "../host/launcher-mark.ts";
import { inspectPath, isWithin, type SeenPaths } from "../host/paths.ts";
import { randomText } from "../native.ts";
import { proxyVariables } from "../plan/explicit-proxy.ts";
import { isOwn } from "../plan/mounts.ts";
import type { ResolvedGrant, Workspace } from "../plan/workspace.ts";
import { isPassed } from "../policy/environment.ts";
import { hasEgress } from "../policy/network.ts";
import { mountPointFault, normalise } from "../policy/paths.ts";
import type { PathGrant, Policy } from "../policy/policy.ts";
import { otherRoots, ownFolders, privateRoot, reachableRoot } from "./private-root.ts";
import { findProtected, type ProtectedPaths } from "./protected-paths.ts";
import { registerLeftover } from "./reaper.ts";
import { removeTree } from "./remove-tree.ts";
import type { SandboxOptions } from "./types.ts";

/** Folders of the system: shown as they are, whoever owns them. */
export const systemFolders: readonly string[] = [
  "/usr",
  "/bin",
  "/sbin",
  "/lib",
  "/lib32",
  "/lib64",
  "/libx32",
  "/opt",
  "/nix",
  "/gnu",
  "/etc",
  "/sys",
];

/** The policy's grants with every link followed, before the plan is made, and those that lead nowhere and must not. */
export function resolveGrants(policy: Policy, host: HostCapabilities): Required<Pick<Workspace, "grants" | "missing">> {
  const missing: (PathGrant & { fault?: string })[] = [];
  const found: ResolvedGrant[] = [];
  const seen: SeenPaths = new Map();
  const take = (grant: PathGrant, access: "read" | "write"): void => {
    if (grant.path === "/") {
      // Everything, but for what is always the sandbox's own.
      const hidden = new Set(["/proc", "/dev", "/tmp", "/etc", "/sys", "/run"]);
      for (const { path } of host.topLevel) if (!hidden.has(path)) take({ ...grant, path, optional: true }, access);
      return;
    }
    if (isOwn(grant.path)) return;
    const facts = inspectPath(grant.path, seen);
    if (facts.kind === "missing") {
      const { fault = "does not exist" } = facts;
      if (!grant.optional && policy.compatibility === "hard_requirement") missing.push({ ...grant, fault });
      return;
    }
    found.push({
      path: grant.path,
      source: facts.real,
      kind: facts.kind,
      access,
      links: facts.links,
      owner: { uid: facts.uid, gid: facts.gid },
      system: systemFolders.some((folder) => isWithin(facts.real, folder)),
    });
  };
  for (const grant of policy.filesystem.readOnly) take(grant, "read");
  for (const grant of policy.filesystem.readWrite) take(grant, "write");
  return { grants: found, missing };
}

/** Granted by name, not there, and forgiven by best_effort. */
export function passedOver(policy: Policy): (PathGrant & { fault: string })[] {
  if (policy.compatibility === "hard_requirement") return [];
  return [...policy.filesystem.readOnly, ...policy.filesystem.readWrite].flatMap((grant) => {
    const { fault } = grant.optional || isOwn(grant.path) ? {} : inspectPath(grant.path);
    return fault === undefined ? [] : [{ ...grant, fault }];
  });
}

export interface PreparedWorkspace {
  readonly workspace: Workspace;
  readonly found: ProtectedPaths;
}

type Extras = Pick<Workspace, "toolRuntime" | "cgroup" | "seccomp">;

/** Everything a plan needs to know of the session; makes the private folder that an overlay or a fresh workspace needs. */
export async function prepareWorkspace(
  options: SandboxOptions,
  policy: Policy,
  host: HostCapabilities,
  name: string,
  extras: Extras & { hostUid: (owner: { uid: number; gid: number }) => { uid: number; gid: number } },
): Promise<PreparedWorkspace> {
  const described = describeWorkspace(options, policy, host, extras);
  const workspace = { ...described.workspace, covered: coverOwnFolders(described.workspace) };
  if (!isLayered(workspace)) return { ...described, workspace };
  const who = extras.hostUid(workspace.owner);
  const root = options.mode === "landlock" ? reachableRoot(who) : privateRoot();
  const privateFolder = await makePrivateFolder(root, name, who);
  return { ...described, workspace: { ...workspace, privateFolder } };
}

/**
 * Where folders of holdfast's own are inside, of those that lie in what is shown. They are made where they are missing:
 * what another sandbox made later would lie open in this one.
 */
function coverOwnFolders({ access, hostPath, path: inside, grants }: Workspace): string[] {
  const shown = grants.map(({ source }) => ({ source, path: source }));
  if (access !== "none") shown.push({ source: hostPath, path: inside });
  const covered = new Set<string>();
  const seen: SeenPaths = new Map();
  for (const folder of new Set(ownFolders())) {
    // Of a missing folder this is the first part that is missing.
    const place = inspectPath(folder, seen);
    if (!shown.some(({ source }) => isWithin(place.real, source))) continue;
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    } catch {
      continue; // nobody can make it, so nobody uses it
    }
    if (place.kind === "missing") seen.clear();
    const { real } = place.kind === "missing" ? inspectPath(folder) : place;
    for (const { source, path } of shown) if (isWithin(real, source)) covered.add(path + real.slice(source.length));
  }
  return [...covered];
}

/** Whether its writes go to a layer of their own: what cannot be written needs none. */
export function isLayered({ mode, access }: Pick<Workspace, "mode" | "access">): boolean {
  return mode === "overlay" ? access === "read-write" : mode === "fresh" && access !== "none";
}

/** The same without anything made: `privateFolder` is null. Looks at the disk only. */
export function describeWorkspace(
  options: SandboxOptions,
  policy: Policy,
  host: HostCapabilities,
  extras: Extras,
): PreparedWorkspace {
  const facts = inspectPath(options.workdir);
  if (facts.kind !== "directory") {
    throw new HoldfastError(`the workspace ${options.workdir} ${facts.fault ?? "is not a folder"}`, {
      code: "ERR_HOLDFAST_WORKDIR",
      step: "workspace",
      path: options.workdir,
      hint: "Name an existing folder with --workdir.",
    });
  }
  if (facts.real === "/") {
    throw new HoldfastError("the root folder cannot be the workspace", {
      code: "ERR_HOLDFAST_WORKDIR",
      step: "workspace",
      path: "/",
      hint: "Change into a project folder, or name one with --workdir.",
    });
  }
  const mode = options.workspace ?? policy.workspace.mode;
  const path = mountPoint(options.mountAt) ?? policy.workspace.mountAt ?? facts.real;
  const { grants, missing } = resolveGrants(policy, host);
  const access = policy.filesystem.includeWorkdir ? workspaceAccess(policy, grants, path) : "none";
  const owner = { uid: facts.uid, gid: facts.gid };
  const found =
    access === "read-write" && mode !== "fresh"
      ? findProtected(facts.real, ungranted(policy, facts.real))
      : { pinned: [], readOnly: [], projects: [], complete: true, links: [] };
  return {
    found,
    workspace: {
      mode,
      access,
      hostPath: facts.real,
      path,
      owner,
      // The workspace is shown as such: a grant of the same folder has had its say.
      grants: access === "none" ? grants : grants.filter((grant) => grant.source !== path),
      missing,
      pinned: found.pinned,
      readOnly: found.readOnly,
      protectedLinks: found.links,
      privateFolder: null,
      privateFolders: (options.privateFolders ?? []).filter((folder) => !isWithin(folder, path)),
      covered: [],
      toolRuntime: extras.toolRuntime,
      environment: {
        ...(options.proxyEnv === true && hasEgress(policy) ? proxyVariables : {}),
        ...passedEnvironment(policy),
      },
      seccomp: extras.seccomp,
      cgroup: extras.cgroup,
    },
  };
}

function mountPoint(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  const fault = mountPointFault(path);
  if (fault === undefined) return normalise(path);
  throw new HoldfastError(`the workspace cannot appear at ${JSON.stringify(path)}: that ${fault}`, {
    code: "ERR_HOLDFAST_WORKDIR",
    step: "workspace",
    path,
    hint: "Name a path such as /workspace with --mount-at.",
  });
}

/** A file of ours that names the workspace itself as read-only means it; OpenShell adds the rights up. */
function workspaceAccess(policy: Policy, grants: readonly ResolvedGrant[], path: string): "read-write" | "read-only" {
  const named = grants.filter(({ source }) => source === path).map(({ access }) => access);
  const isNarrowed = policy.dialect === "holdfast" && named.includes("read") && !named.includes("write");
  return isNarrowed ? "read-only" : policy.workspace.access;
}

/** The protected names but those that the policy makes writable by name. */
export function ungranted(policy: Policy, root: string): string[] {
  const granted = policy.filesystem.readWrite.map(({ path }) => path).filter((path) => isWithin(path, root));
  if (granted.length === 0) return [...policy.protectedNames.names];
  return policy.protectedNames.names.filter((name) => !granted.includes(join(root, name)));
}

/** By a policy's list, which names it passes: a caller's environment has about the same ones each time. */
const passedNames = new WeakMap<readonly string[], Map<string, boolean>>();

function passedEnvironment({ environment: { pass } }: Policy): Record<string, string> {
  const known = passedNames.get(pass) ?? new Map<string, boolean>();
  passedNames.set(pass, known);
  const found: Record<string, string> = {};
  // The names first: each value is fetched from the runtime's C++ side.
  for (const name of Object.keys(process.env)) {
    const isIn = known.get(name) ?? isPassed(pass, name);
    known.set(name, isIn);
    const value = isIn ? process.env[name] : undefined;
    if (value !== undefined) found[name] = value;
  }
  return found;
}

/** `up` and `work` below a folder of the launcher's own, owned by whom the sandbox runs as. */
async function makePrivateFolder(root: string, name: string, who: { uid: number; gid: number }): Promise<string> {
  const folder = await reserveFolder(root, name);
  for (const path of [folder, join(folder, "up"), join(folder, "work")]) {
    mkdirSync(path, { mode: 0o700 });
    if (statSync(path).uid !== who.uid) chownSync(path, who.uid, who.gid);
  }
  return folder;
}

/**
 * A name in a folder of the launcher's own, for what is a sandbox's alone: cleared when the launcher ends, however it ends
 * (the reaper, else the next one's `sweepPrivateFolders`).
 */
export async function reserveFolder(root: string, name: string): Promise<string> {
  const folder = join(root, `${name}@${launcherMark()}-${randomText(4)}`);
  // Before it is made: a launcher may be killed at any moment.
  await registerLeftover("tree", folder);
  return folder;
}

/** Removes a private folder; what an overlay left in `work` has mode 0. */
export function removePrivateFolder(folder: string): void {
  removeTree(folder);
}

const markedFolder = new RegExp(`@(${markPattern})-[^-]*$`);

/** Removes private folders whose launchers are gone, and whose reapers were killed with them. */
export function sweepPrivateFolders(): void {
  for (const root of [privateRoot(), ...otherRoots()]) {
    for (const name of readdirSync(root)) {
      const mark = markedFolder.exec(name)?.[1];
      if (mark !== undefined && !isAlive(mark)) removePrivateFolder(join(root, name));
    }
  }
}
