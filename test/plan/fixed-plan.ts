// A host and a session that are the same on every machine, so that plans can be compared with what they were.
import type { HostCapabilities } from "../../lib/host/capabilities.ts";
import type { LaunchPlan } from "../../lib/plan/launch-plan.ts";
import { isOwn } from "../../lib/plan/mounts.ts";
import { plan } from "../../lib/plan/plan.ts";
import type { ResolvedGrant, Workspace } from "../../lib/plan/workspace.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { type PresetName, presetPolicy } from "../../lib/policy/presets.ts";

/** An ordinary user's Debian with a merged /usr. */
export const fixedHost: HostCapabilities = {
  architecture: "x86_64",
  uid: 1000,
  gid: 1000,
  ids: { uid: [], gid: [] },
  landlockAbi: 7,
  topLevel: [
    { path: "/bin", link: "usr/bin" },
    { path: "/etc", link: null },
    { path: "/home", link: null },
    { path: "/lib", link: "usr/lib" },
    { path: "/lib64", link: "usr/lib64" },
    { path: "/opt", link: null },
    { path: "/sbin", link: "usr/sbin" },
    { path: "/usr", link: null },
  ],
  etc: new Map([
    ["alternatives", "other"],
    ["ld.so.cache", "small"],
    ["localtime", "small"],
    ["ssl/certs", "other"],
  ]),
  devices: ["null", "zero", "full", "random", "urandom", "tty"],
};

/** Paths that exist on it, with where they lead. */
const paths: ReadonlyMap<string, string> = new Map([
  ["/bin", "/usr/bin"],
  ["/etc", "/etc"],
  ["/lib", "/usr/lib"],
  ["/lib64", "/usr/lib64"],
  ["/opt", "/opt"],
  ["/sbin", "/usr/sbin"],
  ["/usr", "/usr"],
]);

function grantsOf(policy: Policy): ResolvedGrant[] {
  const grants = [
    ...policy.filesystem.readOnly.map(({ path }) => ({ path, access: "read" as const })),
    ...policy.filesystem.readWrite.map(({ path }) => ({ path, access: "write" as const })),
  ];
  return grants.flatMap(({ path, access }) => {
    const source = paths.get(path);
    if (source === undefined || isOwn(path)) return [];
    const links = source === path ? [] : [{ path, target: source.slice(1) }];
    return [{ path, source, kind: "directory" as const, access, links, owner: { uid: 0, gid: 0 }, system: true }];
  });
}

export function fixedWorkspace(policy: Policy): Workspace {
  const { mode } = policy.workspace;
  return {
    mode,
    access: policy.filesystem.includeWorkdir ? policy.workspace.access : "none",
    hostPath: "/home/me/project",
    path: policy.workspace.mountAt ?? "/home/me/project",
    owner: { uid: 1000, gid: 1000 },
    grants: grantsOf(policy),
    pinned: [".git"],
    readOnly: [".git/config", ".git/hooks", ".vscode"],
    privateFolder: mode === "direct" ? null : "/home/me/.local/state/holdfast/sandboxes/hf-1",
    privateFolders: [],
    covered: [],
    toolRuntime: null,
    environment: { LANG: "de_DE.UTF-8", TERM: "xterm" },
    seccomp: { traceOpens: false },
    cgroup: { memory: false, processes: false },
  };
}

export function planOf(preset: PresetName, host: HostCapabilities = fixedHost): LaunchPlan {
  const policy = presetPolicy(preset);
  return plan(policy, host, fixedWorkspace(policy));
}
