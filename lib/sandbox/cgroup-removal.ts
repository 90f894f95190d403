import { readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { cgroupParents } from "../host/cgroups.ts";
import { isAlive, markPattern } from "../host/launcher-mark.ts";
import { forgetLeftover } from "./reaper.ts";

const removeTries = 12;

function endAll(folder: string): void {
  try {
    writeFileSync(join(folder, "cgroup.kill"), "1", { flag: "r+" }); // v2, Linux 5.14
    return;
  } catch {
    // v1, or an older kernel: one by one.
  }
  let pids: string[] = [];
  try {
    pids = readFileSync(join(folder, "cgroup.procs"), "utf8").trim().split("\n");
  } catch {
    return;
  }
  for (const pid of pids.map(Number)) {
    // 0 stands for a process of another pid namespace, and for our own group to kill(2).
    if (pid <= 0) continue;
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Gone meanwhile.
    }
  }
}

/** Removes one; false when it is still in use after about a second. */
async function removeFolder(folder: string): Promise<boolean> {
  for (let tries = 0, wait = 1; tries < removeTries; tries++, wait = Math.min(wait * 2, 200)) {
    try {
      rmdirSync(folder);
      return true;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : "";
      if (code === "ENOENT") return true;
      if (code !== "EBUSY") return false;
    }
    endAll(folder);
    // Until the last process has left it: cgroups tell nobody.
    await pause(wait);
  }
  return false;
}

/** Removes them, once nothing that counts runs in them. What cannot be removed yet stays the reaper's. */
export async function removeCgroups(folders: readonly string[]): Promise<void> {
  const removed: string[] = [];
  for (const folder of folders) if (await removeFolder(folder)) removed.push(folder);
  await forgetLeftover("cgroup", ...removed);
}

const markedCgroup = new RegExp(`^holdfast-.*@(${markPattern})-\\d+$`);

/** Removes what launchers left whose reapers were killed with them. Only empty ones go (rmdir(2)). */
export function sweepCgroups(): void {
  for (const parent of cgroupParents()) {
    for (const name of entries(parent)) {
      const mark = markedCgroup.exec(name)?.[1];
      if (mark === undefined || isAlive(mark)) continue;
      try {
        rmdirSync(join(parent, name));
      } catch {
        // Its sandbox lives, in another pid namespace.
      }
    }
  }
}

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
