import { native } from "../native.ts";
import { errnoName, type Finding } from "./finding.ts";
import { kernelSetting } from "./kernel-setting.ts";

/** CLONE_NEW* of linux/sched.h. */
export const namespaceFlags = {
  user: 0x10000000,
  mount: 0x00020000,
  pid: 0x20000000,
  network: 0x40000000,
  ipc: 0x08000000,
  uts: 0x04000000,
  cgroup: 0x02000000,
} as const;

/** What stands in the way of new namespaces, once clone(2) has refused one: settings are read only to say why. */
export interface NamespaceSettings {
  readonly uid: number;
  /** null where this kernel has no such setting. */
  readonly maxNamespaces: number | null;
  readonly unprivilegedClone: string | null;
  readonly apparmorRestricts: string | null;
  readonly isContainer: boolean;
}

function settings(kind: keyof typeof namespaceFlags): NamespaceSettings {
  const file = { user: "user", mount: "mnt", pid: "pid", network: "net", ipc: "ipc", uts: "uts", cgroup: "cgroup" }[
    kind
  ];
  const most = kernelSetting(`/proc/sys/user/max_${file}_namespaces`);
  return {
    uid: process.geteuid?.() ?? 0,
    maxNamespaces: most === null ? null : Number(most),
    unprivilegedClone: kernelSetting("/proc/sys/kernel/unprivileged_userns_clone"),
    apparmorRestricts: kernelSetting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
    // PID 1 outside of a container has no seccomp filter.
    isContainer: /^Seccomp:\s*[12]/m.test(kernelSetting("/proc/1/status") ?? ""),
  };
}

/** Why a namespace was refused, and the command that changes it. */
export function namespaceRemedy(
  kind: keyof typeof namespaceFlags,
  errno: number,
  { uid, maxNamespaces, unprivilegedClone, apparmorRestricts, isContainer }: NamespaceSettings,
): { readonly why: string; readonly remedy: string } {
  const enospc = 28;
  const einval = 22;
  const name = { user: "user", mount: "mnt", pid: "pid", network: "net", ipc: "ipc", uts: "uts", cgroup: "cgroup" }[
    kind
  ];
  const setting = `user.max_${name}_namespaces`;
  if (errno === enospc || maxNamespaces === 0) {
    return {
      why: maxNamespaces === 0 ? `${setting} is 0` : `as many as ${setting} allows are in use`,
      remedy: `sudo sysctl -w ${setting}=${Math.max(15_000, 2 * (maxNamespaces ?? 0))}`,
    };
  }
  if (errno === einval) {
    return {
      why: "this kernel was built without it",
      remedy: `boot a kernel with CONFIG_${kind === "network" ? "NET" : kind.toUpperCase()}_NS=y`,
    };
  }
  if (uid !== 0 && unprivilegedClone === "0") {
    return {
      why: "kernel.unprivileged_userns_clone is 0",
      remedy: "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    };
  }
  if (uid !== 0 && apparmorRestricts === "1") {
    return {
      why: "AppArmor restricts user namespaces of ordinary users",
      remedy: "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    };
  }
  if (isContainer) {
    return {
      why: "a seccomp profile refuses it, as containers' default profiles do",
      remedy:
        "start the container with --security-opt seccomp=unconfined, or a profile that admits clone with CLONE_NEWUSER",
    };
  }
  return {
    why: "a security module or a seccomp filter refuses it",
    remedy: "sudo dmesg | grep -iE 'apparmor|selinux|audit' | tail",
  };
}

/** Asks for each namespace by a child in it: clone(2) with CLONE_NEWUSER and the one. */
export function probeNamespaces(): Finding[] {
  const kinds = Object.keys(namespaceFlags) as (keyof typeof namespaceFlags)[];
  const user = native().probeClone(namespaceFlags.user);
  return kinds.map((kind) => {
    const errno = native().probeClone(namespaceFlags.user | namespaceFlags[kind]);
    const common = { wall: `${kind}-namespace`, required: true, probe: "clone(2) of a child into it" } as const;
    if (errno === 0) return { ...common, status: "enforced", detail: "given" };
    const refused = `clone answers ${errnoName(errno)}`;
    if (kind !== "user" && user !== 0) {
      return { ...common, status: "unavailable", detail: `${refused}: there is no user namespace to make it in` };
    }
    const { why, remedy } = namespaceRemedy(kind, errno, settings(kind));
    return { ...common, status: "unavailable", detail: `${refused}: ${why}`, remedy };
  });
}
