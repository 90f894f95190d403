// The mode without namespaces: what Landlock does not judge is refused by the filter or answered by the broker.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { HoldfastError } from "../../lib/errors.ts";
import { userTasks } from "../../lib/host/user-tasks.ts";
import { Sandbox, thisHost } from "../../lib/sandbox/sandbox.ts";
import { sweepPrivateFolders } from "../../lib/sandbox/workspace.ts";
import { createToolset } from "../../lib/tools/toolset.ts";
import {
  type Alteration,
  allowAllFilter,
  isRoot,
  noAbstractScope,
  noFileRights,
  noSignalScope,
  unverified,
  withoutSteps,
} from "./broken-plan.ts";
import { architecture } from "./victim.ts";

/** Whom the sandbox runs as: root's runs as its workspace's owner. */
const own = isRoot ? { uid: 65_533, gid: 65_533 } : { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
const hasScopes = thisHost().landlockAbi >= 6;
const program = join(import.meta.dirname, "shared-host.py");

interface World {
  readonly workdir: string;
  readonly outside: string;
  readonly socket: string;
  readonly port: number;
  readonly process: ChildProcess;
}

/** Files, a process, a Unix socket and a port of the same user's, none of them granted. */
async function makeWorld(t: ExecutionContext): Promise<World> {
  const top = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-shared-")));
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  chmodSync(top, 0o755);
  const workdir = join(top, "work");
  const outside = join(top, "outside");
  const socket = join(top, "socket");
  mkdirSync(workdir);
  writeFileSync(outside, "text\n", { mode: 0o644 });
  mkdirSync(join(top, "elsewhere"));
  symlinkSync(join(top, "elsewhere"), `${outside}-link`);
  writeFileSync(join(workdir, "program.py"), readFileSync(program));
  for (const path of [workdir, outside]) chownSync(path, own.uid, own.gid);
  const unix = createServer().listen(socket);
  const tcp = createServer((client) => client.on("error", () => {})).listen(0, "127.0.0.1");
  await Promise.all([once(unix, "listening"), once(tcp, "listening")]);
  chmodSync(socket, 0o777);
  const process = spawn("sleep", ["60"], { stdio: "ignore", ...own });
  t.teardown(() => {
    process.kill();
    unix.close();
    tcp.close();
  });
  return { workdir, outside, socket, port: (tcp.address() as AddressInfo).port, process };
}

/** One of a sandbox's own loopback addresses. */
function isOwn(address = ""): boolean {
  const [net, block = 0] = address.split(".").map(Number);
  return net === 127 && block >= 64 && block < 128;
}

async function attempts(t: ExecutionContext, world: World, alterPlan?: Alteration): Promise<Record<string, number>> {
  const hooks = alterPlan === undefined ? {} : { alterPlan };
  const sandbox = await Sandbox.create({ workdir: world.workdir, mode: "landlock" }, hooks);
  t.teardown(() => sandbox.dispose());
  const named = [world.outside, world.socket, String(world.process.pid), String(world.port)];
  const { stdout, stderr } = await sandbox.exec("python3", [join(world.workdir, "program.py"), ...named]);
  await sandbox.dispose();
  const found: { answers: Record<string, number>; listens: string; binds: string } = JSON.parse(
    stdout.toString() || JSON.stringify({ answers: { [stderr.toString()]: 0 } }),
  );
  return {
    ...found.answers,
    "listen on every address": isOwn(found.listens) ? 1 : 0,
    "bind to every address": isOwn(found.binds) ? 1 : 0,
  };
}

/** Who has no such kernel is told so, and nothing else is to be seen there. */
function needsScopes(t: ExecutionContext): boolean {
  if (hasScopes) return true;
  t.log(`skipped: this kernel's Landlock has ABI ${thisHost().landlockAbi}, the mode needs 6`);
  t.pass();
  return false;
}

test.serial("What Landlock does not judge is out of reach, and in reach where the filter is left out", async (t) => {
  if (!needsScopes(t)) return;
  const world = await makeWorld(t);
  const before = statSync(world.outside);
  const held = await attempts(t, world);
  const done = Object.keys(held).filter((name) => held[name] === 0);
  t.deepEqual(done, [], JSON.stringify(held));
  t.is(statSync(world.outside).ctimeMs, before.ctimeMs);
  const open = await attempts(t, world, unverified(allowAllFilter, "landlock-signal"));
  // Landlock itself refuses these three; the rest of the list above is the filter's and the broker's alone.
  const byLandlock = ["connect", "truncate", "signal"];
  const refused = Object.keys(open).filter((name) => open[name] !== 0);
  const mayLack = ["vsock", "io_uring", "multipath TCP"]; // kernels are built without them
  t.deepEqual(
    refused.filter((name) => !byLandlock.includes(name) && !mayLack.includes(name)),
    [],
    JSON.stringify(open),
  );
});

const leftOut: Readonly<Record<string, readonly [wall: string, alteration: Alteration]>> = {
  "the ruleset is not put on": ["landlock-filesystem", withoutSteps("landlock")],
  "the ruleset handles no right": ["landlock-filesystem", noFileRights],
  "signals are not kept inside": ["landlock-signal", noSignalScope],
  "abstract sockets are not kept inside": ["landlock-abstract", noAbstractScope],
  "the filter is not installed": ["seccomp", withoutSteps("seccomp")],
  "the filter allows everything": ["seccomp", allowAllFilter],
  "the filter allows every socket": ["socket-filter", unverified(allowAllFilter, "landlock-signal", "socket-filter")],
  ...(isRoot ? { "capabilities are kept": ["capabilities", withoutSteps("capabilities")] } : {}),
};

test.serial("Without namespaces no sandbox starts whose walls do not all stand", async (t) => {
  if (!needsScopes(t)) return;
  const { workdir } = await makeWorld(t);
  for (const [way, [wall, alterPlan]] of Object.entries(leftOut)) {
    const created = Sandbox.create({ workdir, mode: "landlock" }, { alterPlan });
    t.teardown(async () => (await created.catch(() => undefined))?.dispose());
    const error: unknown = await t.throwsAsync(created, undefined, way);
    t.true(HoldfastError.is(error) && error.code === "ERR_HOLDFAST_WALL_NOT_STANDING", `${way}: ${String(error)}`);
    t.regex(String(error), new RegExp(`the wall ${wall} does not stand: .* was not refused`), way);
  }
});

/** Processes with a word in their command line that only they have. */
function spawnedWith(mark: string): string[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(mark);
    } catch {
      return false;
    }
  });
}

