import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runChild } from "./child.ts";
import { findOnPath } from "./path.ts";
import type { Benchmark } from "./result.ts";
import { measure } from "./rounds.ts";
import { withWorkdir } from "./workdir.ts";

/** bubblewrap's arguments for the same walls: all namespaces, a root of its own, no capabilities, a clear environment. */
function bubblewrapArguments(workdir: string, filter: number): string[] {
  const words = [
    "--unshare-all --die-with-parent --new-session --cap-drop ALL --clearenv",
    "--setenv PATH /usr/bin:/bin",
    "--ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/sbin /sbin --symlink usr/lib /lib --symlink usr/lib64 /lib64",
    "--proc /proc --dev /dev --tmpfs /tmp --hostname sandbox",
  ].flatMap((part) => part.split(" "));
  return [
    ...words,
    ...["--setenv", "HOME", workdir, "--bind", workdir, workdir, "--chdir", workdir],
    ...["--seccomp", String(filter), "--", "/bin/true"],
  ];
}

/** A sandbox from nothing to nothing, with one call in it, against bubblewrap from the same process. */
export const cold: Benchmark = {
  name: "cold",
  run: async (scale) => {
    const bwrap = findOnPath("bwrap");
    if (bwrap === null) return [{ name: "cold", skipped: "bubblewrap (bwrap) is not installed" }];
    return withWorkdir(async (workdir) => {
      const sandbox = await Sandbox.create({ workdir });
      const { program } = sandbox.plan.seccomp;
      await sandbox.dispose();
      // Not in the workspace: bubblewrap reads it from a descriptor.
      const file = join(workdir, "filter.bpf");
      writeFileSync(file, program);
      const sandboxed = async (): Promise<void> => {
        const one = await Sandbox.create({ workdir });
        const result = await one.exec("/bin/true");
        await one.dispose();
        if (result.exitCode !== 0) throw new Error(`/bin/true ended with ${result.exitCode ?? result.signal}`);
      };
      const wrapped = async (): Promise<void> => {
        const filter = openSync(file, "r");
        try {
          await runChild(bwrap, bubblewrapArguments(workdir, 3), { stdio: ["ignore", "pipe", "pipe", filter] });
        } finally {
          closeSync(filter);
        }
      };
      // Each after one of its own kind: what a spawn leaves behind for whoever comes next (every page of this process is
      // to be copied on the next write, fork(2)) is bubblewrap's cost, and a namespace that is still cleared away its maker's.
      const times = await measure(
        [
          { name: "holdfast", before: sandboxed, run: sandboxed },
          { name: "bubblewrap", before: wrapped, run: wrapped },
        ],
        Math.ceil(120 * scale),
        15,
      );
      return [
        {
          name: "cold",
          what: "create, exec true, dispose",
          base: "bubblewrap, the same walls",
          times: times("holdfast"),
          baseTimes: times("bubblewrap"),
          bar: 0.6,
        },
      ];
    });
  },
};
