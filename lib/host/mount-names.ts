import { readFileSync } from "node:fs";
import { isWithin } from "./paths.ts";

interface Mount {
  /** Major and minor number of its file system. */
  readonly device: string;
  /** What of the file system is mounted. */
  readonly root: string;
  readonly point: string;
}

/** A space, tab, line feed or backslash is written as `\` and three octal digits (proc_pid_mountinfo(5)). */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

function parse(mountinfo: string): Mount[] {
  return mountinfo.split("\n").flatMap((line) => {
    const [, , device, root, point] = line.split(" ");
    if (device === undefined || root === undefined || point === undefined) return [];
    return [{ device, root: unescaped(root), point: unescaped(point) }];
  });
}

/** A path below one folder, below another one. */
function moved(path: string, from: string, to: string): string {
  const rest = from === "/" ? path : path.slice(from.length);
  return `${to === "/" ? "" : to}${rest === "/" ? "" : rest}` || "/";
}

/**
 * By what other paths of this host a folder, or a part of it, can be reached: it is mounted there as well (bind mounts,
 * subvolumes). One that something else covers by now may be among them.
 *
 * @param mountinfo the text of /proc/self/mountinfo
 */
export function otherNames(mountinfo: string, path: string): string[] {
  const mounts = parse(mountinfo);
  let own: Mount | undefined;
  for (const mount of mounts)
    if (isWithin(path, mount.point) && mount.point.length >= (own?.point.length ?? 0)) own = mount;
  if (own === undefined) return [];
  const { device } = own;
  const inner = moved(path, own.point, own.root);
  const names = mounts.flatMap((mount) => {
    if (mount.device !== device) return [];
    if (isWithin(inner, mount.root)) return [moved(inner, mount.root, mount.point)];
    return isWithin(mount.root, inner) ? [mount.point] : [];
  });
  return [...new Set(names)].filter((name) => !isWithin(name, path));
}

/** The same, of this process; none where that cannot be read. */
export function ownMountinfo(): string {
  try {
    return readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return "";
  }
}