test.serial("What left its call's session and lost its parent ends with the sandbox", async (t) => {
  if (!needsScopes(t)) return;
  const { workdir } = await makeWorld(t);
  const sandbox = await Sandbox.create({ workdir, mode: "landlock" });
  t.teardown(() => sandbox.dispose());
  const mark = `31${process.pid}`;
  await sandbox.exec("/bin/sh", ["-c", `exec >/dev/null 2>&1; (setsid sleep ${mark} &); sleep ${mark} &`]);
  t.is(spawnedWith(mark).length, 2);
  await sandbox.dispose();
  t.deepEqual(spawnedWith(mark), [], "it was waited for");
});

test.serial("Modes, times, links and archives in the workspace are its own to change", async (t) => {
  if (!needsScopes(t)) return;
  const { workdir } = await makeWorld(t);
  const sandbox = await Sandbox.create({ workdir, mode: "landlock" });
  t.teardown(() => sandbox.dispose());
  const script = `
    echo text > file && chmod 640 file && touch -d @1000000000 file && ln -s file link && touch -h -d @1000000000 link
    exec 3<file && chmod 600 /proc/self/fd/3 && stat -c '%a %Y' file link
    mkdir copy && tar cf - file link | tar xpf - -C copy && stat -c '%a %Y' copy/file
    echo kept > "$TMPDIR/x" && cat "$TMPDIR/x" && [ -w "$HOME" ] && git init -q repository && echo made`;
  const { stdout, stderr } = await sandbox.exec("bash", ["-euc", script]);
  t.deepEqual(
    stdout.toString().trim().split("\n"),
    ["600 1000000000", "777 1000000000", "600 1000000000", "kept", "made"],
    stderr.toString(),
  );
});

