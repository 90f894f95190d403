import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isWithin } from "../host/paths.ts";
import { isNativeFailure, native } from "../native.ts";
import { opCodes } from "../plan/encode.ts";
import type { Workspace } from "../plan/workspace.ts";
import type { Layers } from "./changes.ts";
import { copyTree } from "./copy-tree.ts";
import type { SessionSource } from "./session-files.ts";

/**
 * Whether a folder's file system keeps what an overlay writes down about its upper layer (kernel-notes E4): without, the
 * mount succeeds and removing merged folders fails later.
 */
export function keepsOverlayAttributes(folder: string): boolean {
  return native().setXattr(folder, "user.overlay.holdfast", Buffer.from("y")) === 0;
}

/** Whether a launch failed for the overlay or for the idmapped folder under it, both of which a copy does without. */
function isOverlayRefused(error: unknown, workspace: Workspace): boolean {
  if (workspace.mode !== "overlay" || workspace.privateFolder === null || workspace.copiedAt !== undefined)
    return false;
  if (!isNativeFailure(error)) return false;
  if (error.step === "setup") return error.wall === opCodes.overlay;
  return error.step === "mount" && error.syscall === "mount_setattr" && error.path === workspace.hostPath;
}

/**
 * Launches over the workspace's overlay, or over a copy of the workspace where an overlay is refused.
 *
 * @param who the sandbox's ids on the host, where root makes it; null for an ordinary user's
 * @param launch called a second time, with the copy, when the first time the overlay was refused
 */
export async function launchLayered<T>(
  workspace: Workspace,
  who: { readonly uid: number; readonly gid: number } | null,
  launch: (over: Workspace, isSecond: boolean) => Promise<T>,
): Promise<T> {
  const { mode, privateFolder } = workspace;
  const cannotMount = workspace.own !== undefined;
  if (
    mode === "overlay" &&
    privateFolder !== null &&
    (cannotMount || !keepsOverlayAttributes(join(privateFolder, "up")))
  ) {
    return launch(await copyWorkspace(workspace, who), false);
  }
  try {
    return await launch(workspace, false);
  } catch (error) {
    if (!isOverlayRefused(error, workspace)) throw error;
    return launch(await copyWorkspace(workspace, who), true);
  }
}

/** The same workspace on a copy of its own. @throws HoldfastError ERR_HOLDFAST_COPY */
async function copyWorkspace(
  workspace: Workspace,
  who: { readonly uid: number; readonly gid: number } | null,
): Promise<Workspace> {
  const { privateFolder, hostPath, owner, covered, path: inside } = workspace;
  if (privateFolder === null) return workspace;
  const owners = who === null ? null : { from: owner, to: who };
  // The copy itself is among holdfast's own folders, which may lie in the workspace.
  const leftOut = covered.filter((path) => isWithin(path, inside)).map((path) => path.slice(inside.length + 1));
  const copiedFolders = await copyTree(hostPath, join(privateFolder, "up"), owners, leftOut);
  return { ...workspace, copiedFolders, copiedAt: await timeAfter(join(privateFolder, "copied")) };
}

/**
 * A time of the file system's own that is later than every change made in it so far, and no later than any that comes.
 * What the session changes in the copy has a change time from then on: it cannot set that back.
 */
async function timeAfter(mark: string): Promise<bigint> {
  const now = (): bigint => {
    writeFileSync(mark, "x", { mode: 0o600 });
    return statSync(mark, { bigint: true }).ctimeNs;
  };
  const first = now();
  let next = first;
  // The clock for these times ticks every 1 to 10 ms (CONFIG_HZ).
  for (let tries = 0; next <= first && tries < 1000; tries++) {
    await delay(1);
    next = now();
  }
  return next;
}

/**
 * How the files of a session with a private layer lie; null where it has none.
 *
 * @param since when the session's view was made, in nanoseconds since 1970
 */
export function layersOf(workspace: Workspace, since: bigint): Layers | null {
  const { mode, hostPath, privateFolder, copiedAt, copiedFolders } = workspace;
  if (privateFolder === null) return null;
  const upper = join(privateFolder, "up");
  if (mode === "fresh") return { lower: null, upper, overlay: false };
  const layers = { lower: hostPath, upper, since };
  if (copiedAt === undefined || copiedFolders === undefined) return { ...layers, overlay: true };
  return { ...layers, overlay: false, copiedAt, copiedFolders };
}

/** Where files may be extracted from. */
export function sourceOf(workspace: Workspace, since: bigint): SessionSource {
  const layers = layersOf(workspace, since);
  if (layers !== null && layers.lower !== null) return { kind: "layers", ...layers };
  return layers === null
    ? { kind: "folder", folder: workspace.hostPath, isPrivate: false }
    : { kind: "folder", folder: layers.upper, isPrivate: true };
}
