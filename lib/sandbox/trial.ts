import { chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HoldfastError } from "../errors.ts";
import type { Finding } from "../host/finding.ts";
import { native } from "../native.ts";
import { identity } from "../plan/identity.ts";
import type { LaunchPlan, MountStep } from "../plan/launch-plan.ts";
import { plan } from "../plan/plan.ts";
import { defaultPolicy } from "../policy/default-policy.ts";
import type { Policy } from "../policy/policy.ts";
import { missingWithoutNamespaces } from "./enforcement.ts";
import { launch } from "./launch.ts";
import { launchError } from "./launch-error.ts";
import { privateRoot } from "./private-root.ts";
import { Sandbox, thisHost } from "./sandbox.ts";
import { removePrivateFolder } from "./workspace.ts";

/** A plan like every other, but for a mount view of these steps alone: nothing is started in it. */
function trialPlan(mounts: readonly MountStep[]): LaunchPlan {
  const whole = plan(defaultPolicy, thisHost(), {
    mode: "direct",
    access: "none",
    hostPath: "/",
    path: "/",
    owner: { uid: 0, gid: 0 },
    grants: [],
    pinned: [],
    readOnly: [],
    privateFolder: null,
    privateFolders: [],
    covered: [],
    toolRuntime: null,
    environment: {},
    seccomp: { traceOpens: false },
    cgroup: { memory: false, processes: false },
  });
  return { ...whole, mounts, idMapped: [], verify: [] };
}

/** Launches an init with the plan and ends it. Rejects with what the kernel refused. */
async function raise(made: LaunchPlan): Promise<void> {
  const { channel, pidfd, broker } = await launch(made, thisHost().architecture, 0);
  native().kill(pidfd);
  await native().waitExit(pidfd);
  native().close(pidfd);
  channel.close();
  if (broker !== 0) native().unwatch(broker);
}

const timeoutMs = 10_000;

type Outcome = Pick<Finding, "status" | "detail" | "remedy">;

async function outcomeOf(attempt: () => Promise<string>, otherwise: Finding["status"]): Promise<Outcome> {
  try {
    return { status: "enforced", detail: await attempt() };
  } catch (cause) {
    const error = launchError(cause);
    if (!HoldfastError.is(error)) throw error;
    return { status: otherwise, detail: error.message, remedy: error.hint };
  }
}

const root: MountStep = { op: "root", sizeBytes: 1024 * 1024, inodes: 256 };

/** Each kind of mount that a sandbox's view is made of, by an init of its own. */
export async function tryMounts(): Promise<Finding[]> {
  const usr: MountStep = { op: "bind", source: "/usr", path: "/usr", from: "host", readOnly: true };
  const kinds: readonly (readonly [wall: string, detail: string, steps: readonly MountStep[]])[] = [
    ["mount-tmpfs", "a root of its own, made read-only", [root, { op: "read-only", path: "/" }]],
    ["mount-bind", "parts of the host's tree in it, read-only", [root, usr]],
    ["mount-proc", "a /proc of its own", [root, { op: "proc", path: "/proc" }]],
    ["mount-devpts", "terminals of its own", [root, { op: "devpts", path: "/dev/pts" }]],
  ];
  const who = async (): Promise<string> => {
    const { hostUid, hostGid, drop } = trialPlan([]).identity;
    const unless = drop ? ", unless the policy or the workspace's owner says another" : "";
    return `uid ${hostUid} and gid ${hostGid} on the host${unless}`;
  };
  const probe = "a plan made for this user and the ids that it may become";
  const findings: Finding[] = [{ wall: "identity", required: true, probe, ...(await outcomeOf(who, "unavailable")) }];
  if (findings.some(({ status }) => status !== "enforced")) return findings;
  for (const [wall, detail, steps] of kinds) {
    const probe = `an init that mounts ${wall.replace("mount-", "")}`;
    const attempt = async (): Promise<string> => {
      await raise(trialPlan(steps));
      return detail;
    };
    findings.push({ wall, required: true, probe, ...(await outcomeOf(attempt, "unavailable")) });
  }
  if (findings.every(({ status }) => status === "enforced")) findings.push(await tryOverlay());
  return findings;
}