test.serial("Servers inside are reached by programs inside, and by nobody else who knows their port", async (t) => {
  if (!needsScopes(t)) return;
  const { workdir } = await makeWorld(t);
  const one = await Sandbox.create({ workdir, mode: "landlock" });
  const other = await Sandbox.create({ workdir, mode: "landlock" });
  t.teardown(() => Promise.all([one.dispose(), other.dispose()]));
  const script = `
import os, socket, sys
def serve(family, name, asked):
    server, client = socket.socket(family), socket.socket(family)
    server.bind(name)
    server.listen()
    client.connect(asked if asked else server.getsockname())
    peer, _ = server.accept()
    peer.send(b"heard")
    print(client.recv(9).decode())
    return server
port = int(sys.argv[1])
serve(socket.AF_INET, ("127.0.0.1", 0), None)
serve(socket.AF_INET6, ("::1", 0), None)
# As programs name theirs: a path of more than 107 bytes is no address (unix(7)).
os.mkdir(os.environ["TMPDIR"] + "/ssh-XXXXXXXXXXXX")
serve(socket.AF_UNIX, os.environ["TMPDIR"] + "/ssh-XXXXXXXXXXXX/agent.4194304", None)
kept = serve(socket.AF_INET, ("0.0.0.0", port), ("127.0.0.1", port))
print(kept.getsockname(), flush=True)
sys.stdin.read()`;
  const port = 20_000 + (process.pid % 10_000);
  // Both at once, on the port of each other: as in namespaces, neither knows of the other.
  const started = [one, other].map((sandbox) => sandbox.start("python3", ["-c", script, String(port)], {}));
  const said = await Promise.all(
    started.map(async ({ stdout }) => {
      let text = "";
      for await (const chunk of stdout ?? []) {
        text += chunk;
        if (text.endsWith(")\n")) break;
      }
      return text;
    }),
  );
  const address = /^(?:heard\n){4}\('(127[\d.]+)', \d+\)\n$/;
  const own = said.map((text) => address.exec(text)?.[1] ?? text);
  t.true(own.every(isOwn) && own[0] !== own[1], own.join());
  const reached = await Promise.all(
    ["127.0.0.1", "127.0.0.2"].map(
      (host) =>
        new Promise((resolve) => {
          const socket = connect({ host, port });
          socket.on("connect", () => resolve(socket.destroy()));
          socket.on("error", (error) => resolve((error as NodeJS.ErrnoException).code));
        }),
    ),
  );
  t.deepEqual(reached, ["ECONNREFUSED", "ECONNREFUSED"]);
  for (const child of started) child.stdin?.end();
});

test.serial(
  "Unix sockets are named as their program would name them, and nowhere but where it may make files",
  async (t) => {
    if (!needsScopes(t)) return;
    const { workdir } = await makeWorld(t);
    const sandbox = await Sandbox.create({ workdir, mode: "landlock" });
    t.teardown(() => sandbox.dispose());
    const script = `
import os, socket
def name(path):
    made = socket.socket(socket.AF_UNIX)
    try: made.bind(path)
    except OSError as error: print(path, error.strerror); return
    print(made.getsockname(), oct(os.stat(path).st_mode), os.stat(path).st_uid == os.getuid())
os.mkdir("folder"); os.chdir("folder")
name("plain"); name("../beside"); name("plain"); name("no/such")
os.umask(0o077); name("private")
os.symlink("../..", "up"); name("up/above"); name("/etc/above"); name("/dev/shm/above")`;
    const { stdout, stderr } = await sandbox.exec("python3", ["-c", script]);
    t.is(
      stdout.toString() + stderr.toString(),
      `plain 0o140755 True
../beside 0o140755 True
plain Address already in use
no/such No such file or directory
private 0o140700 True
up/above Permission denied
/etc/above Permission denied
/dev/shm/above Permission denied
`,
    );
  },
);

