import { existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { findDelegation, locateCgroup } from "../../lib/host/cgroups.ts";

const hybridCgroup = "8:pids:/\n4:memory:/jobs/7\n1:name=systemd:/init.scope\n0::/unified/path\n";
const hybridMounts = [
  "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755",
  "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory",
  "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids",
  "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
].join("\n");

test("On a host with both versions each controller is found in the hierarchy that has it", (t) => {
  t.deepEqual(locateCgroup("memory", hybridCgroup, hybridMounts), {
    version: 1,
    own: "/sys/fs/cgroup/memory/jobs/7",
    mount: "/sys/fs/cgroup/memory",
  });
  t.deepEqual(locateCgroup("pids", hybridCgroup, hybridMounts), {
    version: 1,
    own: "/sys/fs/cgroup/pids",
    mount: "/sys/fs/cgroup/pids",
  });
});

test("Where two controllers share a hierarchy of v1, both are found in it", (t) => {
  const mounts = "35 31 0:32 / /sys/fs/cgroup/pids,memory rw - cgroup cgroup rw,pids,memory";
  for (const controller of ["memory", "pids"] as const) {
    t.is(locateCgroup(controller, "4:pids,memory:/a", mounts)?.own, "/sys/fs/cgroup/pids,memory/a");
  }
});

test("On a host with v2 alone the one hierarchy is found, whatever characters its paths have", (t) => {
  const mounts = "30 23 0:26 / /mnt/with\\040space rw - cgroup2 cgroup2 rw,nsdelegate";
  t.deepEqual(locateCgroup("memory", "0::/user.slice/app:1/x\n", mounts), {
    version: 2,
    own: "/mnt/with space/user.slice/app:1/x",
    mount: "/mnt/with space",
  });
});

test("In a container that sees a part of the hierarchy, the path is taken from where the mount begins", (t) => {
  const mounts = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw";
  t.is(locateCgroup("memory", "0::/docker/abc/inner\n", mounts)?.own, "/sys/fs/cgroup/inner");
  t.is(locateCgroup("memory", "0::/docker/abcd\n", mounts), null, "a sibling of it is not below it");
});

test("A cgroup outside this process's cgroup namespace, or a hierarchy that is not mounted, is not found", (t) => {
  t.is(locateCgroup("memory", "0::/../other\n", hybridMounts), null);
  t.is(locateCgroup("memory", hybridCgroup, "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"), null);
  t.is(locateCgroup("memory", "", ""), null);
  const found = findDelegation("memory", "", "");
  t.true(!found.delegated && /no hierarchy with the controller memory is mounted/.test(found.reason));
});

/** A folder made to look like a hierarchy of v2: what the kernel would refuse in it can be tried without such a kernel. */
function hierarchy(t: ExecutionContext, files: Readonly<Record<string, string>>, own: string): [string, string] {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-test-")));
  t.teardown(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(folder, name, ".."), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  mkdirSync(join(folder, own), { recursive: true });
  return [`0::${own}\n`, `30 23 0:26 / ${folder} rw - cgroup2 cgroup2 rw`];
}

test("A process in a slice of systemd's is told to be started with delegation: nothing is made there", (t) => {
  const [cgroup, mountinfo] = hierarchy(
    t,
    {
      "user.slice/session-1.scope/cgroup.type": "domain\n",
      "user.slice/cgroup.controllers": "memory pids\n",
      "user.slice/cgroup.subtree_control": "memory pids\n",
    },
    "/user.slice/session-1.scope",
  );
  const found = findDelegation("memory", cgroup, mountinfo);
  t.true(!found.delegated && /session-1\.scope stands in .*user\.slice, which is systemd's/.test(found.reason));
  t.true(!found.delegated && /Delegate=yes/.test(found.remedy ?? ""));
});

test("A process whose own cgroup is the top of what it sees is never moved out of it", (t) => {
  const [cgroup, mountinfo] = hierarchy(t, { "cgroup.type": "domain\n", "cgroup.controllers": "memory pids\n" }, "/");
  const found = findDelegation("memory", cgroup, mountinfo);
  t.true(!found.delegated && /has processes in it and nothing above it can be seen/.test(found.reason));
});

test("A delegated unit without the controller says which one it was not given", (t) => {
  const [cgroup, mountinfo] = hierarchy(
    t,
    { "a.service/launcher/cgroup.type": "domain\n", "a.service/cgroup.controllers": "cpu pids\n" },
    "/a.service/launcher",
  );
  const found = findDelegation("memory", cgroup, mountinfo);
  t.true(!found.delegated && /a\.service was not given the controller memory$/.test(found.reason));
});

test("What was made to try is gone afterwards, also where the limit cannot be set", (t) => {
  const [cgroup, mountinfo] = hierarchy(
    t,
    {
      "a.service/launcher/cgroup.type": "domain\n",
      "a.service/cgroup.controllers": "memory pids\n",
      "a.service/cgroup.subtree_control": "memory pids\n",
    },
    "/a.service/launcher",
  );
  // An ordinary folder gets no memory.max when it is made: as in a hierarchy that withdrew the controller.
  const found = findDelegation("memory", cgroup, mountinfo);
  t.true(!found.delegated && /memory\.max cannot be written \(ENOENT\)/.test(found.reason));
  const folder = mountinfo.split(" ")[4] ?? "";
  t.true(existsSync(join(folder, "a.service")));
  t.deepEqual(
    readdirSync(join(folder, "a.service")).filter((name) => name.startsWith("holdfast")),
    [],
  );
});
