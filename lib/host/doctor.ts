import { userInfo } from "node:os";
import { native } from "../native.ts";
import { probeCgroups } from "./cgroups.ts";
import { errnoName, type Finding } from "./finding.ts";
import { kernelSetting } from "./kernel-setting.ts";
import { probeLandlock } from "./landlock-abi.ts";
import { probeNamespaces } from "./namespaces.ts";
import { probeStorage } from "./storage.ts";

const retErrno = 0x00050000;
const retUserNotification = 0x7fc00000;

/** seccomp(2) SECCOMP_GET_ACTION_AVAIL; that a filter holds is proved in a sandbox. */
function seccomp(): Finding {
  const lacks = [
    ...(native().probeSeccompAction(retErrno) ? [] : ["SECCOMP_RET_ERRNO"]),
    ...(native().probeSeccompAction(retUserNotification) ? [] : ["SECCOMP_RET_USER_NOTIF"]),
  ];
  return {
    wall: "seccomp",
    required: true,
    probe: "seccomp(2), asked for the actions that the filter uses",
    ...(lacks.length === 0
      ? { status: "enforced", detail: "filter and user notification" }
      : {
          status: "unavailable",
          detail: `this kernel has no ${lacks.join(" and no ")}`,
          remedy: "boot Linux 5.13 or newer with CONFIG_SECCOMP_FILTER=y",
        }),
  };
}

/** Where a container's profile refuses pidfd_getfd (kernel-notes A5), connects of the sandbox cannot be judged. */
function duplication(): Finding {
  const errno = native().probePidfdGetfd();
  return {
    wall: "pidfd-getfd",
    required: false,
    probe: "pidfd_getfd(2) on a process of our own",
    ...(errno === 0
      ? { status: "enforced", detail: "the broker can judge a connect by the caller's own socket" }
      : {
          status: "partial",
          detail: `the call answers ${errnoName(errno)}: every connect of a sandbox is refused, to its own servers too; without namespaces the broker makes the sockets`,
          remedy: "start the container with --security-opt seccomp=unconfined, or a profile that admits pidfd_getfd",
        }),
  };
}

function initImage(): Finding {
  const errno = native().probeMemfdExec();
  return {
    wall: "sealed-init",
    required: false,
    probe: "execveat(2) of a memfd in a child",
    ...(errno === 0
      ? { status: "enforced", detail: "the init runs from a sealed memfd" }
      : {
          status: "partial",
          detail: `refused (${errnoName(errno)}): the package's own file runs, compared with the built-in one`,
          remedy: "sudo sysctl -w vm.memfd_noexec=0",
        }),
  };
}

/** Groups whose members can change the host; an ordinary user's sandbox keeps them (kernel-notes E6). */
const powerfulGroups = new Set([
  "adm",
  "disk",
  "docker",
  "incus",
  "kvm",
  "libvirt",
  "lxd",
  "root",
  "shadow",
  "sudo",
  "wheel",
]);

/** The names of groups, from the text of /etc/group (group(5)); a number where it has none. */
export function groupNames(ids: readonly number[], group: string): string[] {
  const known = new Map(
    group.split("\n").map((line) => {
      const [name = "", , id = ""] = line.split(":");
      return [id, name];
    }),
  );
  return ids.map((id) => known.get(String(id)) ?? String(id));
}

function groups(): Finding {
  const common = { wall: "supplementary-groups", required: false, probe: "getgroups(2)" } as const;
  // Of a user namespace without setgroups(2), root is an ordinary user's.
  if (process.geteuid?.() === 0 && kernelSetting("/proc/self/setgroups") !== "deny") {
    return { ...common, status: "enforced", detail: "dropped: root started it" };
  }
  const own = process.getegid?.() ?? -1;
  const ids = (process.getgroups?.() ?? []).filter((id) => id !== own);
  if (ids.length === 0) return { ...common, status: "enforced", detail: "there are none" };
  const held = groupNames(ids, kernelSetting("/etc/group") ?? "");
  const risky = held.filter((name) => powerfulGroups.has(name));
  return {
    ...common,
    status: "partial",
    detail: `an ordinary user cannot drop them: ${held.join(", ")}; the mount view hides what they would open`,
    ...(risky.length === 0 ? {} : { remedy: `start it as a user who is not in ${risky.join(", ")}` }),
  };
}

/** What holds a limit where no cgroup does. */
const withoutCgroup = {
  memory: "the init watches the sum of memory instead (docs/hosts.md)",
  processes: "RLIMIT_NPROC in the sandbox's own user namespace holds the number instead",
} as const;

function cgroups(): Finding[] {
  const found = probeCgroups();
  return (["memory", "processes"] as const).map((limit): Finding => {
    const delegation = found[limit];
    const common = { wall: `cgroup-${limit}`, required: false, probe: "a cgroup made, looked at and removed" } as const;
    if (delegation.delegated) {
      return { ...common, status: "enforced", detail: `v${delegation.version}, below ${delegation.parent}` };
    }
    const { reason, remedy } = delegation;
    return {
      ...common,
      status: "partial",
      detail: `${reason}; ${withoutCgroup[limit]}`,
      ...(remedy === undefined ? {} : { remedy }),
    };
  });
}

/** Yama and the core pattern are the host's to set: what they mean for a sandbox. */
function hostSettings(): Finding[] {
  const scope = kernelSetting("/proc/sys/kernel/yama/ptrace_scope");
  const pattern = kernelSetting("/proc/sys/kernel/core_pattern") ?? "";
  const pipes = pattern.startsWith("|");
  return [
    {
      wall: "yama",
      required: false,
      probe: "/proc/sys/kernel/yama/ptrace_scope",
      ...(scope === null || Number(scope) < 3
        ? {
            status: "enforced",
            detail:
              scope === null
                ? "not in this kernel: nothing is in the way"
                : `ptrace_scope ${scope}: the broker may look at what it launched`,
          }
        : {
            status: "partial",
            detail: "ptrace_scope 3: nobody may look at another process, so every connect of a sandbox is refused",
            remedy:
              "boot with kernel.yama.ptrace_scope=1 in /etc/sysctl.d (3 cannot be taken back while the host runs)",
          }),
    },
    {
      wall: "core-dumps",
      required: false,
      probe: "/proc/sys/kernel/core_pattern",
      ...(pipes
        ? {
            status: "partial",
            detail: `dumps go to ${pattern.slice(1).split(" ")[0]}, outside of every sandbox; RLIMIT_CORE 1 stops that, unless a program lowers it to 0`,
            remedy: "sudo sysctl -w kernel.core_pattern=core",
          }
        : { status: "enforced", detail: "RLIMIT_CORE leaves none" }),
    },
  ];
}

/**
 * Asks this host for what walls are made of; each in a child or by a call of the kernel's own, never from a version.
 * Whether the walls hold is proved in whole sandboxes (lib/sandbox/trial.ts).
 *
 * @param privateFolder where private layers of workspaces lie
 */
export function examineHost(privateFolder: string): Finding[] {
  return [
    ...probeNamespaces(),
    ...probeLandlock(),
    seccomp(),
    duplication(),
    initImage(),
    groups(),
    ...cgroups(),
    ...hostSettings(),
    ...probeStorage(privateFolder),
  ];
}

/** Who asks. */
export function whoami(): string {
  const uid = process.geteuid?.() ?? "?";
  try {
    return `${userInfo().username} (uid ${uid})`;
  } catch {
    return `uid ${uid}`; // one without an entry in /etc/passwd
  }
}