test.serial("Links, folders and watches of what is granted are its own, whatever names them", async (t) => {
  if (!needsScopes(t)) return;
  const { workdir } = await makeWorld(t);
  const sandbox = await Sandbox.create({ workdir, mode: "landlock" });
  t.teardown(() => sandbox.dispose());
  const script = `
import ctypes, os, sys
os.symlink("/nowhere/at/all", "link")
folder = os.open(".", os.O_RDONLY)
own = os.readlink("/proc/self/exe")
libc = ctypes.CDLL(None)
watcher = libc.inotify_init1(0)
libc.inotify_add_watch(watcher, b".", 0xFFF)
open("made", "w").close()
print(os.readlink("link"), os.readlink("link", dir_fd=folder), os.readlink("/proc/self/fd/%d" % folder) == os.getcwd())
print(own == os.path.realpath(sys.executable), os.readlink("/proc/self") == str(os.getpid()), b"made" in os.read(watcher, 4096))
buffer = ctypes.create_string_buffer(4)
print(libc.readlink(b"link", buffer, 4), buffer.raw, libc.readlink(b"link", ctypes.c_void_p(8), 4), libc.syscall(${architecture === "x86_64" ? 79 : 17}, buffer, 4))`;
  const { stdout, stderr } = await sandbox.exec("python3", ["-c", script]);
  t.is(stdout.toString(), "/nowhere/at/all /nowhere/at/all True\nTrue True True\n4 b'/now' -1 -1\n", stderr.toString());
});

test.serial("Without a cgroup a user's processes are bounded by the kernel, and a signal ends no fork", async (t) => {
  if (!needsScopes(t)) return;
  const { workdir } = await makeWorld(t);
  const { defaultPolicy } = await import("../../lib/policy/default-policy.ts");
  // So far from the limit that the init, which ends calls that go beyond it, is not the one who holds it.
  const policy = { ...defaultPolicy, limits: { processes: 10_000 } };
  const script = `
import os, signal
def fork(): # those that nobody waits for count as well
    if os.fork() == 0: os._exit(0)
# Whose handler comes within a call that can be interrupted ends it with EINTR.
signal.signal(signal.SIGCHLD, lambda *_: None)
made = 0
try:
    while made < 1000: fork(); made += 1
except BlockingIOError: pass
print(made)`;
  const most = userTasks(own.uid) + 100;
  for (const nproc of [most, null]) {
    const alterPlan: Alteration = ({ rlimits, ...plan }) => ({
      ...plan,
      // Root has a cgroup for it, which holds far more.
      rlimits: [
        ...rlimits.filter(({ resource }) => resource !== "nproc"),
        ...(nproc === null ? [] : [{ resource: "nproc", soft: nproc, hard: nproc } as const]),
      ],
    });
    const sandbox = await Sandbox.create({ workdir, mode: "landlock", policy }, { alterPlan });
    t.teardown(() => sandbox.dispose());
    const { stdout, stderr } = await sandbox.exec("python3", ["-c", script]);
    const made = Number(stdout);
    t.true(nproc === null ? made === 1000 : made > 0 && made < 1000, `${stdout}${stderr}`);
  }
});

