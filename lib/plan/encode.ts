import { type InitStep, type LaunchPlan, type OwnStep, type Ruleset, wallNumbers } from "./launch-plan.ts";

/** Operations of native/wire.h, OpCode; a test compares the numbers. */
export const opCodes = {
  tmpfsRoot: 1,
  mkdir: 2,
  symlink: 3,
  file: 4,
  bind: 5,
  scratch: 6,
  proc: 7,
  devpts: 8,
  overlay: 9,
  mask: 10,
  readOnly: 11,
  hostname: 13,
  loopback: 14,
  sysctl: 15,
  identity: 16,
  capabilities: 17,
  rlimit: 18,
  ruleset: 19,
  restrict: 20,
  seccomp: 21,
  verify: 22,
  limits: 23,
  noNewPrivs: 24,
  undumpable: 25,
  canaries: 26,
  unmount: 28,
  keyring: 29,
  copy: 30,
  egress: 31,
  private: 32,
  shared: 33,
  handOn: 34,
} as const;

/** BindFlag of native/wire.h. */
export const bindFlags = {
  readOnly: 1,
  noExec: 2,
  recursive: 4,
  optional: 8,
  device: 16,
  makeTarget: 32,
  beforePivot: 64,
};

/** Resources of asm-generic/resource.h. */
export const resources = {
  cpu: 0,
  fsize: 1,
  core: 4,
  nproc: 6,
  nofile: 7,
  memlock: 8,
  sigpending: 11,
  nice: 13,
  rtprio: 14,
} as const;

/** Layers of native/init/setup.h: what a call's request names. */
export const layerIds = { base: 1, readOnly: 2 } as const;
const initLayer = 0;

type Operation = [code: number, numbers: readonly (number | bigint)[], strings: readonly (string | Uint8Array)[]];

const encoded = [new WeakMap<LaunchPlan, Uint8Array>(), new WeakMap<LaunchPlan, Uint8Array>()] as const;

/**
 * The set-up program of a plan, for the init. Kept with the plan; callers must not write to it.
 *
 * @param isHanded whether the plan's shared folder comes from another sandbox, as the extra descriptor after those that
 *   are idmapped
 */
export function encodePlan(plan: LaunchPlan, isHanded = false): Uint8Array {
  const kept = encoded[isHanded ? 1 : 0];
  const program = kept.get(plan) ?? write(operationsOf(plan, isHanded));
  kept.set(plan, program);
  return program;
}

/** The order is kernel-notes C1's. */
function operationsOf(plan: LaunchPlan, isHanded: boolean): readonly Operation[] {
  const has = (name: string): boolean => plan.namespaces.some((namespace) => namespace === name);
  const does = (step: InitStep): boolean => plan.steps.includes(step);
  const early = new Set<string>([
    "user-namespace",
    "mount-namespace",
    "pid-namespace",
    "network-namespace",
    "ipc-namespace",
    "uts-namespace",
    "cgroup-namespace",
  ]);
  const operations: Operation[] = [];
  const push = (...operation: Operation): void => {
    operations.push(operation);
  };
  if (does("keyring")) push(opCodes.keyring, [], []);
  if (has("uts")) push(opCodes.hostname, [], [plan.hostname]);
  // Before the mounts: they are made as the sandbox's own user. Sources were opened before it, with the launcher's rights.
  if (has("user") || (plan.territory !== undefined && plan.identity.drop))
    push(opCodes.identity, [plan.identity.uid, plan.identity.gid, plan.identity.drop ? 1 : 0], []);
  for (const step of plan.mounts) {
    if (step.op !== "shared") {
      operations.push(mountOperation(step));
      continue;
    }
    push(opCodes.shared, [step.sizeBytes, step.inodes, isHanded ? plan.idMapped.length : -1], [step.path]);
    if (!isHanded) for (const inner of step.steps) operations.push(mountOperation(inner));
    push(opCodes.handOn, [], [step.path]);
  }
  // After the mounts: the init makes the network namespace beside them.
  if (has("network")) {
    for (const { path, value, optional } of plan.sysctls) push(opCodes.sysctl, [optional ? 1 : 0], [path, value]);
    if (does("loopback")) push(opCodes.loopback, [], []);
  }
  // While nothing else stands in the way, so that it is the namespaces and mounts that are proved.
  for (const item of plan.verify) if (early.has(item.wall)) push(opCodes.verify, [wallNumbers[item.wall]], []);
  for (const item of plan.verify)
    if (item.wall === "read-only-root") push(opCodes.verify, [wallNumbers[item.wall]], item.paths);
  // Not before: with it every address can be connected to, and none leads anywhere.
  if (plan.egress !== null && has("network")) push(opCodes.egress, [plan.egress.port], []);
  const hasBoundingSet = has("user") || plan.identity.drop || plan.identity.hostUid === 0;
  if (does("capabilities")) push(opCodes.capabilities, [hasBoundingSet ? 1 : 0], []);
  if (does("no-new-privs")) push(opCodes.noNewPrivs, [], []);
  if (does("undumpable")) push(opCodes.undumpable, [], []);
  for (const wall of ["capabilities", "no-new-privs", "not-dumpable"] as const)
    if (plan.verify.some((item) => item.wall === wall))
      push(opCodes.verify, [wallNumbers[wall], hasBoundingSet ? 1 : 0], []);
  for (const { resource, soft, hard } of plan.rlimits) push(opCodes.rlimit, [resources[resource], soft, hard], []);
  push(
    opCodes.limits,
    [
      plan.watched.memoryBytes,
      plan.watched.processes,
      plan.watched.cpuTimeMs * 1000,
      plan.watched.openFiles,
      plan.watched.tmpPath === null ? 0 : 1,
    ],
    [plan.watched.tmpPath ?? ""],
  );
  if (plan.landlock.base.scoped !== 0) push(opCodes.canaries, [], []);
  operations.push(rulesetOperation(initLayer, plan.landlock.base));
  operations.push(rulesetOperation(layerIds.base, plan.landlock.call));
  operations.push(rulesetOperation(layerIds.readOnly, plan.landlock.readOnly));
  if (does("landlock")) push(opCodes.restrict, [initLayer], []);
  for (const item of plan.verify) {
    if (item.wall === "landlock-filesystem") push(opCodes.verify, [wallNumbers[item.wall]], [item.path]);
    if (item.wall === "landlock-signal") {
      // One child can make both attempts.
      const beside = plan.verify.some(({ wall }) => wall === "landlock-network") ? layerIds.readOnly : 0;
      push(opCodes.verify, [wallNumbers[item.wall], layerIds.base, beside], []);
    }
    if (item.wall === "landlock-abstract") push(opCodes.verify, [wallNumbers[item.wall], layerIds.base], []);
    if (item.wall === "landlock-network") push(opCodes.verify, [wallNumbers[item.wall], layerIds.readOnly], []);
  }
  if (plan.seccomp.noSockets.length > 0) push(opCodes.seccomp, [layerIds.readOnly], [plan.seccomp.noSockets]);
  if (does("seccomp")) push(opCodes.seccomp, [initLayer], [plan.seccomp.program]);
  for (const wall of ["seccomp", "socket-filter"] as const)
    if (plan.verify.some((item) => item.wall === wall)) push(opCodes.verify, [wallNumbers[wall]], []);
  return operations;
}