/** With its upper layer where those of workspaces lie; without, a workspace is copied. */
async function tryOverlay(): Promise<Finding> {
  const folder = mkdtempSync(join(privateRoot(), "doctor-"));
  try {
    for (const name of ["lower", "up", "work"]) mkdirSync(join(folder, name), { mode: 0o777 });
    const steps: MountStep[] = [
      root,
      { op: "bind", source: folder, path: "/layers", from: "host", readOnly: false },
      { op: "overlay", lower: "/layers/lower", upper: "/layers/up", work: "/layers/work", path: "/workspace" },
    ];
    const made = trialPlan(steps);
    // The overlay's work folder is the sandbox's user's to make files in.
    const { hostUid, hostGid, drop } = made.identity;
    if (drop) {
      for (const path of [folder, join(folder, "up"), join(folder, "work")]) chownSync(path, hostUid, hostGid);
    }
    const attempt = async (): Promise<string> => {
      await raise(made);
      return "workspaces are shown with a private layer on top";
    };
    const outcome = await outcomeOf(attempt, "partial");
    return {
      wall: "mount-overlay",
      required: false,
      probe: `an init that mounts overlay with its upper folder in ${privateRoot()}`,
      ...(outcome.status === "enforced"
        ? outcome
        : {
            status: "partial",
            detail: `${outcome.detail}: workspaces are copied instead`,
            remedy:
              "set XDG_STATE_HOME to a folder on ext4, xfs or btrfs that is no overlay itself (in a container: a volume)",
          }),
    };
  } finally {
    removePrivateFolder(folder);
  }
}

/** TEST-NET-1 (RFC 5737): nobody is there, and nothing is sent, since the sandbox has no way out. */
const nobody = "192.0.2.1";

