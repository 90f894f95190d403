import { readFileSync, statfsSync } from "node:fs";
import { constants, userInfo } from "node:os";
import { isMainThread } from "node:worker_threads";
import { native } from "../native.ts";

/** What one wall comes to on this host. */
export interface Finding {
  readonly wall: string;
  readonly status: "enforced" | "partial" | "unavailable";
  /** Without it nothing runs. */
  readonly required: boolean;
  /** How it was found out. */
  readonly probe: string;
  readonly detail: string;
  /** The command that would give it. */
  readonly remedy?: string;
}

const errnoNames = new Map<number, string>(Object.entries(constants.errno).map(([name, number]) => [number, name]));

function nameOf(errno: number): string {
  return errnoNames.get(errno) ?? String(errno);
}

function setting(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}

const newUser = 0x10000000;

/** Each namespace, asked for by a child in it: clone(2) with CLONE_NEWUSER and the one. */
function namespaces(): Finding[] {
  const kinds: readonly [string, number][] = [
    ["user-namespace", 0],
    ["mount-namespace", 0x00020000],
    ["pid-namespace", 0x20000000],
    ["network-namespace", 0x40000000],
    ["ipc-namespace", 0x08000000],
    ["uts-namespace", 0x04000000],
    ["cgroup-namespace", 0x02000000],
  ];
  return kinds.map(([wall, flag]) => {
    const errno = native().probeClone(newUser | flag);
    const common = { wall, required: true, probe: "a child cloned into it" } as const;
    if (errno === 0) return { ...common, status: "enforced", detail: "given to this user" };
    return { ...common, status: "unavailable", detail: `clone answers ${nameOf(errno)}`, ...userNamespaceRemedy() };
  });
}

/** Why user namespaces are refused, once they are: the settings are read only then. */
function userNamespaceRemedy(): { remedy?: string } {
  if (setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") === "1") {
    return { remedy: "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" };
  }
  if (setting("/proc/sys/kernel/unprivileged_userns_clone") === "0") {
    return { remedy: "sudo sysctl -w kernel.unprivileged_userns_clone=1" };
  }
  if (setting("/proc/sys/user/max_user_namespaces") === "0") {
    return { remedy: "sudo sysctl -w user.max_user_namespaces=15000" };
  }
  return { remedy: "run outside the container, or with a seccomp profile that admits clone(CLONE_NEWUSER)" };
}

/** What each Landlock ABI brought (landlock(7)), newest first. */
const landlockSteps: readonly [number, string][] = [
  [6, "scopes for signals and abstract sockets (Linux 6.12)"],
  [5, "ioctl on devices (6.10)"],
  [4, "TCP bind and connect (6.7)"],
  [3, "truncate (6.2)"],
  [2, "rename and link across folders (5.19)"],
];

function landlock(): Finding[] {
  const { landlockAbi: abi, landlockErrno } = native().probe();
  const common = { probe: "landlock_create_ruleset asked for its version" } as const;
  if (abi === 0) {
    return [
      {
        ...common,
        wall: "landlock-filesystem",
        required: true,
        status: "unavailable",
        detail: `the kernel answers ${nameOf(landlockErrno)}`,
        remedy: "boot Linux 5.13 or newer with landlock in the lsm= list (see /sys/kernel/security/lsm)",
      },
    ];
  }
  const missing = landlockSteps.filter(([from]) => abi < from).map(([, what]) => what);
  return [
    {
      ...common,
      wall: "landlock-filesystem",
      required: true,
      status: abi >= 3 ? "enforced" : "partial",
      detail: `ABI ${abi}${missing.length === 0 ? "" : `; lacks ${missing.join(", ")}`}`,
    },
    {
      ...common,
      wall: "landlock-network",
      required: false,
      status: abi >= 4 ? "enforced" : "unavailable",
      detail: abi >= 4 ? "TCP is refused to read, glob and grep" : "needs ABI 4 (Linux 6.7)",
    },
    {
      ...common,
      wall: "landlock-scope",
      required: false,
      status: abi >= 6 ? "enforced" : "unavailable",
      detail: abi >= 6 ? "signals and abstract sockets" : "needs ABI 6 (Linux 6.12); the pid namespace holds signals",
    },
  ];
}

