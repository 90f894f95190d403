import { constants, copyFileSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { native } from "../native.ts";
import { errnoName, type Finding } from "./finding.ts";

/** Magic numbers of statfs(2) for the file systems that people have, for words only. */
const names: ReadonlyMap<number, string> = new Map([
  [0xef53, "ext4"],
  [0x58465342, "xfs"],
  [0x9123683e, "btrfs"],
  [0x2fc12fc1, "zfs"],
  [0x01021994, "tmpfs"],
  [0x794c7630, "overlayfs"],
  [0x6969, "nfs"],
  [0x65735546, "fuse"],
  [0xca451a4e, "bcachefs"],
]);

/** What the folder of private layers can do, tried on files of its own there. */
export function probeStorage(folder: string): Finding[] {
  const place = mkdtempSync(join(folder, "doctor-"));
  try {
    const type = names.get(statfsSync(place).type) ?? "another file system";
    return [attributes(place, type), reflink(place, type)];
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

function attributes(place: string, type: string): Finding {
  const errno = native().setXattr(place, "user.overlay.holdfast", Buffer.from("y"));
  return {
    wall: "user-attributes",
    required: false,
    probe: `setxattr(2) of user.overlay.* on a folder in ${place.replace(/\/[^/]*$/, "")} (${type})`,
    ...(errno === 0
      ? { status: "enforced", detail: "an overlay can note there what it removed" }
      : {
          status: "partial",
          detail: `setxattr answers ${errnoName(errno)}: workspaces are copied instead of overlaid`,
          remedy: "set XDG_STATE_HOME to a folder on ext4, xfs or btrfs (on tmpfs from Linux 6.6 on)",
        }),
  };
}

function reflink(place: string, type: string): Finding {
  const common = { wall: "reflink", required: false, probe: `a copy with FICLONE there (${type})` } as const;
  const from = join(place, "from");
  writeFileSync(from, "text");
  try {
    copyFileSync(from, join(place, "to"), constants.COPYFILE_FICLONE_FORCE);
    return { ...common, status: "enforced", detail: "a workspace that must be copied shares its blocks" };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "an error";
    return {
      ...common,
      status: "partial",
      detail: `${code}: a workspace that must be copied takes its full size`,
      remedy: "set XDG_STATE_HOME to a folder on xfs or btrfs, the same file system as the workspace",
    };
  }
}