/** Whole sandboxes, whose inits try one forbidden thing for each wall, and in which programs are run. */
export async function trySandboxes(): Promise<Finding[]> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-doctor-"));
  try {
    const direct = await tryDirect(folder);
    // What stops one sandbox stops them all.
    if (direct.status !== "enforced") return [direct];
    return [direct, await tryBroker(folder), await tryPrivateLayer(folder), ...(await tryIdMapped(folder))];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * The mode of hosts that give no namespaces, in a whole sandbox of its own.
 *
 * @param needed nothing else runs here: what it cannot hold is listed as well
 */
export async function tryWithoutNamespaces(needed: boolean): Promise<Finding[]> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-doctor-"));
  try {
    const { hostUid, hostGid, drop } = identity(defaultPolicy, thisHost(), { uid: 0, gid: 0 });
    if (drop) chownSync(folder, hostUid, hostGid);
    const attempt = async (): Promise<string> => {
      const sandbox = await Sandbox.create({ workdir: folder, mode: "landlock" });
      const proved = sandbox.enforcement.filter(({ status }) => status === "enforced").map(({ wall }) => wall);
      await sandbox.dispose();
      return `${needed ? "used here, since namespaces are refused; " : ""}proved: ${proved.join(", ")}`;
    };
    const probe = "a whole sandbox without namespaces (--mode landlock)";
    const outcome = await outcomeOf(attempt, "unavailable");
    const mode: Finding = { wall: "landlock-mode", required: needed, probe, ...outcome };
    if (!needed || mode.status !== "enforced") return [mode];
    const lacks = missingWithoutNamespaces.map(({ wall, reason = "" }): Finding => {
      const remedy = "give this host's user namespaces, as above";
      const what = { wall: `without ${wall}`, probe: "docs/hosts.md", detail: reason, remedy };
      return { ...what, status: "unavailable", required: false };
    });
    return [mode, ...lacks];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function tryDirect(workdir: string): Promise<Finding> {
  const attempt = async (): Promise<string> => {
    const sandbox = await Sandbox.create({ workdir });
    const proved = sandbox.enforcement.filter(({ status }) => status === "enforced").map(({ wall }) => wall);
    await sandbox.dispose();
    return `proved: ${proved.join(", ")}`;
  };
  const probe = "a whole sandbox, whose init tries one forbidden thing for each wall";
  return { wall: "all-together", required: true, probe, ...(await outcomeOf(attempt, "unavailable")) };
}

async function tryBroker(workdir: string): Promise<Finding> {
  const { filesystem } = defaultPolicy;
  const readOnly = [...filesystem.readOnly, { path: process.execPath }];
  const policy: Policy = { ...defaultPolicy, filesystem: { ...filesystem, readOnly } };
  const script = `require("net").connect(9, "${nobody}").on("error", ({ code }) => console.log(code))`;
  const probe = `a connect to ${nobody} in a sandbox`;
  const common = { wall: "broker", required: false, probe } as const;
  const attempt = async (): Promise<string> => {
    const sandbox = await Sandbox.create({ workdir, policy });
    try {
      const { stdout, denials } = await sandbox.exec(process.execPath, ["-e", script], { timeoutMs });
      const answer = stdout.toString().trim();
      if (denials.some(({ kind, subject }) => kind === "connect" && subject === `${nobody}:9`)) {
        return `the connect was refused (${answer}) and recorded with its address`;
      }
      throw new HoldfastError(`the connect was refused (${answer}), but nobody knows by what or to where`, {
        code: "ERR_HOLDFAST_WALL_NOT_STANDING",
        step: "verify",
        hint: "See pidfd-getfd and yama in this list: the broker could not look at the caller.",
      });
    } finally {
      await sandbox.dispose();
    }
  };
  return { ...common, ...(await outcomeOf(attempt, "partial")) };
}

async function tryPrivateLayer(folder: string): Promise<Finding> {
  const workdir = join(folder, "layered");
  mkdirSync(join(workdir, "folder"), { recursive: true });
  writeFileSync(join(workdir, "folder", "file"), "text\n");
  // What an overlay without its attributes fails at, long after the mount: a folder removed and made again (E4).
  const script =
    'rm -r folder && mkdir folder && [ -z "$(ls -A folder)" ] && echo more > folder/other && mv folder moved';
  const attempt = async (): Promise<string> => {
    const sandbox = await Sandbox.create({ workdir, workspace: "overlay" });
    const { exitCode, stderr } = await sandbox.exec("/bin/sh", ["-c", script], { timeoutMs });
    await sandbox.dispose();
    const isWhole = statSync(join(workdir, "folder", "file"), { throwIfNoEntry: false })?.size === 5;
    if (exitCode === 0 && isWhole) return "folders are removed, made again and moved, and the workspace is as it was";
    throw new HoldfastError(`a folder could not be removed and made again: ${stderr.toString().trim()}`, {
      code: "ERR_HOLDFAST_WALL_NOT_STANDING",
      step: "verify",
      hint: "Set XDG_STATE_HOME to a folder on ext4, xfs or btrfs.",
    });
  };
  const probe = "a sandbox with an overlay workspace, and changes to it";
  return { wall: "private-layer", required: false, probe, ...(await outcomeOf(attempt, "unavailable")) };
}

/** Only root needs it: its own folders are shown to the sandbox as the sandbox's. */
async function tryIdMapped(folder: string): Promise<Finding[]> {
  if (!identity(defaultPolicy, thisHost(), { uid: 0, gid: 0 }).drop) return [];
  const workdir = join(folder, "root-owned");
  mkdirSync(workdir);
  const attempt = async (): Promise<string> => {
    const sandbox = await Sandbox.create({ workdir });
    const { hostUid } = sandbox.plan.identity;
    const { exitCode } = await sandbox.exec("/bin/sh", ["-c", "echo text > file"], { timeoutMs });
    await sandbox.dispose();
    const made = statSync(join(workdir, "file"), { throwIfNoEntry: false });
    if (exitCode === 0 && made?.uid === 0) return `uid ${hostUid} inside wrote a file that is root's outside`;
    throw new HoldfastError("a sandbox could not write in a folder of root's", {
      code: "ERR_HOLDFAST_WALL_NOT_STANDING",
      step: "verify",
      hint: "Give the workspace to an ordinary user, or use --overlay.",
    });
  };
  const probe = "a sandbox that writes in a folder of root's";
  const outcome = await outcomeOf(attempt, "partial");
  const where = `workspaces of root's on the file system of ${tmpdir()}`;
  return [{ wall: "idmapped-mounts", required: false, probe: `${probe}: ${where}`, ...outcome }];
}
