import { HoldfastError } from "../errors.ts";
import {
  AND_CONSTANT,
  type Instruction,
  JUMP,
  JUMP_ANY_BIT,
  JUMP_EQUAL,
  JUMP_GREATER_OR_EQUAL,
  LOAD_ABSOLUTE,
  MAX_SHORT_JUMP,
  RETURN,
} from "./bpf-instruction.ts";
import { shorten } from "./bpf-shorten.ts";
import {
  type Architecture,
  type ArgumentTest,
  type Clause,
  type SeccompAction,
  type SeccompOptions,
  type SettledProfile,
  settleProfile,
} from "./seccomp-profile.ts";

export interface CompileOptions {
  readonly arch: Architecture;
  readonly options?: SeccompOptions;
}

// linux/seccomp.h: struct seccomp_data and the return values.
const OFFSET_NUMBER = 0;
const OFFSET_ARCHITECTURE = 4;
const OFFSET_ARGUMENTS = 16;
const RETURN_ERRNO = 0x0005_0000;
const RETURN_USER_NOTIFICATION = 0x7fc0_0000;
const RETURN_ALLOW = 0x7fff_0000;

/** The bit that marks x32 calls (asm/unistd.h, __X32_SYSCALL_BIT). Numbers above it are nobody's either. */
const X32_BIT = 0x4000_0000;
/** BPF_MAXINSNS of linux/bpf_common.h. */
const MAX_INSTRUCTIONS = 4096;
/** How much nearer to the root a call of the profile's `hot` list is drawn than another. */
const HOT_WEIGHT = 16;

const compiled = new Map<string, Uint8Array>();

/**
 * The seccomp program for one architecture and one set of options: an array of struct sock_filter, 8 bytes each, little
 * endian, ready for seccomp(SECCOMP_SET_MODE_FILTER). The architecture is checked first, then the number is looked up,
 * x32 numbers among them, in a tree that is balanced by weight. The result is cached; callers must not write to it.
 *
 * @throws HoldfastError ERR_HOLDFAST_SECCOMP_PROFILE when the profile's data is damaged;
 * ERR_HOLDFAST_SECCOMP_TOO_LONG when the program would not fit into the kernel's 4096 instructions.
 */
export function compileFilter({ arch, options = {} }: CompileOptions): Uint8Array {
  const key = `${arch} ${Object.entries(options)
    .filter(([, value]) => value === true)
    .map(([name]) => name)
    .sort()
    .join()}`;
  let program = compiled.get(key);
  if (program === undefined) {
    program = compileProfile(settleProfile(arch, options));
    compiled.set(key, program);
  }
  return program;
}

/** The same for a profile that was settled already, uncached. */
export function compileProfile(profile: SettledProfile): Uint8Array {
  const written: Instruction[] = [
    load(OFFSET_ARCHITECTURE),
    { code: JUMP_EQUAL, jt: 1, jf: 0, k: profile.auditArchitecture },
    answer(profile.foreignArchitecture.action),
    load(OFFSET_NUMBER),
  ];
  written.push(...tree(spans(profile)));
  const program = shorten(written);
  if (program.length > MAX_INSTRUCTIONS) {
    throw new HoldfastError(
      `The system call filter has ${program.length} instructions; the kernel takes ${MAX_INSTRUCTIONS}.`,
      {
        code: "ERR_HOLDFAST_SECCOMP_TOO_LONG",
        step: "seccomp",
        hint: "Take rules out of seccomp/profile.json, or merge them.",
      },
    );
  }
  return encode(program);
}

/** Neighbouring call numbers with the same answer: from `start` to the next span's start. */
interface Span {
  readonly start: number;
  readonly body: readonly Instruction[];
  /** The verdict, where it does not depend on arguments. */
  readonly verdict: number | undefined;
  weight: number;
}

function spans(profile: SettledProfile): Span[] {
  const found: Span[] = [];
  const bodies = new Map<readonly Clause[], Instruction[]>();
  const unlisted = [profile.unlisted];
  const add = (start: number, clauses: readonly Clause[], weight: number): void => {
    let body = bodies.get(clauses);
    if (body === undefined) {
      body = chain(clauses);
      bodies.set(clauses, body);
    }
    const verdict = body.length === 1 ? body[0]?.k : undefined;
    const last = found.at(-1);
    if (last !== undefined && verdict !== undefined && last.verdict === verdict) last.weight += weight;
    else found.push({ start, body, verdict, weight });
  };
  let next = 0;
  for (const call of profile.calls) {
    if (call.number > next) add(next, unlisted, 1);
    add(call.number, call.clauses, profile.hot.has(call.name) ? HOT_WEIGHT : 1);
    next = call.number + 1;
  }
  add(next, unlisted, 1);
  if (profile.x32 !== undefined) add(X32_BIT, [profile.x32], 1);
  return found;
}

