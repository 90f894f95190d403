import { isWithin } from "../host/paths.ts";
import { hiddenBy } from "../policy/paths.ts";

/** A memory store of a session and where its folder is inside. */
export interface MemoryMount {
  readonly storeId: string;
  readonly folder: string;
  readonly isReadOnly: boolean;
}

const mostStores = 8;
/**
 * Where a session's memory stores go (protocol section 13): their mount path as it is, else `memory/` of the workspace.
 *
 * @param resources the session's, as the server sent them
 * @param workdir the workspace's path inside
 * @throws Error when a store's path cannot be used as it is: the item fails, since the model was told of it
 */
export function memoryMounts(resources: unknown, workdir: string): MemoryMount[] {
  const mounts: MemoryMount[] = [];
  for (const resource of Array.isArray(resources) ? (resources as unknown[]) : []) {
    if (typeof resource !== "object" || resource === null) continue;
    const fields = resource as Readonly<Record<string, unknown>>;
    if (fields["type"] !== "memory_store") continue;
    const storeId = fields["memory_store_id"];
    if (typeof storeId !== "string" || storeId === "") throw new Error("a memory store has no id");
    mounts.push({ storeId, folder: folderOf(fields, storeId, workdir), isReadOnly: fields["access"] === "read_only" });
  }
  if (mounts.length > mostStores) throw new Error(`the session has more than ${mostStores} memory stores`);
  for (const [index, { folder }] of mounts.entries()) {
    if (mounts.some((other, at) => at !== index && isWithin(other.folder, folder))) {
      throw new Error(`two memory stores share the folder ${folder}`);
    }
  }
  return mounts;
}

function folderOf(fields: Readonly<Record<string, unknown>>, storeId: string, workdir: string): string {
  const path = fields["mount_path"];
  if (path === null || path === undefined || path === "") {
    const name = typeof fields["name"] === "string" ? fields["name"] : "";
    const last = name === "" ? storeId : name;
    if (last === "." || last === ".." || /[/\0]/.test(last))
      throw new Error("a memory store's name is no folder's name");
    return `${workdir}/memory/${last}`;
  }
  if (typeof path !== "string" || !path.startsWith("/") || path.includes("\0") || path.split("/").includes("..")) {
    throw new Error(`a memory store's mount path is not a clean absolute path: ${JSON.stringify(path)}`);
  }
  const folder = `/${path
    .split("/")
    .filter((part) => part !== "" && part !== ".")
    .join("/")}`;
  if (folder === "/" || isWithin(workdir, folder) || hiddenBy(folder) !== undefined) {
    throw new Error(`a memory store cannot be mounted at ${folder}: the sandbox needs what is there`);
  }
  return folder;
}
