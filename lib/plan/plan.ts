import { HoldfastError } from "../errors.ts";
import type { HostCapabilities } from "../host/capabilities.ts";
import { hasEgress } from "../policy/network.ts";
import type { Policy } from "../policy/policy.ts";
import { environment } from "./environment.ts";
import { filterFor, filterOptions } from "./filter.ts";
import { identity } from "./identity.ts";
import { baseRuleset, callRuleset, readOnlyRuleset } from "./landlock.ts";
import { landlockPlan } from "./landlock-mode.ts";
import { initSteps, type LaunchPlan, type TrustFiles, type Verification } from "./launch-plan.ts";
import { cgroupLimits, rlimits, watchedLimits } from "./limits.ts";
import { canaryPath, mountPlan, writableSources } from "./mounts.ts";
import { assertRequired } from "./requires.ts";
import type { Workspace } from "./workspace.ts";

/**
 * Where the broker's connections are taken: below every port that a program is given by itself, and none that programs
 * connect to (tcpmux, RFC 1078).
 */
const carriedPort = 1;

/** Of each policy, the last plan: sandboxes one after another, as a worker makes them, often differ in nothing. */
const known = new WeakMap<
  Policy,
  { readonly host: HostCapabilities; readonly key: string; readonly plan: LaunchPlan }
>();

/**
 * What is to be done, from what the policy says, what the host offers and what the session works on. Pure: no I/O, and
 * equal inputs give equal plans, or the same one.
 *
 * @param trust for a sandbox with a certificate authority of its own
 * @throws HoldfastError ERR_HOLDFAST_WALL_UNAVAILABLE when the host lacks a wall that every sandbox needs, or one that
 *   the policy requires by name
 */
export function plan(
  policy: Policy,
  host: HostCapabilities,
  workspace: Workspace,
  trust: TrustFiles | null = null,
): LaunchPlan {
  if (host.landlockAbi === 0) {
    throw new HoldfastError("this kernel has no Landlock, or it is switched off", {
      code: "ERR_HOLDFAST_WALL_UNAVAILABLE",
      step: "landlock",
      hint: "Boot with lsm=landlock,… (see /sys/kernel/security/lsm) on Linux 5.13 or newer; `holdfast doctor` says more.",
    });
  }
  if (workspace.own !== undefined) return landlockPlan(policy, host, workspace, workspace.own);
  // What has a folder or an authority of its own equals no other.
  if (workspace.privateFolder !== null || trust !== null) return makePlan(policy, host, workspace, trust);
  const key = JSON.stringify(workspace);
  const last = known.get(policy);
  if (last?.host === host && last.key === key) return last.plan;
  const made = makePlan(policy, host, workspace, null);
  known.set(policy, { host, key, plan: made });
  return made;
}

function makePlan(policy: Policy, host: HostCapabilities, workspace: Workspace, trust: TrustFiles | null): LaunchPlan {
  const who = identity(policy, host, workspace.owner);
  const mounts = mountPlan(policy, host, who, workspace, trust);
  const grants = { read: mounts.read, write: mounts.write, devices: mounts.devices };
  const base = baseRuleset(host.landlockAbi, grants);
  const readOnly = readOnlyRuleset(host.landlockAbi, grants);
  const verify: Verification[] = [
    { wall: "user-namespace" },
    { wall: "mount-namespace" },
    { wall: "pid-namespace" },
    { wall: "network-namespace" },
    { wall: "ipc-namespace" },
    { wall: "uts-namespace" },
    { wall: "cgroup-namespace" },
    { wall: "read-only-root", paths: mounts.readOnlyFolders },
    { wall: "capabilities" },
    { wall: "no-new-privs" },
    { wall: "not-dumpable" },
    { wall: "landlock-filesystem", path: canaryPath },
    ...(base.scoped === 0 ? [] : [{ wall: "landlock-signal" } as const, { wall: "landlock-abstract" } as const]),
    ...(readOnly.handledNet === 0 ? [] : [{ wall: "landlock-network" } as const]),
    { wall: "seccomp" },
  ];
  const made: LaunchPlan = {
    namespaces: ["user", "mount", "pid", "network", "ipc", "uts", "cgroup"],
    identity: who,
    hostname: "sandbox",
    mounts: mounts.steps,
    idMapped: mounts.idMapped,
    steps: initSteps,
    // Fast open would start a flow without a connect (kernel-notes B3); the backlog is the egress proxy's.
    // Between a program and the gateway is no network: what paces and probes one, as bbr does, only takes time there. Reno is
    // the one that every kernel has and every namespace may choose (tcp(7)).
    // What a user namespace takes counts for its maker as well: some is left to the same user's programs outside.
    sysctls: [
      { path: "/proc/sys/net/ipv4/tcp_fastopen", value: "0" },
      { path: "/proc/sys/net/ipv4/tcp_congestion_control", value: "reno", optional: true },
      { path: "/proc/sys/user/max_inotify_instances", value: "64", optional: true },
      { path: "/proc/sys/user/max_inotify_watches", value: "131072", optional: true },
    ],
    egress: hasEgress(policy) ? { port: carriedPort } : null,
    landlock: { abi: host.landlockAbi, base, call: callRuleset(host.landlockAbi), readOnly },
    seccomp: filterFor(host.architecture, {
      traceOpens: workspace.seccomp.traceOpens,
      ...filterOptions(policy),
    }),
    rlimits: rlimits(policy),
    watched: watchedLimits(policy, workspace),
    cgroup: cgroupLimits(policy, workspace),
    verify,
    folders: { writable: mounts.write, readOnly: mounts.read, sources: writableSources(workspace) },
    environment: environment(policy, workspace, trust),
    cwd: workspace.path,
  };
  assertRequired(policy, made, workspace);
  return made;
}
