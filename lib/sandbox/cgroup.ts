import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { HoldfastError } from "../errors.ts";
import { type Cgroups, type Delegation, probeCgroups } from "../host/cgroups.ts";
import { launcherMark } from "../host/launcher-mark.ts";
import { type CgroupEventFiles, noCgroupEvents } from "../native.ts";
import type { CgroupLimits } from "../plan/launch-plan.ts";
import { memoryRoom, wantedCgroup } from "../plan/limits.ts";
import type { HeldByCgroup } from "../plan/workspace.ts";
import type { Policy } from "../policy/policy.ts";
import { removeCgroups } from "./cgroup-removal.ts";
import { registerLeftover } from "./reaper.ts";

/** What a cgroup will hold for this policy; this host is asked only where the policy wants one. */
export function heldByCgroup(policy: Policy, probe: () => Cgroups = probeCgroups): HeldByCgroup {
  const wanted = wantedCgroup(policy);
  if (!wanted.memory && !wanted.processes) return { memory: false, processes: false };
  const { memory, processes } = probe();
  const reason = (found: Delegation): string | undefined => (found.delegated ? undefined : found.reason);
  const reasons = { memory: reason(memory), processes: reason(processes) };
  return {
    memory: wanted.memory && memory.delegated,
    processes: wanted.processes && processes.delegated,
    reasons: {
      ...(reasons.memory === undefined ? {} : { memory: reasons.memory }),
      ...(reasons.processes === undefined ? {} : { processes: reasons.processes }),
    },
  };
}

/** One controller's cgroup: its folder, and the files to write, in their order. */
interface Part {
  readonly folder: string;
  readonly writes: readonly { readonly file: string; readonly value: string; readonly optional?: boolean }[];
  /** What the limit's file must say afterwards. */
  readonly limit: { readonly file: string; readonly value: number };
}

/** cgroup-v1/memory: swap counts with memory where the kernel counts it; where it does not, nothing is swapped out. */
function memoryPart(folder: string, version: 1 | 2, bytes: number): Part {
  const value = String(bytes);
  if (version === 2) {
    // Not memory.oom.group: it would kill the init and every other call along with the one that took too much.
    return {
      folder,
      writes: [
        { file: "memory.max", value },
        { file: "memory.swap.max", value: "0", optional: true },
      ],
      limit: { file: "memory.max", value: bytes },
    };
  }
  return {
    folder,
    writes: [
      { file: "memory.limit_in_bytes", value },
      { file: "memory.memsw.limit_in_bytes", value, optional: true },
      { file: "memory.swappiness", value: "0", optional: true },
    ],
    limit: { file: "memory.limit_in_bytes", value: bytes },
  };
}

function tasksPart(folder: string, tasks: number): Part {
  return {
    folder,
    writes: [{ file: "pids.max", value: String(tasks) }],
    limit: { file: "pids.max", value: tasks },
  };
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** The number after `key` at the start of a line, or the only one of a file without keys; 0 when there is none. */
export function counter(path: string, key?: string): number {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return 0;
  }
  const found = new RegExp(key === undefined ? "^(\\d+)$" : `^${key} (\\d+)$`, "m").exec(text);
  return Number(found?.[1] ?? 0);
}

let made = 0;
const pageSize = 4096;

/** The cgroups of one sandbox: one folder in v2, one for each controller in v1. Gone with it, whoever is killed. */
export class SandboxCgroup {
  /** Files that the init's pid is written to before it starts anything. */
  readonly procs: readonly string[];
  readonly events: CgroupEventFiles;
  readonly #parts: readonly Part[];
  readonly #folders: readonly string[];
  #known = 0;

  private constructor(parts: readonly Part[], events: CgroupEventFiles) {
    this.#parts = parts;
    this.#folders = [...new Set(parts.map(({ folder }) => folder))];
    this.procs = this.#folders.map((folder) => join(folder, "cgroup.procs"));
    this.events = events;
  }