function mountOperation(step: OwnStep): Operation {
  switch (step.op) {
    case "root":
      return [opCodes.tmpfsRoot, [step.sizeBytes, step.inodes], []];
    case "mkdir":
      return [opCodes.mkdir, [step.mode], [step.path]];
    case "symlink":
      return [opCodes.symlink, [], [step.target, step.path]];
    case "file":
      return [opCodes.file, [step.mode], [step.path, step.content]];
    case "bind": {
      const flags =
        (step.readOnly ? bindFlags.readOnly : 0) |
        (step.noExec ? bindFlags.noExec : 0) |
        (step.optional ? bindFlags.optional : 0) |
        (step.device ? bindFlags.device : bindFlags.recursive) |
        (step.from === "host" ? bindFlags.beforePivot : 0) |
        bindFlags.makeTarget;
      return [opCodes.bind, [flags, step.idMapped ?? -1], [step.source, step.path]];
    }
    case "copy":
      return [opCodes.copy, [step.mode], [step.source, step.path]];
    case "scratch":
      return [opCodes.scratch, [step.sizeBytes, step.inodes], []];
    case "private":
      return [opCodes.private, [step.mode], [step.name, step.path]];
    case "proc":
      return [opCodes.proc, [], [step.path]];
    case "devpts":
      return [opCodes.devpts, [], [step.path]];
    case "overlay":
      return [opCodes.overlay, [], [step.lower, step.upper, step.work, step.path]];
    case "mask":
      return [opCodes.mask, [], [step.path]];
    case "read-only":
      return [opCodes.readOnly, [0], [step.path]];
    case "unmount":
      return [opCodes.unmount, [], [step.path]];
  }
}

function rulesetOperation(id: number, ruleset: Ruleset): Operation {
  return [
    opCodes.ruleset,
    [
      id,
      ruleset.handledFs,
      ruleset.handledNet,
      ruleset.scoped,
      ...ruleset.rules.flatMap(({ access }, i) => [access, i]),
    ],
    ruleset.rules.map(({ path }) => path),
  ];
}

const headerSize = 16;

/** Header, 64-bit numbers, then strings: length, bytes, a NUL, padding to 8 (native/wire.h, OpHeader). */
function write(operations: readonly Operation[]): Uint8Array {
  let room = 0;
  for (const [, numbers, strings] of operations) {
    room += headerSize + 8 * numbers.length;
    // Three bytes are the most that a UTF-16 unit becomes.
    for (const text of strings) room += 16 + (typeof text === "string" ? 3 * text.length : text.length);
  }
  const out = Buffer.alloc(room);
  const words = new DataView(out.buffer, out.byteOffset, room);
  let at = 0;
  for (let index = 0; index < operations.length; index++) {
    const [code, numbers, strings] = operations[index] as Operation;
    let cursor = at + headerSize;
    for (const number of numbers) {
      if (typeof number === "number" && number >= 0 && number <= 0xffff_ffff) words.setUint32(cursor, number, true);
      else words.setBigInt64(cursor, BigInt(number), true);
      cursor += 8;
    }
    for (const text of strings) {
      const size = typeof text === "string" ? writeText(out, text, cursor + 4) : text.length;
      if (typeof text !== "string") out.set(text, cursor + 4);
      words.setUint32(cursor, size, true);
      cursor += (4 + size + 1 + 7) & ~7;
    }
    words.setUint16(at, code, true);
    words.setUint16(at + 2, numbers.length, true);
    words.setUint16(at + 4, strings.length, true);
    words.setUint32(at + 8, cursor - at, true);
    words.setUint32(at + 12, index, true);
    at = cursor;
  }
  return out.subarray(0, at);
}

/** Writes UTF-8 and says how many bytes. Most texts are short and ASCII: the runtime's encoder takes longer to call than to run. */
function writeText(out: Buffer, text: string, at: number): number {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x80) return out.write(text, at);
    out[at + i] = unit;
  }
  return text.length;
}
