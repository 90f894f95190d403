import { readFileSync } from "node:fs";

/** Folders of proc that are empty for ever: the kernel does not mind what is mounted on them (fs/namespace.c). */
const empty = new Set(["/proc/sys/fs/binfmt_misc", "/proc/fs/nfsd"]);

/**
 * What covers parts of this process's /proc. The kernel gives a new pid namespace no proc of its own while anything
 * does: the fresh one would show what is hidden here (mount_too_revealing() in fs/namespace.c).
 *
 * @param mountinfo the text of /proc/self/mountinfo (proc_pid_mountinfo(5))
 */
export function procCovers(mountinfo: string): string[] {
  const points = mountinfo.split("\n").map((line) => line.split(" ")[4] ?? "");
  return [...new Set(points.filter((point) => point.startsWith("/proc/") && !empty.has(point)))].sort();
}

/** The same, of this process; empty where it cannot be read. */
export function ownProcCovers(): string[] {
  try {
    return procCovers(readFileSync("/proc/self/mountinfo", "utf8"));
  } catch {
    return [];
  }
}

/** What to do about it, with the command. */
export function uncoverProc(covers: readonly string[]): string {
  const plain = covers.length === 0 ? "" : ` On a host of your own: sudo umount ${covers.join(" ")}.`;
  return `In a container, start it with nothing masked: docker run --security-opt systempaths=unconfined, podman run --security-opt unmask=ALL, or procMount: Unmasked in a pod.${plain}`;
}
