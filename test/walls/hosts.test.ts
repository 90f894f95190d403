// Hosts that lack something, as far as namespaces can show them here: what holdfast does there.
import { spawnSync } from "node:child_process";
import { chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { thisHost } from "../../lib/sandbox/sandbox.ts";
import { isRoot } from "./broken-plan.ts";

const checkout = join(import.meta.dirname, "../..");

/** Starts a sandbox on the host that it finds, runs a command in it, and prints what came of it as JSON. */
const program = `
  import { mkdtempSync, readFileSync, rmSync } from "node:fs";
  import { Sandbox } from ${JSON.stringify(join(checkout, "lib/sandbox/sandbox.ts"))};
  const workdir = mkdtempSync("/tmp/holdfast-host-");
  let told;
  try {
    const [, mode] = process.argv;
    const sandbox = await Sandbox.create({ workdir, ...(mode === "" ? {} : { mode }) });
    const { exitCode, stdout } = await sandbox.exec("sh", ["-c", "id -u; cat /proc/1/comm /proc/sys/kernel/hostname"]);
    const walls = sandbox.enforcement.filter(({ status }) => status === "enforced").map(({ wall }) => wall);
    const { hostUid } = sandbox.plan.identity;
    await sandbox.dispose();
    told = { exitCode, mode: sandbox.mode, lines: stdout.toString().trim().split("\\n"), walls, hostUid };
  } catch (error) {
    told = { code: error.code, message: error.message, hint: error.hint };
  }
  rmSync(workdir, { recursive: true });
  process.stdout.write(JSON.stringify(told));
`;

interface Told {
  readonly exitCode?: number;
  readonly mode?: string;
  readonly lines?: readonly string[];
  readonly walls?: readonly string[];
  readonly hostUid?: number;
  readonly code?: string;
  readonly message?: string;
  readonly hint?: string;
}

/** An ordinary user to be, where root runs the tests. */
const ordinary = isRoot ? { uid: 64_000, gid: 64_000 } : {};
/** Of whoever starts sandboxes: root in a namespace is not whoever owns what root has made. */
const folders = {
  root: mkdtempSync(join(tmpdir(), "holdfast-hosts-")),
  ordinary: mkdtempSync(join(tmpdir(), "holdfast-hosts-")),
};
if (isRoot) chownSync(folders.ordinary, 64_000, 64_000);
test.after.always(() => {
  for (const folder of Object.values(folders)) rmSync(folder, { recursive: true, force: true });
});

interface Host {
  /** Arguments of unshare(1). */
  readonly namespaces: readonly string[];
  /** What a shell does there first. */
  readonly first: string;
  readonly as?: { uid?: number; gid?: number };
  /** That is asked for. */
  readonly mode?: string;
}

/** null, with the reason logged, where this machine cannot show such a host. */
function on(t: ExecutionContext, { namespaces, first, as = {}, mode = "" }: Host): Told | null {
  const folder = isRoot && as.uid === undefined ? folders.root : folders.ordinary;
  const env = { ...process.env, HOME: folder, XDG_STATE_HOME: folder, XDG_RUNTIME_DIR: folder };
  const run = (args: readonly string[]): ReturnType<typeof spawnSync> =>
    spawnSync("unshare", args, { cwd: "/", stdio: "pipe", timeout: 60_000, env, ...as });
  const there = run([...namespaces, "--", "sh", "-c", `${first} && exec "$0" -e 0`, process.execPath]);
  if (there.error !== undefined || there.status !== 0) {
    t.log(
      `skipped: this machine cannot be made into such a host: ${there.error ?? String(there.stderr).split("\n")[0]}`,
    );
    t.pass();
    return null;
  }
  const script = `${first} && exec "$0" --input-type=module -e "$1" -- "$2"`;
  const ran = run([...namespaces, "--", "sh", "-c", script, process.execPath, program, mode]);
  t.is(ran.status, 0, String(ran.stderr));
  return JSON.parse(String(ran.stdout)) as Told;
}

const usedUp = {
  namespaces: ["--user", "--map-root-user"],
  first: "echo 0 > /proc/sys/user/max_user_namespaces",
  as: ordinary,
};

test("Where user namespaces are used up, Landlock, the filter and the broker hold a sandbox alone", (t) => {
  const told = on(t, usedUp);
  if (told === null) return;
  if (thisHost().landlockAbi < 6) {
    t.is(told.code, "ERR_HOLDFAST_WALL_UNAVAILABLE");
    return;
  }
  t.is(told.mode, "landlock", told.message);
  t.deepEqual(told.lines, ["0"], "no process of the host's and no setting of its kernel");
  t.true(told.walls?.includes("socket-filter"));
});

test("In a container under a default profile the broker makes the sockets, and what is reached is the same", (t) => {
  if (thisHost().landlockAbi < 6) {
    t.log(`skipped: this kernel's Landlock has ABI ${thisHost().landlockAbi}, the mode needs 6`);
    t.pass();
    return;
  }
  const workdir = mkdtempSync(join(tmpdir(), "holdfast-container-"));
  t.teardown(() => rmSync(workdir, { recursive: true, force: true }));
  if (isRoot) chownSync(workdir, 64_000, 64_000);
  const script = `
import errno, socket
def attempt(act):
    try: print(act())
    except OSError as error: print(errno.errorcode[error.errno])
def served(family, name):
    server, client = socket.socket(family), socket.socket(family)
    server.bind(name)
    server.listen()
    server.listen(2)
    client.connect(server.getsockname())
    peer, _ = server.accept()
    client.close()
    return repr(peer.recv(1))
attempt(lambda: served(socket.AF_INET, ("0.0.0.0", 0)))
attempt(lambda: served(socket.AF_UNIX, "own.sock"))
attempt(lambda: socket.create_connection(("192.0.2.1", 9), 5))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262))`;
  const command = [
    join(checkout, "lib/cli/main.ts"),
    "run",
    "--json",
    "--workdir",
    workdir,
    "--",
    "python3",
    "-c",
    script,
  ];
  const ran = spawnSync("python3", [join(import.meta.dirname, "container.py"), process.execPath, ...command], {
    encoding: "utf8",
    timeout: 60_000,
  });
  t.is(ran.stdout, "b''\nb''\nENETUNREACH\nEPERM\nEPROTONOSUPPORT\n", ran.stderr);
  t.regex(ran.stderr, /"mode":"landlock"/);
  t.regex(ran.stderr, /"subject":"192\.0\.2\.1:9"/);
});

test("Where user namespaces are used up and are insisted on, nothing starts and one sentence says so", (t) => {
  const told = on(t, { ...usedUp, mode: "namespaces" });
  if (told === null) return;
  t.is(told.code, "ERR_HOLDFAST_WALL_UNAVAILABLE");
  t.is(
    told.message,
    "this host does not give the wall user-namespace: clone answers ENOSPC: user.max_user_namespaces is 0",
  );
  t.regex(told.hint ?? "", /^sudo sysctl -w user\.max_user_namespaces=\d+; `holdfast doctor` says more\.$/);
});

for (const [what, first] of [
  ["a file of /proc", "mount --bind /dev/null /proc/version"],
  ["a folder of /proc", "mount -t tmpfs none /proc/fs"],
] as const) {
  test(`Where ${what} is covered, nothing starts and the sentence names it`, (t) => {
    const told = on(t, { namespaces: ["--user", "--map-root-user", "--mount"], first, as: ordinary });
    if (told === null) return;
    t.is(told.code, "ERR_HOLDFAST_WALL_UNAVAILABLE");
    t.regex(told.message ?? "", /^parts of \/proc \(\/proc\/\S+\) are covered here, .* \(fsmount: EPERM\)$/);
    t.regex(told.hint ?? "", /systempaths=unconfined.* sudo umount \/proc\//);
  });
}

test("Where a memfd cannot be executed, the package's own file is the init, behind every wall", (t) => {
  if (!isRoot) {
    t.log("skipped: only root can set vm.memfd_noexec, for a pid namespace of its own");
    t.pass();
    return;
  }
  const told = on(t, {
    namespaces: ["--pid", "--fork", "--mount-proc"],
    first: "echo 2 > /proc/sys/vm/memfd_noexec",
  });
  if (told === null) return;
  t.is(told.exitCode, 0, told.message);
  t.is(told.lines?.[1], "holdfast_init", "not memfd:…");
  t.true(told.walls?.includes("seccomp") && told.walls.includes("landlock-filesystem"));
});

test("The root of an ordinary user's namespace has sandboxes, as that user and never as an id that it lacks", (t) => {
  const told = on(t, { namespaces: ["--user", "--map-root-user"], first: "true", as: ordinary });
  if (told === null) return;
  t.is(told.exitCode, 0, told.message);
  t.deepEqual([told.lines?.[0], told.hostUid], ["65533", 0]);
  t.is(told.lines?.[2], "sandbox");
});

test("Nothing starts as the host's root, not in a user namespace that holds nobody else either", (t) => {
  if (!isRoot) {
    t.log("skipped: only root can make such a namespace");
    t.pass();
    return;
  }
  const told = on(t, { namespaces: ["--user", "--map-root-user"], first: "true" });
  if (told === null) return;
  t.is(told.code, "ERR_HOLDFAST_WALL_UNAVAILABLE");
  t.regex(told.message ?? "", /nobody but the host's root/);
});
