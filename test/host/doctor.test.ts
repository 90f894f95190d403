import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chownSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { groupNames } from "../../lib/host/doctor.ts";
import type { Finding } from "../../lib/host/finding.ts";
import { landlockAbis, landlockLacks } from "../../lib/host/landlock-abi.ts";
import { type NamespaceSettings, namespaceFlags, namespaceRemedy } from "../../lib/host/namespaces.ts";
import { procCovers } from "../../lib/host/proc-covers.ts";
import { missingWithoutNamespaces } from "../../lib/sandbox/enforcement.ts";
import { Sandbox, thisHost } from "../../lib/sandbox/sandbox.ts";

const command = join(import.meta.dirname, "../../lib/cli/main.ts");
const isRoot = process.geteuid?.() === 0;

interface Told {
  readonly fine: boolean;
  readonly host: Readonly<Record<string, string>>;
  readonly walls: readonly Finding[];
}

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command, after a shell's words in new namespaces where some are named. */
function doctor(
  t: ExecutionContext,
  args: readonly string[],
  host?: { namespaces: readonly string[]; first: string; as?: object },
): Ran {
  const state = mkdtempSync(join(tmpdir(), "holdfast-doctor-test-"));
  t.teardown(() => rmSync(state, { recursive: true, force: true }));
  if (host?.as !== undefined && isRoot) chownSync(state, 64_000, 64_000);
  const { FORCE_COLOR: _, ...rest } = process.env;
  const env = { ...rest, HOME: state, XDG_STATE_HOME: state, XDG_RUNTIME_DIR: state };
  const options = { cwd: "/", encoding: "utf8", timeout: 60_000, env, ...host?.as } as const;
  if (host === undefined) return spawnSync(process.execPath, [command, "doctor", ...args], options);
  const script = `${host.first} && exec "$0" "$@"`;
  return spawnSync(
    "unshare",
    [...host.namespaces, "--", "sh", "-c", script, process.execPath, command, "doctor", ...args],
    options,
  );
}

const ordinary = isRoot ? { uid: 64_000, gid: 64_000 } : {};

/** Whether this machine can be made into such a host, else why not. */
function obstacle(namespaces: readonly string[], first: string, as: object): string | null {
  const tried = spawnSync(
    "unshare",
    [...namespaces, "--", "sh", "-c", `${first} && exec "$0" -e 0`, process.execPath],
    {
      cwd: "/",
      encoding: "utf8",
      timeout: 30_000,
      ...as,
    },
  );
  if (tried.error !== undefined) return tried.error.message;
  return tried.status === 0 ? null : (tried.stderr.split("\n")[0] ?? "");
}

test.serial("The doctor says what stands here, and its exit status agrees with a sandbox", async (t) => {
  const ran = doctor(t, ["--json"]);
  const { fine, host, walls } = JSON.parse(ran.stdout) as Told;
  const workdir = mkdtempSync(join(tmpdir(), "holdfast-doctor-test-"));
  t.teardown(() => rmSync(workdir, { recursive: true, force: true }));
  const sandbox = await Sandbox.create({ workdir }).catch(() => null);
  await sandbox?.dispose();
  t.is(fine, sandbox !== null);
  t.is(ran.status, fine ? 0 : 1);
  t.is(ran.stderr, "", "no progress where there is no terminal");
  for (const { wall, probe, detail, status, remedy } of walls) {
    t.true(wall !== "" && probe !== "" && detail !== "", wall);
    if (status === "unavailable" && !detail.includes("no user namespace")) t.truthy(remedy, wall);
  }
  t.is(new Set(walls.map(({ wall }) => wall)).size, walls.length, "each once");
  t.is(
    createHash("sha256")
      .update(readFileSync(host["addon"] ?? ""))
      .digest("hex"),
    host["sha256"] ?? "",
  );
  if (!fine) return;
  const expected = ["all-together", "broker", "mount-proc", "private-layer", "seccomp", "user-namespace"];
  for (const name of expected)
    t.true(
      walls.some(({ wall }) => wall === name),
      name,
    );
});

