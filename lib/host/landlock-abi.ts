import { native } from "../native.ts";
import { errnoName, type Finding } from "./finding.ts";
import { kernelSetting } from "./kernel-setting.ts";

/** What each Landlock ABI brought (landlock(7)), and what it means that an older one lacks it. */
export const landlockAbis: readonly {
  readonly abi: number;
  readonly linux: string;
  readonly brought: string;
  readonly without: string;
}[] = [
  { abi: 1, linux: "5.13", brought: "files and folders", without: "no Landlock at all" },
  {
    abi: 2,
    linux: "5.19",
    brought: "rename and link between folders (REFER)",
    without: "every rename or link from one folder to another is refused, so npm, git and make break",
  },
  {
    abi: 3,
    linux: "6.2",
    brought: "truncate(2)",
    without: "truncating is held by the mount view alone",
  },
  {
    abi: 4,
    linux: "6.7",
    brought: "TCP bind and connect by port",
    without: "TCP of read, glob and grep is held by seccomp alone",
  },
  {
    abi: 5,
    linux: "6.10",
    brought: "ioctl(2) on devices",
    without: "ioctls on the sandbox's devices are held by seccomp alone",
  },
  {
    abi: 6,
    linux: "6.12",
    brought: "scopes: signals and abstract Unix sockets",
    without: "a call can signal other calls of its own sandbox; namespaces hold the rest",
  },
];

/** What an ABI lacks of what holdfast uses, oldest first. */
export function landlockLacks(abi: number): typeof landlockAbis {
  return landlockAbis.filter((step) => step.abi > abi);
}

/** Asks the kernel for its Landlock ABI; that it holds is proved in a sandbox. */
export function probeLandlock(): Finding[] {
  const { landlockAbi: abi, landlockErrno } = native().probe();
  const probe = "landlock_create_ruleset(2), asked for its ABI";
  if (abi === 0) {
    const modules = kernelSetting("/sys/kernel/security/lsm");
    return [
      {
        wall: "landlock-filesystem",
        required: true,
        probe,
        status: "unavailable",
        detail: `the kernel answers ${errnoName(landlockErrno)}${modules === null ? "" : ` (lsm: ${modules})`}`,
        remedy: `boot Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK=y and lsm=landlock,${modules ?? "…"} on the kernel's command line`,
      },
    ];
  }
  const lacks = landlockLacks(abi);
  const newest = lacks.at(-1);
  const remedy = newest === undefined ? {} : { remedy: `boot Linux ${newest.linux} or newer` };
  const step = (wall: string, from: number, detail: string): Finding => ({
    wall,
    required: false,
    probe,
    ...(abi >= from
      ? { status: "enforced", detail }
      : {
          status: "unavailable",
          detail: landlockAbis.find((each) => each.abi === from)?.without ?? "",
          remedy: `boot Linux ${landlockAbis.find((each) => each.abi === from)?.linux} or newer`,
        }),
  });
  return [
    {
      wall: "landlock-filesystem",
      required: true,
      probe,
      status: abi >= 5 ? "enforced" : "partial",
      detail: [`ABI ${abi}`, ...lacks.map(({ brought, without }) => `lacks ${brought}: ${without}`)].join("; "),
      ...remedy,
    },
    step("landlock-network", 4, "no TCP for read, glob and grep"),
    step("landlock-scope", 6, "signals and abstract sockets stay inside; a call cannot signal another"),
  ];
}
