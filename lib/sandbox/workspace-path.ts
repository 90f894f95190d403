import { posix } from "node:path";
import { HoldfastError } from "../errors.ts";
import { isWithin } from "../host/paths.ts";
import type { Workspace } from "../plan/workspace.ts";

/**
 * A path as people name it (relative to the workspace, or absolute, as it is inside or on the host), relative to the
 * workspace; empty for all of it.
 *
 * @throws HoldfastError ERR_HOLDFAST_OUTSIDE_WORKSPACE
 */
export function workspacePath(named: string, { path: inside, hostPath }: Workspace): string {
  const path = posix.normalize(posix.resolve(inside, named));
  const top = isWithin(path, inside) ? inside : hostPath;
  if (named !== "" && !named.includes("\0") && isWithin(path, top)) return path.slice(top.length + 1);
  throw new HoldfastError(`${JSON.stringify(named)} does not lie in the workspace ${inside}`, {
    code: "ERR_HOLDFAST_OUTSIDE_WORKSPACE",
    step: "workspace",
    path: named,
    hint: "Paths are relative to the workspace; nothing else of a sandbox is reached this way.",
  });
}