test.serial("The doctor leaves nothing behind", (t) => {
  const before = readdirSync(tmpdir()).filter((name) => name.startsWith("holdfast-doctor-") && !name.includes("test"));
  const state = mkdtempSync(join(tmpdir(), "holdfast-doctor-test-"));
  t.teardown(() => rmSync(state, { recursive: true, force: true }));
  const env = { ...process.env, XDG_STATE_HOME: state };
  t.is(spawnSync(process.execPath, [command, "doctor"], { env, timeout: 60_000 }).status, 0);
  t.deepEqual(readdirSync(join(state, "holdfast", "sandboxes")), []);
  t.deepEqual(
    readdirSync(tmpdir()).filter((name) => name.startsWith("holdfast-doctor-") && !name.includes("test")),
    before,
  );
});

test.serial("The doctor's table for people has every wall, its finding and its probe", (t) => {
  const { walls } = JSON.parse(doctor(t, ["--json"]).stdout) as Told;
  const { stdout, status } = doctor(t, []);
  for (const { wall, status: found } of walls) t.regex(stdout, new RegExp(`^  ${found} +${wall} `, "m"));
  t.regex(stdout, status === 0 ? /^Every required wall stands\.$/m : /^A required wall is missing/m);
  t.notRegex(stdout, /\u001b/);
});

test.serial(
  "Where user namespaces are used up, the doctor tries the mode without, and lists what that cannot hold",
  (t) => {
    const namespaces = ["--user", "--map-root-user"];
    const first = "echo 0 > /proc/sys/user/max_user_namespaces";
    const why = obstacle(namespaces, first, ordinary);
    if (why !== null) {
      t.log(`skipped: this machine cannot be made into such a host: ${why}`);
      t.pass();
      return;
    }
    const ran = doctor(t, ["--json"], { namespaces, first, as: ordinary });
    const { fine, walls } = JSON.parse(ran.stdout) as Told;
    const user = walls.find(({ wall }) => wall === "user-namespace");
    t.like(user, {
      status: "unavailable",
      required: false,
      detail: "clone answers ENOSPC: user.max_user_namespaces is 0",
    });
    t.regex(user?.remedy ?? "", /^sudo sysctl -w user\.max_user_namespaces=\d+$/);
    const hasMode = thisHost().landlockAbi >= 6;
    t.like(
      walls.find(({ wall }) => wall === "landlock-mode"),
      { required: true, status: hasMode ? "enforced" : "unavailable" },
    );
    t.is(fine, hasMode);
    t.is(ran.status, hasMode ? 0 : 1, ran.stderr);
    const lacks = walls.filter(({ wall }) => wall.startsWith("without ")).length;
    t.is(lacks, hasMode ? missingWithoutNamespaces.length : 0);
  },
);

for (const { what, first, mount, wall, detail, remedy } of [
  {
    what: "a part of /proc is covered",
    first: "mount --bind /dev/null /proc/version",
    mount: ["--mount"],
    wall: "mount-proc",
    detail: /\/proc\/version/,
    remedy: /systempaths=unconfined.*sudo umount \/proc\/version/,
  },
] as const) {
  test.serial(`Where ${what}, the doctor ends with status 1 and names the wall, the reason and the command`, (t) => {
    const namespaces = ["--user", "--map-root-user", ...mount];
    const why = obstacle(namespaces, first, ordinary);
    if (why !== null) {
      t.log(`skipped: this machine cannot be made into such a host: ${why}`);
      t.pass();
      return;
    }
    const ran = doctor(t, ["--json"], { namespaces, first, as: ordinary });
    t.is(ran.status, 1, ran.stderr);
    const { fine, walls } = JSON.parse(ran.stdout) as Told;
    t.false(fine);
    const finding = walls.find((each) => each.wall === wall);
    t.like(finding, { status: "unavailable", required: true });
    t.regex(finding?.detail ?? "", detail);
    t.regex(finding?.remedy ?? "", remedy);
    t.regex(doctor(t, [], { namespaces, first, as: ordinary }).stdout, new RegExp(`unavailable +${wall} `));
  });
}