const retErrno = 0x00050000;
const retUserNotification = 0x7fc00000;

function seccomp(): Finding[] {
  const filter = native().probeSeccompAction(retErrno);
  const notify = native().probeSeccompAction(retUserNotification);
  const getfd = native().probePidfdGetfd();
  return [
    {
      wall: "seccomp",
      required: true,
      probe: "seccomp(2) asked for its actions",
      status: filter && notify ? "enforced" : "unavailable",
      detail: filter && notify ? "filter and user notification" : "the kernel lacks an action that the filter uses",
      ...(filter && notify ? {} : { remedy: "boot a kernel with CONFIG_SECCOMP_FILTER, 5.9 or newer" }),
    },
    {
      wall: "broker",
      required: false,
      probe: "pidfd_getfd on a process of our own",
      status: getfd === 0 ? "enforced" : "partial",
      detail:
        getfd === 0 ? "connects are judged and made" : `pidfd_getfd answers ${nameOf(getfd)}: connects are refused`,
    },
  ];
}

function launcher(): Finding[] {
  const memfd = native().probeMemfdExec();
  return [
    {
      wall: "sealed-init",
      required: false,
      probe: "a memfd executed in a child",
      status: memfd === 0 ? "enforced" : "partial",
      detail:
        memfd === 0
          ? "the init runs from a sealed memfd"
          : `execveat answers ${nameOf(memfd)}: the package's file is compared and used`,
    },
    {
      wall: "parent-death",
      required: false,
      probe: "the thread that launches",
      status: "enforced",
      detail: isMainThread ? "a thread of the addon's, as long as the process" : "the same in a worker thread",
    },
  ];
}

/** Groups whose members can change the host; an ordinary user's sandbox keeps them (setgroups(2)). */
const powerfulGroups = new Set(["docker", "disk", "adm", "sudo", "wheel", "lxd", "libvirt", "kvm", "shadow", "root"]);

function groups(): Finding {
  const common = { wall: "supplementary-groups", required: false, probe: "getgroups(2)" } as const;
  if (process.geteuid?.() === 0) return { ...common, status: "enforced", detail: "dropped: root started it" };
  const known = new Map(
    (setting("/etc/group") ?? "").split("\n").map((line) => {
      const [name = "", , id = ""] = line.split(":");
      return [Number(id), name];
    }),
  );
  const own = process.getegid?.() ?? -1;
  const held = (process.getgroups?.() ?? []).filter((id) => id !== own).map((id) => known.get(id) ?? String(id));
  const risky = held.filter((name) => powerfulGroups.has(name));
  if (held.length === 0) return { ...common, status: "enforced", detail: "there are none" };
  return {
    ...common,
    status: "partial",
    detail: `an ordinary user cannot drop them: ${held.join(", ")}; the mount view hides what they would open`,
    ...(risky.length === 0 ? {} : { remedy: `run as a user outside ${risky.join(", ")}` }),
  };
}

function cgroups(): Finding {
  const text = setting("/proc/self/cgroup") ?? "";
  const common = { wall: "cgroup-memory", required: false, probe: "own entries of /proc/self/cgroup" } as const;
  return {
    ...common,
    status: "partial",
    detail: `no cgroup is used for memory (${text.split("\n").length} hierarchies here): the init watches the sum of PSS`,
  };
}

function privateFolders(folder: string): Finding {
  const type = statfsSync(folder).type;
  const overlay = 0x794c7630;
  return {
    wall: "private-layer",
    required: false,
    probe: `statfs of ${folder}`,
    status: type === overlay ? "partial" : "enforced",
    detail: type === overlay ? "on an overlay: workspaces are copied" : "an overlay's upper layer can lie there",
  };
}

/** Asks this host for every wall; each in a child or by the kernel's own answer, never from a version. */
export function examineHost(privateFolder: string): Finding[] {
  return [
    ...namespaces(),
    ...landlock(),
    ...seccomp(),
    ...launcher(),
    groups(),
    cgroups(),
    privateFolders(privateFolder),
  ];
}

/** Who asks. */
export function whoami(): string {
  try {
    return `${userInfo().username} (uid ${process.geteuid?.() ?? "?"})`;
  } catch {
    return `uid ${process.geteuid?.() ?? "?"}`;
  }
}
