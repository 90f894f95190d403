import { type Binary, isAnyProgram } from "../policy/network.ts";
import type { Program } from "./flow.ts";
import { compileGlob, type Glob } from "./glob.ts";

/** Exact paths, and globs where they have a star (openshell.md 1.7). */
function pathsGlob(paths: readonly string[]): Glob {
  const exact = new Set(paths.filter((path) => !path.includes("*")));
  const globs = paths.filter((path) => path.includes("*")).map((path) => compileGlob(path, "/"));
  return (path) => exact.has(path) || globs.some((glob) => glob(path));
}

/**
 * Whether a list speaks of a program. A pin holds whatever was seen before; without one a program has to stay what was
 * first seen, and nothing that the sandbox can write is spoken of by its path. An empty list speaks of nobody.
 */
export function programMatcher(binaries: readonly Binary[]): (program: Program) => boolean {
  if (binaries.some(isAnyProgram)) return ({ doubt }) => doubt !== "deleted";
  const unpinned = pathsGlob(binaries.filter(({ sha256 }) => sha256 === undefined).map(({ path }) => path));
  const pinned = binaries
    .filter(({ sha256 }) => sha256 !== undefined)
    .map(({ path, sha256 }) => ({ matches: pathsGlob([path]), sha256 }));
  return ({ path, sha256, doubt }) => {
    if (doubt !== undefined && doubt !== "changed") return false;
    return (doubt === undefined && unpinned(path)) || pinned.some((pin) => pin.sha256 === sha256 && pin.matches(path));
  };
}

/** Of a program that a list would speak of by its path alone: what its content should have been, in words too. */
export function contentFault(
  { path, sha256, doubt, firstSeen }: Program,
  binaries: readonly Binary[],
): { readonly expected: string; readonly detail: string } | undefined {
  const named = binaries.filter((binary) => pathsGlob([binary.path])(path));
  if (named.length === 0) return undefined;
  const is = sha256 === undefined ? "its SHA-256 is not known" : `its SHA-256 is ${sha256}`;
  if (doubt === "changed" && firstSeen !== undefined && named.some((binary) => binary.sha256 === undefined)) {
    const detail = `${path} is not the program that was first seen under this path: ${is}, it was ${firstSeen}`;
    return { expected: firstSeen, detail };
  }
  const [pin] = named.flatMap((binary) => binary.sha256 ?? []);
  if (pin === undefined) return undefined;
  return { expected: pin, detail: `${path} is not the program that the policy pinned: ${is}, not ${pin}` };
}
