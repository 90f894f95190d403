import { chownSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HoldfastError } from "../errors.ts";
import { userTasks } from "../host/user-tasks.ts";
import { native } from "../native.ts";
import type { TrustFolder } from "../plan/launch-plan.ts";
import type { OwnFolders, Workspace } from "../plan/workspace.ts";
import { shortRoot } from "./private-root.ts";
import type { Mode } from "./types.ts";
import { reserveFolder } from "./workspace.ts";

let refused = false;

/** What was asked for, else namespaces, until this host has refused them to this process once. */
export function firstMode(asked: Mode | undefined): Mode {
  return asked ?? (refused ? "landlock" : "namespaces");
}

/**
 * Whether a launch failed because this host gives no namespaces, so that another is tried without. No other failure is a
 * reason for weaker walls.
 */
export function areNamespacesRefused(error: unknown): boolean {
  const isRefusal =
    HoldfastError.is(error) && error.code === "ERR_HOLDFAST_WALL_UNAVAILABLE" && error.step === "namespace";
  refused ||= isRefusal;
  return isRefusal;
}

let duplicates: boolean | undefined;

/** Containers' default profiles refuse it (kernel-notes A5). Asked once a process. */
function canDuplicate(): boolean {
  duplicates ??= native().probePidfdGetfd() === 0;
  return duplicates;
}

/** One of two million pairs that nobody else on the host is likely to use: 127.64.0.0 to 127.127.255.255. */
function ownLoopback(): number {
  const block = (127 << 24) | (64 << 16);
  return block | (native().random(3).readUIntBE(0, 3) & 0x3f_fffe);
}

/** Folders of a sandbox's own on the host: /tmp and the home, which cannot be shown elsewhere without a mount namespace. */
export async function makeOwnFolders(
  who: { uid: number; gid: number },
  trustFolder?: (folder: string) => TrustFolder,
): Promise<OwnFolders> {
  const folder = await reserveFolder(shortRoot(who), "");
  const own: OwnFolders = {
    folder,
    tmp: join(folder, "tmp"),
    home: join(folder, "home"),
    canary: join(folder, "canary"),
    loopback: ownLoopback(),
    madeSockets: !canDuplicate(),
    userTasks: userTasks(who.uid),
    ...(trustFolder === undefined ? {} : { trust: trustFolder(folder) }),
  };
  for (const path of [folder, own.tmp, own.home]) mkdirSync(path, { mode: 0o700 });
  writeFileSync(own.canary, "canary\n", { mode: 0o644, flag: "wx" });
  for (const path of [own.canary, own.tmp, own.home, folder]) {
    if (statSync(path).uid !== who.uid) chownSync(path, who.uid, who.gid);
  }
  for (const { path, mode, content } of own.trust?.files ?? []) writeFileSync(path, content, { mode, flag: "wx" });
  return own;
}

/** Where what is shown lies: without mounts, a private layer is where it is on the host. */
export function withoutMounts(workspace: Workspace, own: OwnFolders): Workspace {
  const { mode, privateFolder } = workspace;
  const path = mode !== "direct" && privateFolder !== null ? join(privateFolder, "up") : workspace.path;
  return { ...workspace, own, path };
}
