// Each forbidden thing is tried three times: in a sandbox, where it is refused; outside, where it works; and in a sandbox
// whose walls against it were left out of the plan, where it works too. So no test here passes without its wall.

import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { Sandbox, thisHost } from "../../lib/sandbox/sandbox.ts";
import type { SpawnOptions } from "../../lib/sandbox/types.ts";
import {
  type Alteration,
  both,
  isRoot,
  noAbstractScope,
  noCallScope,
  noFileRights,
  noSignalScope,
  noTcpRights,
  nothingForTmp,
  socketsForTools,
  unverified,
  withoutMounts,
  withoutNamespace,
  withoutSteps,
  writableBinds,
  writableRoot,
} from "./broken-plan.ts";
import { buildVictim, type Call, inside, noCompiler, outside, result, text } from "./victim.ts";

// Started by root, everything here belongs to the user that the sandbox becomes, so that nothing is idmapped and what
// the tries outside do is what the same user can do.
const user = isRoot ? 64_000 : (process.geteuid?.() ?? 0);
const group = isRoot ? 64_000 : (process.getegid?.() ?? 0);
const asUser = isRoot ? { uid: user, gid: group } : {};

const top = mkdtempSync(join(tmpdir(), "holdfast-forbidden-"));
const workdir = join(top, "work");
const granted = join(top, "granted");
const secret = join(top, "elsewhere", "secret");
const rootsOwn = join(granted, "root-only");
const abstractName = `holdfast-${process.pid}`;
const shmKey = 0x686f_0000 + (process.pid & 0xffff);

let port = 0;
let sleeper: ChildProcess | undefined;
let sandbox: Sandbox | undefined;
const servers: Server[] = [];
const built = ((): boolean => {
  chmodSync(top, 0o755);
  for (const folder of [workdir, granted, join(top, "elsewhere")]) mkdirSync(folder, { mode: 0o755 });
  for (const file of [secret, join(granted, "file"), rootsOwn]) writeFileSync(file, "text\n", { mode: 0o644 });
  chmodSync(rootsOwn, 0o600);
  if (isRoot) for (const path of [workdir, granted, join(granted, "file")]) chownSync(path, user, group);
  return buildVictim(workdir);
})();

const policy: Policy = {
  ...defaultPolicy,
  filesystem: { ...defaultPolicy.filesystem, readOnly: [...defaultPolicy.filesystem.readOnly, { path: granted }] },
};

async function listen(on: { port: number; host: string } | string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).once("listening", resolve);
    if (typeof on === "string") server.listen(on);
    else server.listen(on);
  });
  servers.push(server);
  return server;
}

test.before(async () => {
  if (!built) return;
  const address = (await listen({ port: 0, host: "127.0.0.1" })).address();
  port = typeof address === "object" && address !== null ? address.port : 0;
  await listen(`\0${abstractName}`);
  sleeper = spawn("sleep", ["300"], { stdio: "ignore", ...asUser });
  outside(workdir, [["shmget", shmKey, 4096, 0o1666]], asUser);
  sandbox = await Sandbox.create({ workdir, policy });
});

test.after.always(async () => {
  await sandbox?.dispose();
  for (const server of servers) server.close();
  sleeper?.kill("SIGKILL");
  if (built)
    outside(
      workdir,
      [
        ["shmget", shmKey, 0, 0],
        ["shmctl", result(0), 0, 0],
      ],
      asUser,
    );
  rmSync(top, { recursive: true, force: true });
});

const hex = (bytes: Uint8Array | readonly number[]): string => `b:${Buffer.from(bytes).toString("hex")}`;