  /**
   * Makes them, with their limits set; the reaper knows of them before they exist.
   *
   * @throws HoldfastError ERR_HOLDFAST_CGROUP when the kernel refuses what it gave to the probe
   */
  static async make(
    name: string,
    limits: CgroupLimits,
    { memory, processes }: Cgroups = probeCgroups(),
  ): Promise<SandboxCgroup> {
    const leaf = `holdfast-${name.replace(/[^\w.-]/g, "_").slice(0, 150)}@${launcherMark()}-${made++}`;
    const parts: Part[] = [];
    if (limits.memoryBytes !== null && memory.delegated) {
      parts.push(memoryPart(join(memory.parent, leaf), memory.version, limits.memoryBytes));
    }
    if (limits.tasks !== null && processes.delegated) parts.push(tasksPart(join(processes.parent, leaf), limits.tasks));
    const folders = [...new Set(parts.map(({ folder }) => folder))];
    await registerLeftover("cgroup", ...folders);
    let at = "";
    try {
      for (const folder of folders) {
        at = folder;
        mkdirSync(at);
      }
      for (const { folder, writes } of parts) {
        for (const { file, value, optional } of writes) {
          at = join(folder, file);
          if (!optional || exists(at)) writeFileSync(at, value);
        }
      }
    } catch (cause) {
      await removeCgroups(folders);
      const errno = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
      throw new HoldfastError(`the cgroup of the sandbox could not be made: ${at} (${errno})`, {
        code: "ERR_HOLDFAST_CGROUP",
        step: "limits",
        path: at,
        errno,
        hint: "Nothing was run. docs/hosts.md has what a delegated cgroup needs; without the limit `memory` none is made.",
        cause,
      });
    }
    return new SandboxCgroup(parts, eventsOf(parts));
  }

  /** Whether these limits hold this process: asked of the kernel, not of what was written. */
  holds(pid: number): boolean {
    const own = readFileSync(`/proc/${pid}/cgroup`, "utf8").split("\n");
    return this.#parts.every(({ folder, limit }) => {
      const isIn = own.some((line) => line.endsWith(`/${basename(folder)}`));
      // The kernel rounds memory down to whole pages.
      const set = counter(join(folder, limit.file));
      return isIn && set > limit.value - pageSize && set <= limit.value;
    });
  }

  /** The init told of the memory limit: what the kernel killed until now is accounted for. */
  noteMemoryReached(): void {
    const { memoryKills, memoryReached } = this.events;
    if (memoryKills === "") return;
    this.#known = counter(memoryKills, "oom_kill");
    // v1: so that a later kill for want of the host's memory is not taken for this limit's.
    if (memoryReached !== memoryKills) writeFileSync(memoryReached, "0");
  }

  /** Whether the kernel killed for this cgroup's own memory limit, and the init did not live to tell. */
  get memoryReachedUntold(): boolean {
    const { memoryKills, memoryReached, memoryLimit } = this.events;
    if (memoryKills === "" || counter(memoryKills, "oom_kill") <= this.#known) return false;
    if (memoryReached === memoryKills) return counter(memoryReached, "oom") > 0;
    return counter(memoryReached) >= memoryLimit - memoryRoom;
  }

  /** Where they are, or were. */
  get folders(): readonly string[] {
    return this.#folders;
  }

  /** Removes them, once the init is gone. What cannot be removed yet stays the reaper's. */
  static async remove(cgroup: SandboxCgroup | null): Promise<void> {
    if (cgroup !== null) await removeCgroups(cgroup.#folders);
  }
}

/**
 * The init proves its walls by trying them; this one it cannot see from inside.
 *
 * @throws HoldfastError ERR_HOLDFAST_WALL_NOT_STANDING when limits that a cgroup is to hold do not hold the init
 */
export function assertHeld(held: HeldByCgroup, cgroup: SandboxCgroup | null, init: number): void {
  if ((!held.memory && !held.processes) || cgroup?.holds(init)) return;
  const wall = held.memory ? "cgroup-memory" : "cgroup-processes";
  throw new HoldfastError(`the wall ${wall} does not stand: the init is in no cgroup with the limits of the policy`, {
    code: "ERR_HOLDFAST_WALL_NOT_STANDING",
    step: "verify",
    hint: "Nothing was run. `holdfast doctor` probes each wall of this host.",
  });
}

function eventsOf(parts: readonly Part[]): CgroupEventFiles {
  let events = noCgroupEvents;
  for (const { folder, limit } of parts) {
    const at = (file: string): string => join(folder, file);
    if (limit.file === "pids.max") {
      // Before Linux 4.3 there is no such file, and no such counter to miss.
      events = { ...events, tasksRefused: exists(at("pids.events")) ? at("pids.events") : "" };
    } else if (limit.file === "memory.max") {
      const counts = at("memory.events");
      events = {
        ...events,
        memoryKills: counts,
        memoryReached: counts,
        memoryUsed: at("memory.current"),
        memoryLimit: limit.value,
      };
    } else {
      // With swap counted, the two limits are equal and it is the sum that is met.
      const counted = exists(at("memory.memsw.limit_in_bytes")) ? "memory.memsw" : "memory";
      events = {
        ...events,
        memoryKills: at("memory.oom_control"),
        memoryReached: at(`${counted}.max_usage_in_bytes`),
        memoryUsed: at(`${counted}.usage_in_bytes`),
        memoryLimit: limit.value,
      };
    }
  }
  return events;
}
