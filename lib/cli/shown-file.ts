import { resolve } from "node:path";
import { inspectPath, isWithin } from "../host/paths.ts";
import { isOwn } from "../plan/mounts.ts";
import type { Policy } from "../policy/policy.ts";

/** The folder, if there is one, by which a sandbox over a workspace would see a file of the launcher's. */
export function folderThatShows(file: string, workdir: string, { filesystem }: Policy): string | undefined {
  const path = resolve(file);
  const { real } = inspectPath(path);
  const granted = [...filesystem.readOnly, ...filesystem.readWrite].map((grant) => grant.path);
  // /tmp, /etc and their like are the sandbox's own, unless a path below them is granted by name.
  const seen = [workdir, ...granted.filter((each) => !isOwn(each))].map((each) => inspectPath(each).real);
  return seen.find((folder) => isWithin(real, folder) || isWithin(path, folder));
}
