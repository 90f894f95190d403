import type { Policy } from "../policy/policy.ts";
import type { CgroupLimits, Rlimit, WatchedLimits } from "./launch-plan.ts";
import type { SeccompOptions } from "./seccomp-profile.ts";
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
  // Counted for the user outside as well, who is to have some left: the kernel's own defaults are all that he has.
  add("sigpending", 4096);
  // What a user who may do audio or real-time work brings along, and what is locked is never swapped out.
  add("rtprio", 0);
  add("nice", 0);
  add("memlock", 8 * 1024 * 1024);
  add("nproc", limits.processes === undefined ? undefined : withRoom(limits.processes));
  add("nofile", limits.openFiles);
  add("fsize", limits.fileSizeBytes);
  // The sum over the call is watched; this ends a single process that outruns the watch. Whole seconds, rounded up.
  add("cpu", limits.cpuTimeMs === undefined ? undefined : Math.ceil(limits.cpuTimeMs / 1000) + 1);
  return found;
}

/** Up to here each new descriptor is counted when it is made; of more the init looks now and then. */
const mostCountedFiles = 4096;

/** Which limits are held by the kernel in a way that only the broker can learn of (docs/seccomp.md). */
export function notifiedLimits({ limits }: Policy): Pick<SeccompOptions, "fileSizeLimit" | "openFilesLimit"> {
  return {
    fileSizeLimit: limits.fileSizeBytes !== undefined,
    openFilesLimit: limits.openFiles !== undefined && limits.openFiles <= mostCountedFiles,
  };
}

/** The init is one of them, and a call that goes beyond is ended by name before the kernel tells it EAGAIN. */
function withRoom(processes: number): number {
  return processes + Math.ceil(processes / 8) + 8;
}

/** For the init, and what the kernel keeps for the sandbox's mounts, pipes and page tables. */
export const memoryRoom: number = 4 * 1024 * 1024;

/**
 * Which limits a cgroup is wanted for. To move the init into one takes the kernel some ten milliseconds (it waits for a
 * grace period), so one is made only where it holds what nothing else does: memory as the kernel counts it, files in
 * /tmp included. `processes` comes along, or when the policy requires the wall: else RLIMIT_NPROC in the sandbox's user
 * namespace holds it.
 */
export function wantedCgroup(policy: Policy): { readonly memory: boolean; readonly processes: boolean } {
  const { limits, requires } = policy;
  const memory = limits.memoryBytes !== undefined;
  const made = memory || requires.includes("cgroup-processes");
  return { memory, processes: made && limits.processes !== undefined };
}

/** What the user has outside may grow by this share of the limit before those inside are refused a fork for it. */
const shareOutside = 0.75;

/**
 * The same without a user namespace: there RLIMIT_NPROC counts all that the user has. It bounds what outruns the init's watch.
 * Notified forks could be counted one by one, but until the broker has taken a call a signal's handler ends it with EINTR, which
 * no program expects of a fork (dash, at the end of another child).
 */
export function sharedRlimits(policy: Policy, workspace: Workspace, userTasks: number): Rlimit[] {
  const { processes } = policy.limits;
  const others = rlimits(policy).filter(({ resource }) => resource !== "nproc");
  if (processes === undefined || workspace.cgroup.processes) return others;
  const most = userTasks + withRoom(processes) + Math.ceil(processes * shareOutside);
  return [...others, { resource: "nproc", soft: most, hard: most }];
}

/** The cgroup's limits; null where it holds none. */
export function cgroupLimits(policy: Policy, workspace: Workspace): CgroupLimits | null {
  const { memory, processes } = workspace.cgroup;
  const { memoryBytes, processes: count } = policy.limits;
  if (!memory && !processes) return null;
  return {
    memoryBytes: memory && memoryBytes !== undefined ? memoryBytes + memoryRoom : null,
    tasks: processes && count !== undefined ? withRoom(count) : null,
  };
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
