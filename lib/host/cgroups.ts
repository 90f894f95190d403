import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { native } from "../native.ts";
import { launcherMark } from "./launcher-mark.ts";

/** Whether this process may make cgroups for one kind of limit: the folder to make them in, or why not. */
export type Delegation =
  | { readonly delegated: true; readonly version: 1 | 2; readonly parent: string }
  | {
      readonly delegated: false;
      /** The end of a sentence: `no cgroup holds it: …`. */
      readonly reason: string;
      /** The command or setting that would give it. */
      readonly remedy?: string;
    };

/** Controllers by the limit that they hold. */
export interface Cgroups {
  readonly memory: Delegation;
  readonly processes: Delegation;
}

/** Where a controller's cgroup of this process lies (cgroups(7)). */
export interface CgroupPlace {
  readonly version: 1 | 2;
  /** This process's own cgroup, below a mount of its hierarchy. */
  readonly own: string;
  /** Where that mount begins: nothing above it can be reached. */
  readonly mount: string;
}

/** The file that holds each limit; it exists in every cgroup of a hierarchy that has the controller. */
const limitFiles = {
  memory: { 1: "memory.limit_in_bytes", 2: "memory.max" },
  pids: { 1: "pids.max", 2: "pids.max" },
} as const;

export type CgroupController = keyof typeof limitFiles;

/** The command that delegates a cgroup (docs/hosts.md has the settings for a unit of one's own). */
function remedyFor(version: 1 | 2): string {
  if (version === 1) {
    return "sudo cgcreate -a $USER -t $USER -g memory,pids:holdfast && cgexec -g memory,pids:holdfast holdfast …";
  }
  const user = process.geteuid?.() === 0 ? "" : "--user ";
  return `systemd-run ${user}--pty -p Delegate=yes -p DelegateSubgroup=launcher holdfast …`;
}

/** Octal escapes of proc_pid_mountinfo(5): space, tab, newline, backslash. */
function decodePath(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** The hierarchy that has a controller, from the texts of /proc/self/cgroup and /proc/self/mountinfo; null where none has. */
export function locateCgroup(controller: CgroupController, cgroup: string, mountinfo: string): CgroupPlace | null {
  let version: 1 | 2 = 2;
  let path: string | null = null;
  for (const line of cgroup.split("\n")) {
    const [, id, controllers = "", own = ""] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers.split(",").includes(controller)) {
      version = 1;
      path = own;
      break;
    }
    if (id === "0") path = own;
  }
  // A path with `..` lies outside this process's cgroup namespace (cgroup_namespaces(7)).
  if (path === null || path.split("/").includes("..")) return null;
  for (const line of mountinfo.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root = "", mount = ""] = before.split(" ").map(decodePath);
    const [type, , options = ""] = after.split(" ");
    const fits = version === 2 ? type === "cgroup2" : type === "cgroup" && options.split(",").includes(controller);
    const below = relative(root, path);
    if (!fits || below === ".." || below.startsWith("../")) continue;
    return { version, own: join(mount, below), mount };
  }
  return null;
}

function read(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

function errnoOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}

const refused = (reason: string, version?: 1 | 2): Delegation => ({
  delegated: false,
  reason,
  ...(version === undefined ? {} : { remedy: remedyFor(version) }),
});

/** Makes a cgroup, sees that the limit can be set in it, and removes it. */
function attempt(parent: string, version: 1 | 2, controller: CgroupController): Delegation {
  const folder = join(parent, `holdfast-probe@${launcherMark()}-0`);
  const limit = join(folder, limitFiles[controller][version]);
  try {
    mkdirSync(folder);
  } catch (error) {
    return refused(`${parent} is not this user's to divide (mkdir: ${errnoOf(error)})`, version);
  }
  try {
    accessSync(limit, constants.W_OK);
    // A process is moved by whom may write in the cgroup that both have above them (cgroups(7), v2).
    if (version === 2) accessSync(join(parent, "cgroup.procs"), constants.W_OK);
    return { delegated: true, version, parent };
  } catch (error) {
    return refused(`${limit} cannot be written (${errnoOf(error)})`, version);
  } finally {
    rmdirSync(folder);
  }
}

/** sd_booted(3). */
const systemdRuns = "/run/systemd/system";

/**
 * Where systemd runs, the top and all slices are its own to divide, but for what it has handed over and marked so
 * (systemd: CGROUP_DELEGATION).
 */
function isHandedOver(folder: string, mount: string): boolean {
  const isTop = folder === mount && existsSync(systemdRuns);
  if (!isTop && !basename(folder).endsWith(".slice")) return true;
  return ["user.delegate", "trusted.delegate"].some((name) => native().getXattr(folder, name)?.toString() === "1");
}

/**
 * v2: a cgroup that has processes cannot have controllers for its children, unless it is the hierarchy's root. Since the
 * caller's process is never moved, the sandbox's cgroup is made beside the caller's own, where that is a leaf of a
 * delegated tree.
 */
function delegationV2({ own, mount }: CgroupPlace, controller: CgroupController): Delegation {
  // cgroup.type exists in every cgroup but the hierarchy's root.
  const isRoot = read(join(own, "cgroup.type")) === null;
  if (!isRoot && own === mount) return refused(`${own} has processes in it and nothing above it can be seen`, 2);
  const parent = isRoot ? own : dirname(own);
  if (!isHandedOver(parent, mount)) {
    return refused(`${own} stands in ${parent}, which is systemd's alone to divide`, 2);
  }
  const words = (file: string): string[] => (read(join(parent, file)) ?? "").trim().split(/\s+/);
  if (!words("cgroup.controllers").includes(controller)) {
    return refused(`${parent} was not given the controller ${controller}`, 2);
  }
  if (!words("cgroup.subtree_control").includes(controller)) {
    try {
      writeFileSync(join(parent, "cgroup.subtree_control"), `+${controller}`);
    } catch (error) {
      const why = errnoOf(error) === "EBUSY" ? "it has processes of its own" : errnoOf(error);
      return refused(`${parent} cannot hand ${controller} to its children: ${why}`, 2);
    }
  }
  return attempt(parent, 2, controller);
}

/** What is delegated, from the two texts: the mounts that they name are tried. */
export function findDelegation(controller: CgroupController, cgroup: string, mountinfo: string): Delegation {
  const place = locateCgroup(controller, cgroup, mountinfo);
  if (place === null) return refused(`no hierarchy with the controller ${controller} is mounted here`);
  return place.version === 1 ? attempt(place.own, 1, controller) : delegationV2(place, controller);
}

/** Where cgroups of sandboxes may lie that were made by a process that stood where this one stands. */
export function cgroupParents(): string[] {
  const cgroup = read("/proc/self/cgroup") ?? "";
  const mountinfo = read("/proc/self/mountinfo") ?? "";
  const parents = new Set<string>();
  for (const controller of ["memory", "pids"] as const) {
    const place = locateCgroup(controller, cgroup, mountinfo);
    if (place === null) continue;
    parents.add(place.own);
    if (place.version === 2 && place.own !== place.mount) parents.add(dirname(place.own));
  }
  return [...parents];
}

let found: Cgroups | undefined;

/** What is delegated to this process: tried once, in well under a millisecond, when it is first asked for. */
export function probeCgroups(): Cgroups {
  if (found !== undefined) return found;
  const cgroup = read("/proc/self/cgroup") ?? "";
  const mountinfo = read("/proc/self/mountinfo") ?? "";
  found = Object.freeze({
    memory: findDelegation("memory", cgroup, mountinfo),
    processes: findDelegation("pids", cgroup, mountinfo),
  });
  return found;
}