/** Bisects by weight, so that hot calls lie near the root and no path is long. The number is in the accumulator. */
function tree(leaves: readonly Span[]): Instruction[] {
  const [first] = leaves;
  if (leaves.length === 1 && first !== undefined) return [...first.body];
  const middle = balancePoint(leaves);
  const pivot = leaves[middle];
  if (pivot === undefined) throw new RangeError("a tree needs leaves");
  const below = tree(leaves.slice(0, middle));
  const above = tree(leaves.slice(middle));
  const k = pivot.start;
  if (below.length <= MAX_SHORT_JUMP) {
    return [{ code: JUMP_GREATER_OR_EQUAL, jt: below.length, jf: 0, k }, ...below, ...above];
  }
  return [
    { code: JUMP_GREATER_OR_EQUAL, jt: 0, jf: 1, k },
    { code: JUMP, jt: 0, jf: 0, k: below.length },
    ...below,
    ...above,
  ];
}

/** The index that leaves the two sides nearest to equal weight; both sides have at least one leaf. */
function balancePoint(leaves: readonly Span[]): number {
  const total = leaves.reduce((sum, leaf) => sum + leaf.weight, 0);
  let best = 1;
  let bestDifference = Number.POSITIVE_INFINITY;
  let before = 0;
  for (let index = 1; index < leaves.length; index++) {
    before += leaves[index - 1]?.weight ?? 0;
    const difference = Math.abs(total - 2 * before);
    if (difference < bestDifference) {
      best = index;
      bestDifference = difference;
    }
  }
  return best;
}

/** The clauses of one call, tried in order. */
function chain(clauses: readonly Clause[]): Instruction[] {
  const body: Instruction[] = [];
  for (const clause of clauses) {
    let inner: Instruction[] = [answer(clause.action)];
    for (const test of clause.tests.toReversed()) inner = [...argumentTest(test, inner.length), ...inner];
    body.push(...inner);
  }
  return body;
}

/** A jump's target before places are known: the code after the test, the code past it, or a later instruction. */
type Target = "hit" | "miss" | number;

/** Falls through when the test holds, and skips the following `rest` instructions when it does not. */
function argumentTest(test: ArgumentTest, rest: number): Instruction[] {
  const found: Target = test.negated ? "miss" : "hit";
  const notFound: Target = test.negated ? "hit" : "miss";
  const low = OFFSET_ARGUMENTS + 8 * test.argument;
  const lowMask = Number(BigInt.asUintN(32, test.mask));
  const highMask = test.wide ? Number(test.mask >> 32n) : 0;
  const code: { code: number; jt: Target; jf: Target; k: number }[] = [];
  const emit = (operation: number, k: number, jt: Target = 0, jf: Target = 0): void => {
    code.push({ code: operation, jt, jf, k });
  };
  const loadWord = (offset: number, mask: number): void => {
    emit(LOAD_ABSOLUTE, offset);
    if (mask !== 0xffff_ffff) emit(AND_CONSTANT, mask);
  };
  const onlyZero = test.values.length === 1 && test.values[0] === 0n;
  if (onlyZero) {
    // Zero under a mask is "none of these bits", one jump a word.
    if (highMask !== 0) {
      emit(LOAD_ABSOLUTE, low + 4);
      emit(JUMP_ANY_BIT, highMask, notFound, 0);
    }
    emit(LOAD_ABSOLUTE, low);
    emit(JUMP_ANY_BIT, lowMask, notFound, found);
  } else if (test.wide) {
    test.values.forEach((value, index) => {
      const last = index === test.values.length - 1;
      const size = (mask: number): number => (mask === 0xffff_ffff ? 2 : 3);
      loadWord(low + 4, highMask);
      emit(JUMP_EQUAL, Number(value >> 32n), 0, last ? notFound : size(lowMask));
      loadWord(low, lowMask);
      emit(JUMP_EQUAL, Number(BigInt.asUintN(32, value)), found, last ? notFound : 0);
    });
  } else {
    loadWord(low, lowMask);
    test.values.forEach((value, index) => {
      const last = index === test.values.length - 1;
      emit(JUMP_EQUAL, Number(BigInt.asUintN(32, value)), found, last ? notFound : 0);
    });
  }
  return code.map((line, index) => {
    const after = code.length - index - 1;
    const resolve = (target: Target): number => (target === "hit" ? after : target === "miss" ? after + rest : target);
    return { code: line.code, k: line.k, jt: resolve(line.jt), jf: resolve(line.jf) };
  });
}

function load(offset: number): Instruction {
  return { code: LOAD_ABSOLUTE, jt: 0, jf: 0, k: offset };
}

function answer(action: SeccompAction): Instruction {
  return { code: RETURN, jt: 0, jf: 0, k: verdict(action) };
}

function verdict(action: SeccompAction): number {
  switch (action.kind) {
    case "allow":
      return RETURN_ALLOW;
    case "return":
      return RETURN_ERRNO;
    case "errno":
      return RETURN_ERRNO | action.errno;
    case "notify":
      return RETURN_USER_NOTIFICATION;
  }
}

function encode(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  program.forEach((instruction, index) => {
    if (instruction.jt > MAX_SHORT_JUMP || instruction.jf > MAX_SHORT_JUMP) {
      throw new RangeError(`jump out of reach at instruction ${index}`);
    }
    view.setUint16(index * 8, instruction.code, true);
    view.setUint8(index * 8 + 2, instruction.jt);
    view.setUint8(index * 8 + 3, instruction.jf);
    view.setUint32(index * 8 + 4, instruction.k, true);
  });
  return bytes;
}