function inetAddress(to: number): Call {
  return ["connect", result(0), hex([2, 0, to >> 8, to & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), 16];
}

function bindTo(to: number): readonly Call[] {
  return [
    ["socket", 2, 1, 0],
    ["bind", result(0), hex([2, 0, to >> 8, to & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), 16],
  ];
}

const openAt = (path: string, flags = 0): Call => ["openat", -100, text(path), flags, 0o600];
const writeOnlyCreate = 0o101;

interface Act {
  readonly title: string;
  readonly calls: () => readonly Call[];
  readonly options?: SpawnOptions;
  /** What it comes to in a sandbox. */
  readonly refused: string;
  /** Leaves out every wall in its way. */
  readonly off: Alteration;
  /** With one wall less another still refuses it, with this errno. */
  readonly stillBehind?: readonly (readonly [without: string, off: Alteration, refused: string])[];
  /** It also needs root outside, or means something under root only. */
  readonly rootOutside?: boolean;
  readonly rootOnly?: boolean;
  /** Why it cannot be tried outside. */
  readonly notOutside?: string;
  readonly abi?: number;
}

const noLandlock = both(noFileRights, noSignalScope, noAbstractScope, withoutSteps("landlock"));
const noSeccomp = withoutSteps("seccomp");

function systemCall(title: string, refused: string, ...calls: readonly Call[]): Act {
  return { title, refused, calls: () => calls, off: noSeccomp };
}

const acts: readonly Act[] = [
  {
    title: "read a file of the host that no rule grants",
    calls: () => [openAt(secret)],
    refused: "ENOENT",
    off: both(withoutMounts, noLandlock),
    stillBehind: [["its own mount view", both(withoutMounts, nothingForTmp), "EACCES"]],
  },
  {
    title: "write in a folder that is granted for reading",
    calls: () => [openAt(join(granted, "new"), writeOnlyCreate)],
    refused: "EROFS",
    off: both(writableBinds, noLandlock),
    stillBehind: [["read-only mounts", both(writableBinds, nothingForTmp), "EACCES"]],
  },
  {
    title: "overwrite a file that is granted for reading",
    calls: () => [openAt(join(granted, "file"), 1)],
    refused: "EROFS",
    off: both(writableBinds, noLandlock),
    stillBehind: [["read-only mounts", both(writableBinds, nothingForTmp), "EACCES"]],
  },
  {
    title: "make a folder in the root",
    calls: () => [["mkdirat", -100, text("/holdfast-made-this"), 0o700]],
    refused: "EROFS",
    off: both(writableRoot, noLandlock),
    stillBehind: [["a read-only root", writableRoot, "EACCES"]],
    notOutside: "it would make a folder in the host's root",
  },
  {
    title: "open a file of the sandbox's own that no rule grants",
    calls: () => [openAt("/.holdfast/canary")],
    refused: "EACCES",
    off: noLandlock,
    notOutside: "the file exists only inside",
  },
  {
    title: "read what only the host's root may read",
    calls: () => [openAt(rootsOwn)],
    refused: "EACCES",
    off: withoutNamespace("user"),
    rootOnly: true,
    rootOutside: true,
  },
  {
    title: "signal a process outside",
    calls: () => [["kill", sleeper?.pid ?? 0, 0]],
    refused: "ESRCH",
    off: both(withoutNamespace("pid"), noSignalScope),
    ...(thisHost().landlockAbi >= 6
      ? { stillBehind: [["a pid namespace", withoutNamespace("pid"), "EPERM"] as const] }
      : {}),
  },
  {
    title: "signal the init",
    calls: () => [["kill", 1, 0]],
    refused: "EPERM",
    off: noSignalScope,
    notOutside: "the host's pid 1 is somebody else's",
    abi: 6,
  },
  {
    title: "connect to a server on the host's loopback",
    calls: () => [["socket", 2, 1, 0], inetAddress(port)],
    refused: "ECONNREFUSED",
    off: withoutNamespace("network"),
  },
  {
    title: "connect to an abstract socket of the host",
    calls: () => {
      const address = Buffer.concat([Buffer.from([1, 0, 0]), Buffer.from(abstractName)]);
      return [
        ["socket", 1, 1, 0],
        ["connect", result(0), hex(address), address.length],
      ];
    },
    refused: "ECONNREFUSED",
    off: both(withoutNamespace("network"), noAbstractScope),
  },
  {
    title: "find a System V segment of the host",
    calls: () => [["shmget", shmKey, 0, 0]],
    refused: "ENOENT",
    off: withoutNamespace("ipc"),
  },
  {
    title: "take a port that needs a capability",
    calls: () => bindTo(80),
    refused: "EACCES",
    off: withoutSteps("capabilities"),
    rootOutside: true,
    notOutside: "the port may be in use there",
  },
  {
    title: "open a TCP port as one of the reading tools",
    // Below what the kernel gives out (ip_local_port_range).
    calls: () => bindTo(29_876),
    options: { layer: "read-only" },
    refused: "socket: EPERM",
    off: both(socketsForTools, noTcpRights),
    stillBehind: [["the filter against sockets", socketsForTools, "EACCES"]],
    abi: 4,
  },
  systemCall("make a user namespace", "EPERM", ["unshare", 0x1000_0000]),
  systemCall("be traced", "EPERM", ["ptrace", 0, 0, 0, 0]),
  systemCall("turn address randomisation off", "EPERM", ["personality", 0x0040000]),
  systemCall("ask for a keyring", "EPERM", ["keyctl", 0, -3, 1]),
  systemCall("set up an io_uring", "ENOSYS", ["io_uring_setup", 4, "z:120"]),
  systemCall("make a Unix datagram socket", "EPERM", ["socket", 1, 2, 0]),
  systemCall("make an MPTCP socket", "EPROTONOSUPPORT", ["socket", 2, 1, 262]),
  systemCall("set the set-uid bit", "EPERM", openAt("with-set-uid", writeOnlyCreate), ["fchmod", result(0), 0o4755]),
  systemCall("make a lease", "EPERM", openAt("leased", 0o100), ["fcntl", result(0), 1024, 0]),
  {
    title: "change the limits of the init",
    // A limit that the init never meets.
    calls: () => [["prlimit64", 1, 7, hex([0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0]), 0]],
    refused: "EPERM",
    off: noSeccomp,
    notOutside: "the host's pid 1 is somebody else's",
  },
  {
    title: "move the init to another processor",
    calls: () => [["sched_setaffinity", 1, 8, hex([1, 0, 0, 0, 0, 0, 0, 0])]],
    refused: "EPERM",
    off: noSeccomp,
    notOutside: "the host's pid 1 is somebody else's",
  },
];

for (const act of acts) {
  test.serial(`A sandbox cannot ${act.title}; without the wall it can`, async (t) => {
    if (!built || sandbox === undefined) {
      t.log(noCompiler);
      t.pass();
      return;
    }
    if (act.rootOnly && !isRoot) {
      t.log("skipped: it means something only where root starts the sandbox");
      t.pass();
      return;
    }
    if ((act.abi ?? 0) > thisHost().landlockAbi) {
      t.log(`skipped: this kernel's Landlock has ABI ${thisHost().landlockAbi}, the wall needs ${act.abi}`);
      t.pass();
      return;
    }
    t.is((await inside(sandbox, act.calls(), act.options)).outcome, act.refused, "in a sandbox");
    if (act.notOutside === undefined) {
      t.is(outside(workdir, act.calls(), act.rootOutside ? {} : asUser).outcome, "ok", "outside");
    }
    const without = async (off: Alteration): Promise<string> => {
      const open = await Sandbox.create({ workdir, policy }, { alterPlan: unverified(off) });
      try {
        return (await inside(open, act.calls(), act.options)).outcome;
      } finally {
        await open.dispose();
      }
    };
    for (const [name, off, refused] of act.stillBehind ?? []) {
      t.is(await without(off), refused, `without ${name}`);
    }
    t.is(await without(act.off), "ok", "without the wall");
  });
}

test.serial("A sandbox has a host name of its own; without the wall it has the host's", async (t) => {
  const own = await Sandbox.create({ workdir });
  t.teardown(() => own.dispose());
  t.is((await own.exec("uname", ["-n"])).stdout.toString(), "sandbox\n");
  const open = await Sandbox.create({ workdir }, { alterPlan: unverified(withoutNamespace("uts")) });
  t.teardown(() => open.dispose());
  t.is((await open.exec("uname", ["-n"])).stdout.toString(), `${hostname()}\n`);
});

test.serial("A call cannot signal another call of its sandbox; without the wall it can", async (t) => {
  if (!built || thisHost().landlockAbi < 6) {
    t.log(built ? "skipped: this kernel's Landlock has no scopes" : noCompiler);
    t.pass();
    return;
  }
  for (const [off, expected] of [
    [(plan) => plan, "EPERM"],
    [unverified(noCallScope), "ok"],
  ] as const satisfies readonly (readonly [Alteration, string])[]) {
    const shared = await Sandbox.create({ workdir }, { alterPlan: off });
    t.teardown(() => shared.dispose());
    const other = shared.spawn("sleep", ["300"], { stdin: "ignore" });
    await new Promise((resolve) => other.once("spawn", resolve));
    t.is((await inside(shared, [["kill", other.pid ?? 0, 0]])).outcome, expected);
    const ended = new Promise((resolve) => other.once("close", resolve));
    other.kill("SIGKILL");
    await ended;
  }
});