test.serial("What mounts would hold and Landlock cannot is refused, or said", async (t) => {
  if (!needsScopes(t)) return;
  const { workdir } = await makeWorld(t);
  mkdirSync(join(workdir, "kept"));
  const { defaultPolicy } = await import("../../lib/policy/default-policy.ts");
  const { filesystem } = defaultPolicy;
  const readOnly = [...filesystem.readOnly, { path: join(workdir, "kept") }];
  const refused = {
    "a folder that is read-only in a writable one": {
      policy: { ...defaultPolicy, filesystem: { ...filesystem, readOnly } },
    },
    "a workspace at another path": { mountAt: "/workspace" },
    "a private folder at a path of its own": { privateFolders: ["/mnt/session"] },
    "a wall of namespaces that the policy requires": {
      policy: { ...defaultPolicy, requires: ["pid-namespace"] as const },
    },
  };
  for (const [what, options] of Object.entries(refused)) {
    const error: unknown = await t.throwsAsync(
      Sandbox.create({ workdir, mode: "landlock", ...options }),
      undefined,
      what,
    );
    t.true(HoldfastError.is(error) && error.code === "ERR_HOLDFAST_WALL_UNAVAILABLE", `${what}: ${String(error)}`);
  }
  const sandbox = await Sandbox.create({ workdir, mode: "landlock" });
  t.teardown(() => sandbox.dispose());
  t.is(sandbox.mode, "landlock");
  const missing = sandbox.enforcement.filter(({ status }) => status === "unavailable").map(({ wall }) => wall);
  t.deepEqual(missing, [
    "mount-namespace",
    "pid-namespace",
    "protected-names",
    "network-namespace",
    "uts-namespace",
    "tmp-size",
  ]);
});

test.serial(
  "Its /tmp has a short name, is executable, and goes with the next start where its launcher was killed",
  async (t) => {
    if (!needsScopes(t)) return;
    const { workdir } = await makeWorld(t);
    const sandbox = await Sandbox.create({ workdir, mode: "landlock" });
    t.teardown(() => sandbox.dispose());
    const script = 'cp /bin/true "$TMPDIR" && "$TMPDIR/true" && printf "$TMPDIR"';
    const tmp = String((await sandbox.exec("sh", ["-c", script])).stdout);
    t.regex(tmp, /^\/var\/tmp\/holdfast-\w+\/@[\d.]+-\w+\/tmp$/);
    // What programs make there for their sockets: ssh-agent, tmux, a UUID.
    t.true(tmp.length <= 68, tmp);
    const left = join(dirname(dirname(tmp)), "@999999999.1-0");
    mkdirSync(join(left, "tmp"), { recursive: true });
    sweepPrivateFolders();
    t.false(existsSync(left));
    t.true(existsSync(tmp));
  },
);

test.serial("A private layer is a copy, and the tools work on it", async (t) => {
  if (!needsScopes(t)) return;
  const { workdir } = await makeWorld(t);
  const sandbox = await Sandbox.create({ workdir, mode: "landlock", workspace: "overlay", tools: true });
  t.teardown(() => sandbox.dispose());
  t.not(sandbox.workdir, workdir);
  const tools = createToolset(sandbox);
  t.teardown(() => tools.close());
  const run = async (name: string, input: object): Promise<string> =>
    (await tools.run(name, input, AbortSignal.timeout(20_000))).text;
  await run("write", { file_path: "made.txt", content: "one\ntwo\n" });
  await run("edit", { file_path: "made.txt", old_string: "two", new_string: "three" });
  t.is(await run("read", { file_path: "made.txt" }), "one\nthree\n");
  t.regex(await run("bash", { command: "cat made.txt; chmod 600 made.txt && stat -c %a made.txt" }), /three\n600/);
  t.regex(await run("glob", { pattern: "*.txt" }), /made\.txt/);
  t.regex(await run("grep", { pattern: "thr.e" }), /made\.txt:2:three/);
  await tools.close();
  const { changes } = await sandbox.changes();
  t.deepEqual(
    changes.map(({ kind, path }) => `${kind} ${path.toString()}`),
    ["added made.txt"],
  );
});
