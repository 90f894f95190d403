import { defaultPolicy } from "./default-policy.ts";
import { absolutePath } from "./paths.ts";
import type { PathGrant, Policy } from "./policy.ts";
import { quote } from "./problem.ts";
import type { Context, Placed, Read, Reader } from "./reader.ts";
import { flag, list, placed, section } from "./reader.ts";

/** OpenShell's bound on read_only and read_write together. */
const mostPaths = 256;

const writablePath: Reader<Placed<string>> = {
  schema: absolutePath.schema,
  read(node, what, context) {
    const path = placed(absolutePath).read(node, what, context);
    if (path?.value !== "/") return path;
    context.problems.error(node.at, `${what} is "/": the whole file system cannot be writable`, "name the folders");
    return undefined;
  },
};

const fields = {
  include_workdir: flag,
  read_only: list(placed(absolutePath)),
  read_write: list(writablePath),
};

const shape = section(fields);

/** `filesystem_policy`: what may be read and written besides the workspace. */
export const filesystemSection: Reader<Policy["filesystem"]> = {
  schema: shape.schema,
  read(node, what, context) {
    const found = shape.read(node, what, context);
    return found === undefined ? undefined : build(found, what, context);
  },
};

function build(found: Read<typeof shape>, what: string, context: Context): Policy["filesystem"] {
  const readOnly = found.values.read_only ?? [];
  const readWrite = found.values.read_write ?? [];
  if (readOnly.length + readWrite.length > mostPaths) {
    const count = readOnly.length + readWrite.length;
    context.problems.error(found.at, `${what} has ${count} paths; ${mostPaths} are the most`);
  }
  if (context.dialect === "openshell" && !found.has("include_workdir")) {
    const message = `${what} has no include_workdir, which means false here: the working directory is not granted`;
    context.problems.warning(found.at, message, "write include_workdir: true");
  }
  const writable = new Set(readWrite.map((path) => path.value));
  const kept = readOnly.filter((path) => {
    if (!writable.has(path.value)) return true;
    const message = `${quote(path.value)} is in read_only and in read_write`;
    // OpenShell adds the rights up, so that the path is writable.
    if (context.dialect === "openshell") context.problems.warning(path.at, message, "read_write counts");
    else context.problems.error(path.at, message, "keep it in one of them");
    return false;
  });
  return Object.freeze({
    // Left out of a written map it means false in OpenShell's parser (openshell.md 1.19.6).
    includeWorkdir: found.values.include_workdir ?? context.dialect === "holdfast",
    readOnly: grants(kept),
    readWrite: grants(readWrite),
  });
}

function grants(paths: readonly Placed<string>[]): readonly PathGrant[] {
  const unique = new Map<string, PathGrant>();
  for (const { value, at } of paths) {
    if (!unique.has(value)) unique.set(value, Object.freeze({ path: value, line: at.line, column: at.column }));
  }
  return Object.freeze([...unique.values()]);
}

function optional(path: string): PathGrant {
  return Object.freeze({ path, optional: true });
}

/** OpenShell's baseline: granted where it exists, in the default policy and beside every network policy (1.1, 1.2). */
const baselineReadOnly = ["/usr", "/lib", "/etc", "/app", "/var/log", "/proc", "/dev/urandom"].map(optional);
const baselineReadWrite = ["/tmp"].map(optional);

/** What a file without `filesystem_policy` grants. */
export function absentFilesystem(dialect: Context["dialect"]): Policy["filesystem"] {
  if (dialect === "holdfast") return defaultPolicy.filesystem;
  return Object.freeze({
    includeWorkdir: true,
    readOnly: Object.freeze(baselineReadOnly),
    readWrite: Object.freeze([...baselineReadWrite, optional("/dev/null")]),
  });
}

/** OpenShell grants the baseline besides what a file with network policies names. */
export function withBaseline(filesystem: Policy["filesystem"]): Policy["filesystem"] {
  const named = new Set([...filesystem.readOnly, ...filesystem.readWrite].map((grant) => grant.path));
  const missing = (baseline: readonly PathGrant[]): readonly PathGrant[] =>
    baseline.filter((grant) => !named.has(grant.path));
  return Object.freeze({
    ...filesystem,
    readOnly: Object.freeze([...filesystem.readOnly, ...missing(baselineReadOnly)]),
    readWrite: Object.freeze([...filesystem.readWrite, ...missing(baselineReadWrite)]),
  });
}
