import type { Ruleset } from "./launch-plan.ts";

/** LANDLOCK_ACCESS_FS_*, in the kernel's order. */
export type FsRight =
  | "execute"
  | "writeFile"
  | "readFile"
  | "readDir"
  | "removeDir"
  | "removeFile"
  | "makeChar"
  | "makeDir"
  | "makeReg"
  | "makeSock"
  | "makeFifo"
  | "makeBlock"
  | "makeSym"
  | "refer"
  | "truncate"
  | "ioctlDev";

/** Rights of include/uapi/linux/landlock.h, by the ABI that brought them (landlock(7)). */
export const fsRights: Readonly<Record<FsRight, number>> = {
  execute: 1 << 0,
  writeFile: 1 << 1,
  readFile: 1 << 2,
  readDir: 1 << 3,
  removeDir: 1 << 4,
  removeFile: 1 << 5,
  makeChar: 1 << 6,
  makeDir: 1 << 7,
  makeReg: 1 << 8,
  makeSock: 1 << 9,
  makeFifo: 1 << 10,
  makeBlock: 1 << 11,
  makeSym: 1 << 12,
  refer: 1 << 13,
  truncate: 1 << 14,
  ioctlDev: 1 << 15,
};

const bindTcp = 1 << 0;
const connectTcp = 1 << 1;
const scopeAbstractUnixSocket = 1 << 0;
const scopeSignal = 1 << 1;

/** Every file-system right that an ABI can refuse. */
export function handledFs(abi: number): number {
  let rights = (1 << 13) - 1;
  if (abi >= 2) rights |= fsRights.refer;
  if (abi >= 3) rights |= fsRights.truncate;
  if (abi >= 5) rights |= fsRights.ioctlDev;
  return rights;
}

/** TCP is judged by port alone, from ABI 4 on. */
export function handledNet(abi: number): number {
  return abi >= 4 ? bindTcp | connectTcp : 0;
}

/** Signals and abstract Unix sockets stay inside the domain, from ABI 6 on. */
export function scoped(abi: number): number {
  return abi >= 6 ? scopeAbstractUnixSocket | scopeSignal : 0;
}

const read = fsRights.execute | fsRights.readFile | fsRights.readDir;
// Device nodes are made by nobody.
const write =
  read |
  fsRights.writeFile |
  fsRights.removeDir |
  fsRights.removeFile |
  fsRights.makeDir |
  fsRights.makeReg |
  fsRights.makeSock |
  fsRights.makeFifo |
  fsRights.makeSym |
  fsRights.refer |
  fsRights.truncate;
const device = fsRights.readFile | fsRights.readDir | fsRights.writeFile | fsRights.truncate | fsRights.ioctlDev;

export interface LandlockGrants {
  readonly read: readonly string[];
  readonly write: readonly string[];
  readonly devices: readonly string[];
}

/**
 * What the init and all its children are held to: the grants of the policy, by inode, a second time.
 *
 * TCP is left to the network namespace here: Landlock knows ports but no addresses, so it could not leave the sandbox
 * its own loopback, nor be opened later by an approval.
 */
export function baseRuleset(abi: number, grants: LandlockGrants): Ruleset {
  const handled = handledFs(abi);
  const rule = (access: number) => (path: string) => ({ access: access & handled, path });
  return {
    handledFs: handled,
    handledNet: 0,
    scoped: scoped(abi),
    rules: [
      // Names of the mount view are no secret; what lies behind them needs a rule of its own.
      { access: fsRights.readDir, path: "/" },
      ...grants.read.map(rule(read)),
      ...grants.write.map(rule(write)),
      ...grants.devices.map(rule(device)),
    ],
  };
}

/** The same where the paths are the host's own, and no namespace stands beside it: no TCP either, and no list of `/`. */
export function pathRuleset(abi: number, grants: LandlockGrants): Ruleset {
  const base = baseRuleset(abi, grants);
  return { ...base, handledNet: handledNet(abi), rules: base.rules.filter(({ path }) => path !== "/") };
}

/** On top for read, glob and grep there. */
export function readOnlyOverPaths(abi: number, grants: LandlockGrants): Ruleset {
  const rules = readOnlyRuleset(abi, grants);
  return { ...rules, rules: rules.rules.filter(({ path }) => path !== "/") };
}

/** On top for every call: a domain below the init's, so that no call can signal the init or another call. */
export function callRuleset(abi: number): Ruleset {
  // Below ABI 6 there are no scopes; a layer that refuses block devices still makes the domain a lower one.
  return abi >= 6
    ? { handledFs: 0, handledNet: 0, scoped: scopeSignal, rules: [] }
    : { handledFs: fsRights.makeBlock, handledNet: 0, scoped: 0, rules: [] };
}

/** On top for read, glob and grep: nothing is written, no TCP at all. */
export function readOnlyRuleset(abi: number, grants: LandlockGrants): Ruleset {
  const handled = handledFs(abi);
  return {
    handledFs: handled,
    handledNet: handledNet(abi),
    scoped: scoped(abi),
    rules: [
      { access: fsRights.readDir, path: "/" },
      ...[...grants.read, ...grants.write].map((path) => ({ access: read & handled, path })),
      { access: device & handled, path: "/dev/null" },
      { access: fsRights.readFile, path: "/dev/urandom" },
    ],
  };
}