test.serial(
  "Where a memfd cannot be executed, the doctor says that the package's file is used, and is content",
  (t) => {
    const namespaces = ["--pid", "--fork", "--mount-proc"];
    const first = "echo 2 > /proc/sys/vm/memfd_noexec";
    const why = isRoot ? obstacle(namespaces, first, {}) : "only root can set vm.memfd_noexec";
    if (why !== null) {
      t.log(`skipped: ${why}`);
      t.pass();
      return;
    }
    const ran = doctor(t, ["--json"], { namespaces, first });
    t.is(ran.status, 0, ran.stderr);
    const { walls } = JSON.parse(ran.stdout) as Told;
    const init = walls.find(({ wall }) => wall === "sealed-init");
    t.like(init, { status: "partial", required: false });
    t.regex(init?.detail ?? "", /^refused \(EACCES\): the package's own file runs/);
    t.is(walls.find(({ wall }) => wall === "all-together")?.status, "enforced");
  },
);

const open: NamespaceSettings = {
  uid: 1000,
  maxNamespaces: 60_000,
  unprivilegedClone: null,
  apparmorRestricts: null,
  isContainer: false,
};
const eperm = 1;
const einval = 22;
const enospc = 28;

for (const [what, errno, settings, remedy] of [
  [
    "AppArmor's restriction",
    eperm,
    { apparmorRestricts: "1" },
    "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
  ],
  ["Debian's switch", eperm, { unprivilegedClone: "0" }, "sudo sysctl -w kernel.unprivileged_userns_clone=1"],
  ["a limit of none", enospc, { maxNamespaces: 0 }, "sudo sysctl -w user.max_user_namespaces=15000"],
  ["a limit that is reached", enospc, { maxNamespaces: 20_000 }, "sudo sysctl -w user.max_user_namespaces=40000"],
  ["a kernel without them", einval, {}, "boot a kernel with CONFIG_USER_NS=y"],
  [
    "a container's profile",
    eperm,
    { isContainer: true },
    "start the container with --security-opt seccomp=unconfined, or a profile that admits clone with CLONE_NEWUSER",
  ],
  ["something else", eperm, {}, "sudo dmesg | grep -iE 'apparmor|selinux|audit' | tail"],
  [
    "a container's profile, for root, whom the switches do not hold",
    eperm,
    { uid: 0, apparmorRestricts: "1", isContainer: true },
    "start the container with --security-opt seccomp=unconfined, or a profile that admits clone with CLONE_NEWUSER",
  ],
] as const) {
  test(`What to do about user namespaces is the command against ${what}`, (t) => {
    t.is(namespaceRemedy("user", errno, { ...open, ...settings }).remedy, remedy);
  });
}

test("The clone flags are those of the kernel's headers", (t) => {
  const file = "/usr/include/linux/sched.h";
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch {
    t.log(`skipped: ${file} is not installed`);
    t.pass();
    return;
  }
  const names: Readonly<Record<keyof typeof namespaceFlags, string>> = {
    user: "USER",
    mount: "NS",
    pid: "PID",
    network: "NET",
    ipc: "IPC",
    uts: "UTS",
    cgroup: "CGROUP",
  };
  for (const [kind, flag] of Object.entries(namespaceFlags)) {
    const name = names[kind as keyof typeof namespaceFlags];
    const value = new RegExp(`#define CLONE_NEW${name}\\s+(0x[0-9a-f]+)`).exec(text)?.[1];
    t.is(Number(flag), Number(value), kind);
  }
});

test("What covers /proc is read from the mount table, but for folders that are always empty", (t) => {
  const mountinfo = [
    "22 1 0:21 / /proc rw,nosuid - proc proc rw",
    "23 22 0:22 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw",
    "24 22 0:5 /null /proc/kcore rw - devtmpfs devtmpfs rw",
    "25 22 0:30 / /proc/acpi ro - tmpfs tmpfs ro",
    "26 22 0:30 / /proc/acpi ro - tmpfs tmpfs ro",
    "27 1 0:31 / /process rw - tmpfs tmpfs rw",
  ].join("\n");
  t.deepEqual(procCovers(mountinfo), ["/proc/acpi", "/proc/kcore"]);
});

test("Each Landlock ABI lacks what the later ones brought, and the newest nothing", (t) => {
  t.deepEqual(
    landlockLacks(3).map(({ abi }) => abi),
    [4, 5, 6],
  );
  t.deepEqual(landlockLacks(7), []);
  t.is(landlockLacks(0).length, landlockAbis.length);
});

test("Groups are named as /etc/group names them, others by number", (t) => {
  t.deepEqual(groupNames([4, 998, 7], "root:x:0:\nadm:x:4:syslog\ndocker:x:998:me\n"), ["adm", "docker", "7"]);
});
