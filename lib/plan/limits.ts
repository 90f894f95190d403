import type { Policy } from "../policy/policy.ts";
import type { Rlimit, WatchedLimits } from "./launch-plan.ts";
import type { Workspace } from "./workspace.ts";

/**
 * What the kernel holds for each process (getrlimit(2)).
 *
 * RLIMIT_NPROC counts processes and threads of the user namespace (Linux 5.14); the init is one of them. It lies a
 * little above the limit, so that a call is ended by name for going beyond it rather than told EAGAIN at it.
 */
export function rlimits(policy: Policy): Rlimit[] {
  const { limits } = policy;
  // 1, not 0: a limit of 0 still pipes the dump to the host's handler, outside of every wall, where core_pattern names
  // one; 1 stops both kinds (fs/coredump.c, the check for cprm.limit of 1).
  const found: Rlimit[] = [{ resource: "core", soft: 1, hard: 1 }];
  const add = (resource: Rlimit["resource"], value: number | undefined): void => {
    if (value !== undefined) found.push({ resource, soft: value, hard: value });
  };
  add("nproc", limits.processes === undefined ? undefined : limits.processes + Math.ceil(limits.processes / 8) + 8);
  add("nofile", limits.openFiles);
  add("fsize", limits.fileSizeBytes);
  // The sum over the call is watched; this ends a single process that outruns the watch. Whole seconds, rounded up.
  add("cpu", limits.cpuTimeMs === undefined ? undefined : Math.ceil(limits.cpuTimeMs / 1000) + 1);
  return found;
}

/** What the init watches over all processes of a call, where no cgroup does. */
export function watchedLimits(policy: Policy, workspace: Workspace): WatchedLimits {
  const { limits } = policy;
  return {
    memoryBytes: workspace.cgroup.memory ? 0 : (limits.memoryBytes ?? 0),
    processes: limits.processes ?? 0,
    cpuTimeMs: limits.cpuTimeMs ?? 0,
    openFiles: limits.openFiles ?? 0,
    tmpPath: limits.tmpSizeBytes === undefined ? null : "/tmp",
  };
}
