import { lstatSync, readlinkSync, realpathSync, type Stats, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { HoldfastError } from "../errors.ts";

/** What a path of the host is, with every link followed. */
export interface PathFacts {
  /** As it was asked for, collapsed. */
  readonly path: string;
  /** Where it really is; the same path when no component is a link. */
  readonly real: string;
  readonly kind: "directory" | "file" | "device" | "other" | "missing";
  /** Of a missing one: `does not exist`, or why it cannot be told. */
  readonly fault?: string;
  readonly uid: number;
  readonly gid: number;
  /** Links on the way, outermost first: they are made again inside, so that the asked-for spelling works too. */
  readonly links: readonly { readonly path: string; readonly target: string }[];
}

const mostLinks = 40;

function missing(path: string, real: string, links: PathFacts["links"], error?: unknown): PathFacts {
  const code = error instanceof Error && "code" in error ? String(error.code) : "ENOENT";
  const faults: Readonly<Record<string, string>> = {
    ENOENT: "does not exist",
    ENOTDIR: "does not exist: something above it is no folder",
    ELOOP: "does not exist: its links lead in a circle",
    EACCES: "cannot be reached by this user",
  };
  return { path, real, kind: "missing", fault: faults[code] ?? `cannot be reached (${code})`, uid: -1, gid: -1, links };
}

/** What one look found at each path: links of a host often lead through the same folders. */
export type SeenPaths = Map<string, { readonly status: Stats; readonly target: string | undefined } | undefined>;

function lookAt(path: string, seen: SeenPaths | undefined): ReturnType<SeenPaths["get"]> {
  if (seen?.has(path) === true) return seen.get(path);
  // Optional grants are often missing, and an exception takes longer than all the rest.
  const status = lstatSync(path, { throwIfNoEntry: false });
  const found =
    status === undefined ? undefined : { status, target: status.isSymbolicLink() ? readlinkSync(path) : undefined };
  seen?.set(path, found);
  return found;
}

/**
 * Follows a path; a missing or unreadable one is `missing`, never an exception.
 *
 * @param seen of the paths that are inspected at the same moment: none is looked at twice
 */
export function inspectPath(asked: string, seen?: SeenPaths): PathFacts {
  const path = resolve(asked);
  const links: { path: string; target: string }[] = [];
  let rest = path.split("/").filter((part) => part !== "");
  let at = "/";
  let last: Stats | undefined;
  let climbs = false;
  while (rest.length > 0 && links.length < mostLinks) {
    const [first = "", ...others] = rest;
    const next = at === "/" ? `/${first}` : `${at}/${first}`;
    let status: Stats;
    let target: string | undefined;
    try {
      const found = lookAt(next, seen);
      if (found === undefined) return missing(path, next, links);
      ({ status, target } = found);
    } catch (error) {
      return missing(path, next, links, error);
    }
    if (target !== undefined) {
      links.push({ path: next, target });
      climbs ||= target.includes("..");
      rest = [
        ...resolve(at, target)
          .split("/")
          .filter((part) => part !== ""),
        ...others,
      ];
      at = "/";
    } else {
      at = next;
      rest = others;
      last = status;
    }
  }
  try {
    // Where a target climbs, the kernel is asked: `..` after a link inside the target is not the folder that it reads as.
    const walked = rest.length === 0 && !climbs ? last : undefined;
    const real = walked === undefined ? realpathSync(path) : at;
    const status = walked ?? statSync(real);
    const kind = status.isDirectory()
      ? "directory"
      : status.isFile()
        ? "file"
        : status.isCharacterDevice() || status.isBlockDevice()
          ? "device"
          : "other";
    return { path, real, kind, uid: status.uid, gid: status.gid, links };
  } catch (error) {
    return missing(path, path, links, error);
  }
}

/** @throws HoldfastError ERR_HOLDFAST_WORKDIR when the folder that this process was started in has been removed */
export function currentFolder(): string {
  try {
    return process.cwd();
  } catch (cause) {
    throw new HoldfastError("the current folder does not exist any more", {
      code: "ERR_HOLDFAST_WORKDIR",
      step: "workspace",
      hint: "Change into a folder that exists, or name one with --workdir.",
      cause,
    });
  }
}

/** Whether `path` is `folder` or lies in it. */
export function isWithin(path: string, folder: string): boolean {
  return folder === "/" || path === folder || path.startsWith(`${folder}/`);
}

/** The folders from just below `top` down to the one that holds `path`. */
export function foldersBetween(top: string, path: string): string[] {
  const found: string[] = [];
  for (let at = dirname(path); at !== top && isWithin(at, top); at = dirname(at)) found.unshift(at);
  return found;
}
