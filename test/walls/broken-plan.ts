// Plans from which a wall's step was left out. Only tests can make them: no flag or variable of the product does.
import type { InitStep, LaunchPlan, Namespace, Ruleset, VerifiedWall } from "../../lib/plan/launch-plan.ts";

export type Alteration = (plan: LaunchPlan) => LaunchPlan;

export const isRoot: boolean = process.geteuid?.() === 0;

/** BPF_RET | BPF_K with SECCOMP_RET_ALLOW (linux/filter.h, linux/seccomp.h): every call is let through. */
const allowAll = Uint8Array.of(0x06, 0, 0, 0, 0x00, 0x00, 0xff, 0x7f);

/** Landlock refuses an empty ruleset; block devices nobody makes anyhow. */
const nothingHandled: Ruleset = { handledFs: 1 << 11, handledNet: 0, scoped: 0, rules: [] };

const scopeAbstract = 1;
const scopeSignal = 2;

export function withoutSteps(...names: readonly InitStep[]): Alteration {
  return (plan) => ({ ...plan, steps: plan.steps.filter((step) => !names.includes(step)) });
}

export function withoutNamespaces(...names: readonly Namespace[]): Alteration {
  return (plan) => ({ ...plan, namespaces: plan.namespaces.filter((name) => !names.includes(name)) });
}

/** The host's own view: without a mount namespace nothing can be mounted, without a pid namespace no proc of its own. */
export const withoutMounts: Alteration = (plan) => ({ ...plan, mounts: [], idMapped: [] });

export function both(...alterations: readonly Alteration[]): Alteration {
  return (plan) => alterations.reduce((altered, alteration) => alteration(altered), plan);
}

/** Takes the canaries out too, so that the sandbox stands without the wall and a test can show what it stopped. */
export function unverified(alteration: Alteration, ...kept: readonly VerifiedWall[]): Alteration {
  return (plan) => {
    const altered = alteration(plan);
    return { ...altered, verify: altered.verify.filter(({ wall }) => kept.includes(wall)) };
  };
}

const withLandlock =
  (change: Partial<LaunchPlan["landlock"]>): Alteration =>
  (plan) => ({ ...plan, landlock: { ...plan.landlock, ...change } });

const baseScopes =
  (scoped: number): Alteration =>
  (plan) =>
    withLandlock({ base: { ...plan.landlock.base, scoped } })(plan);

export const allowAllFilter: Alteration = (plan) => ({ ...plan, seccomp: { ...plan.seccomp, program: allowAll } });

export const noCallScope: Alteration = withLandlock({ call: nothingHandled });
export const noSignalScope: Alteration = both(noCallScope, baseScopes(scopeAbstract));
export const noAbstractScope: Alteration = baseScopes(scopeSignal);
export const noFileRights: Alteration = (plan) =>
  withLandlock({ base: { ...nothingHandled, scoped: plan.landlock.base.scoped } })(plan);
export const noTcpRights: Alteration = (plan) =>
  withLandlock({ readOnly: { ...plan.landlock.readOnly, handledNet: 0 } })(plan);
export const everythingGranted: Alteration = (plan) => {
  const { base } = plan.landlock;
  return withLandlock({ base: { ...base, rules: [...base.rules, { access: base.handledFs, path: "/" }] } })(plan);
};

export const writableRoot: Alteration = (plan) => ({
  ...plan,
  mounts: plan.mounts.filter(({ op }) => op !== "read-only"),
});
export const writableBinds: Alteration = (plan) => ({
  ...plan,
  mounts: plan.mounts.map((step) => (step.op === "bind" ? { ...step, readOnly: false } : step)),
});

/** Rules on /tmp hold for all that lies there, and what these tests make lies there. */
export const nothingForTmp: Alteration = (plan) => {
  const { base } = plan.landlock;
  const rules = base.rules.filter(({ path }) => path !== "/tmp" && path !== "/var/tmp");
  return withLandlock({ base: { ...base, rules } })(plan);
};

/** Tools' layers keep their sockets. */
export const socketsForTools: Alteration = (plan) => ({
  ...plan,
  seccomp: { ...plan.seccomp, noSockets: new Uint8Array(0) },
});

export function withoutNamespace(name: Namespace): Alteration {
  // An ordinary user gets no other namespace without a user namespace.
  if (name === "user" && !isRoot) return both(withoutMounts, (plan) => ({ ...plan, namespaces: [] }));
  return name === "mount" || name === "pid" ? both(withoutMounts, withoutNamespaces(name)) : withoutNamespaces(name);
}

/**
 * For every wall that the init proves, ways to leave it out. A wall may be left out in more ways than one. The socket
 * filter is proved only where there are no namespaces (landlock-mode.test.ts).
 */
export const leftOut: Readonly<Record<Exclude<VerifiedWall, "socket-filter">, Readonly<Record<string, Alteration>>>> = {
  "user-namespace": { "the namespace is not made": withoutNamespace("user") },
  "mount-namespace": { "the namespace is not made": withoutNamespace("mount") },
  "pid-namespace": { "the namespace is not made": withoutNamespace("pid") },
  "network-namespace": { "the namespace is not made": withoutNamespace("network") },
  "ipc-namespace": { "the namespace is not made": withoutNamespace("ipc") },
  "uts-namespace": { "the namespace is not made": withoutNamespace("uts") },
  "cgroup-namespace": { "the namespace is not made": withoutNamespace("cgroup") },
  "read-only-root": {
    "the root is not made read-only": writableRoot,
    "the system's folders are bound writable": writableBinds,
  },
  capabilities: { "they are not given up": withoutSteps("capabilities") },
  "no-new-privs": { "it is not set": withoutSteps("no-new-privs") },
  "not-dumpable": {
    // Started by root, the change to the sandbox's user alone makes the init undumpable: so here it stays as it is.
    "it is not set": isRoot
      ? both(unverified(withoutNamespaces("user"), "not-dumpable"), withoutSteps("undumpable"))
      : withoutSteps("undumpable"),
  },
  "landlock-filesystem": {
    "the ruleset is not put on": withoutSteps("landlock"),
    "the ruleset handles no right": noFileRights,
    "a rule grants everything": everythingGranted,
  },
  "landlock-signal": {
    "the scope is left out": noSignalScope,
    "the scope holds the init but not the calls": noCallScope,
  },
  "landlock-abstract": { "the scope is left out": noAbstractScope },
  "landlock-network": { "the rights are left out": noTcpRights },
  seccomp: { "the filter is not installed": withoutSteps("seccomp"), "the filter allows everything": allowAllFilter },
};
