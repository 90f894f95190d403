import { existsSync, readFileSync } from "node:fs";
import test from "ava";
import fc from "fast-check";
import { HoldfastError } from "../../lib/errors.ts";
import { compileFilter, compileProfile } from "../../lib/plan/bpf-compiler.ts";
import {
  type Architecture,
  constantValue,
  loadCallTable,
  loadConstants,
  loadProfile,
  notificationPurposes,
  type ProfileRule,
  type SeccompOptions,
  settleProfile,
  syscallName,
} from "../../lib/plan/seccomp-profile.ts";
import { describeProfile, renderSeccompTable } from "../../lib/plan/seccomp-table.ts";
import { BpfProgram } from "./bpf-interpreter.ts";
import { AUDIT, definedAction, returnValue, wordValue } from "./seccomp-definition.ts";

const architectures: readonly Architecture[] = ["x86_64", "aarch64"];
const optionNames = Object.keys(loadProfile().options) as (keyof SeccompOptions)[];
/** All that a plan may have, and with those of another mode all or none of the rest. */
const optionSets: readonly SeccompOptions[] = Array.from(
  { length: 1 << optionNames.length },
  (_, bits): SeccompOptions =>
    Object.fromEntries(optionNames.map((name, index) => [name, ((bits >> index) & 1) === 1])),
).filter(({ noNamespaces, noTruncateRight, madeSockets, ...rest }) => {
  const others = new Set(Object.values(rest));
  return others.size === 1 || !(noNamespaces || noTruncateRight || madeSockets);
});
const entries = loadProfile().groups.flatMap((group) => group.entries);
const GARBAGE = [1n << 32n, 0x42n << 32n, 1n << 63n, 0xffff_ffffn << 32n] as const;

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

/** Values at and around whatever the call's rules compare an argument with, on every argument: six lists. */
function boundaryValues(name: string | undefined): bigint[][] {
  const rules = entries.find((entry) => name !== undefined && entry.calls.includes(name))?.rules ?? [];
  const perArgument = Array.from({ length: 6 }, () => new Set([0n]));
  for (const condition of rules.flatMap((rule) => rule.if ?? [])) {
    const values = perArgument[condition.arg];
    if (values === undefined) throw new RangeError(`argument ${condition.arg}`);
    const listed = (condition.is ?? condition.isNot ?? []).map(wordValue);
    const mask = condition.mask === undefined ? 0n : wordValue(condition.mask);
    const bits = Array.from({ length: 64 }, (_, bit) => 1n << BigInt(bit)).filter((bit) => (mask & bit) !== 0n);
    for (const value of listed) for (const near of [value - 1n, value, value + 1n]) values.add(near);
    for (const value of [mask, ~mask, bits.at(0) ?? 1n, bits.at(-1) ?? 1n]) values.add(BigInt.asUintN(64, value));
    for (const value of [...listed, mask]) for (const high of GARBAGE.slice(0, 2)) values.add(value | high);
    if (listed.length < 3) for (const high of GARBAGE) values.add(high);
  }
  return perArgument.map((values) => [...values].map((value) => BigInt.asUintN(64, value)));
}

function* combinations(lists: readonly (readonly bigint[])[]): Generator<bigint[]> {
  const [first, ...rest] = lists;
  if (first === undefined) {
    yield [];
    return;
  }
  for (const tail of combinations(rest)) for (const value of first) yield [value, ...tail];
}

for (const arch of architectures) {
  test(`on ${arch} the program's verdict is the definition's for every number and the boundary values of its rules`, (t) => {
    const programs = optionSets.map((options) => ({
      options,
      program: new BpfProgram(compileFilter({ arch, options })),
    }));
    for (let number = 0; number < 1024; number++) {
      const name = syscallName(arch, number);
      for (const values of combinations(boundaryValues(name))) {
        const data = { number, architecture: AUDIT[arch], arguments: values };
        for (const { options, program } of programs) {
          const expected = returnValue(definedAction(arch, options, data));
          const { verdict } = program.run(data);
          if (verdict !== expected) {
            t.fail(
              `${name}(${values.join(", ")}) with ${JSON.stringify(options)}: ${hex(verdict)}, not ${hex(expected)}`,
            );
            return;
          }
        }
      }
    }
    t.pass();
  });

  test(`on ${arch} the program's verdict is the definition's for random numbers, arguments and architectures`, (t) => {
    const word = fc.oneof(
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc.constantFrom(...Object.values(loadConstants().values).map(BigInt)),
      fc
        .tuple(fc.constantFrom(...Object.values(loadConstants().values).map(BigInt)), fc.constantFrom(...GARBAGE))
        .map(([value, high]) => value | high),
      fc.bigInt({ min: 0n, max: 64n }),
    );
    const number = fc.oneof(
      fc.constantFrom(...Object.values(loadCallTable(arch).calls)),
      fc.nat(1023).map((low) => low + 0x4000_0000),
      fc.nat(0xffff_ffff),
    );
    const architecture = fc.oneof(
      { weight: 8, arbitrary: fc.constant(AUDIT[arch]) },
      fc.constantFrom(...Object.values(AUDIT)),
      fc.nat(0xffff_ffff),
    );
    const call = fc.record({ number, architecture, arguments: fc.array(word, { minLength: 6, maxLength: 6 }) });
    fc.assert(
      fc.property(fc.constantFrom(...optionSets), call, (options, data) => {
        const { verdict } = new BpfProgram(compileFilter({ arch, options })).run(data);
        return verdict === returnValue(definedAction(arch, options, data));
      }),
      { numRuns: 1000 },
    );
    t.pass();
  });

  test(`on ${arch} no number reaches an entry through a foreign architecture or an x32 number`, (t) => {
    const program = new BpfProgram(compileFilter({ arch }));
    const refused = returnValue("errno:ENOSYS");
    for (let number = 0; number < 1024; number++) {
      for (const architecture of Object.values(AUDIT)) {
        if (architecture === AUDIT[arch]) continue;
        t.is(program.run({ number, architecture, arguments: [] }).verdict, refused);
      }
      const marked = { number: number + 0x4000_0000, architecture: AUDIT[arch], arguments: [] };
      t.is(program.run(marked).verdict, refused);
    }
  });

  test(`on ${arch} paths are short: the price of installing the filter is their length`, (t) => {
    const program = new BpfProgram(compileFilter({ arch }));
    const { calls } = loadCallTable(arch);
    const steps = (number: number): number => program.run({ number, architecture: AUDIT[arch], arguments: [] }).steps;
    for (const name of ["read", "write", "close", "futex"]) t.true(steps(calls[name] ?? -1) <= 12, name);
    const every = Array.from({ length: 470 }, (_, number) => steps(number));
    t.true(Math.max(...every) <= 48, `longest ${Math.max(...every)}`);
    const mean = every.reduce((sum, one) => sum + one, 0) / every.length;
    t.true(mean <= 18, `mean ${mean}`);
  });
}

test("the cases of seccomp/cases.csv come out as written", (t) => {
  const [header, ...lines] = readFileSync(new URL("../../seccomp/cases.csv", import.meta.url), "utf8")
    .trim()
    .split("\n");
  t.is(header, "arch,options,call,arguments,verdict,why");
  const numbering: Readonly<Record<string, { arch: Architecture; architecture: number }>> = {
    x86_64: { arch: "x86_64", architecture: AUDIT.x86_64 },
    aarch64: { arch: "aarch64", architecture: AUDIT.aarch64 },
    x32: { arch: "x86_64", architecture: AUDIT.x86_64 },
    i386: { arch: "x86_64", architecture: AUDIT.i386 },
    arm: { arch: "aarch64", architecture: AUDIT.arm },
  };
  let purposes = 0;
  for (const line of lines) {
    const [where = "", flags = "", call = "", words = "", action = ""] = line.split(",");
    for (const key of where === "both" ? architectures : [where]) {
      const target = numbering[key];
      if (target === undefined) throw new Error(`no architecture ${key}`);
      const options = Object.fromEntries(flags === "" ? [] : flags.split("+").map((flag) => [flag, true]));
      const number = call.startsWith("#") ? Number(call.slice(1)) : loadCallTable(target.arch).calls[call];
      if (number === undefined) throw new Error(`no call ${call} on ${key}`);
      const values = words === "" ? [] : words.split(" ").map(wordValue);
      const program = new BpfProgram(compileFilter({ arch: target.arch, options }));
      const { verdict } = program.run({ number, architecture: target.architecture, arguments: values });
      t.is(hex(verdict), hex(returnValue(action)), line);
      if (action.startsWith("notify")) {
        const [, purpose = "refuse"] = action.split(":");
        const told = notificationPurposes(target.arch, options).get(number);
        // Who judges options of sockets refuses others.
        t.is(told === "linger" && purpose === "refuse" ? purpose : told, purpose as "refuse", line);
        purposes += 1;
      }
    }
  }
  t.true(purposes > 50);
});

test("every entry and rule has a reason, known names, and tests that mean something", (t) => {
  const profile = loadProfile();
  const judgements = [profile.default, profile.foreignArchitecture, profile.x32, ...entries, ...allRules()];
  for (const judgement of judgements) {
    t.regex(judgement.reason, /\S.{15,}/, JSON.stringify(judgement));
    t.notThrows(() => returnValue(judgement.action));
  }
  for (const rule of allRules()) {
    t.true(rule.when !== undefined || (rule.if ?? []).length > 0, `a rule that always holds: ${rule.reason}`);
    for (const word of rule.when?.split(" ") ?? [])
      t.true(optionNames.includes(word.replace("!", "") as keyof SeccompOptions));
    for (const condition of rule.if ?? []) {
      t.true(Number.isInteger(condition.arg) && condition.arg >= 0 && condition.arg < 6);
      t.true(condition.type === "int" || condition.type === "long");
      t.true((condition.is === undefined) !== (condition.isNot === undefined), condition.name);
      const mask = condition.mask === undefined ? (1n << 64n) - 1n : constantValue(condition.mask);
      for (const value of condition.is ?? condition.isNot ?? []) {
        t.is(constantValue(value) & ~mask, 0n, `${condition.name} under its mask is never ${value}`);
      }
    }
  }
});

test("every call of both tables is judged once, and no entry names a call that is in neither", (t) => {
  const judged = entries.flatMap((entry) => entry.calls);
  t.deepEqual(
    judged.filter((name, index) => judged.indexOf(name) !== index),
    [],
  );
  const tables = architectures.flatMap((arch) => Object.keys(loadCallTable(arch).calls));
  t.deepEqual([...new Set(tables)].sort(), [...judged].sort());
  for (const name of loadProfile().hot) t.true(judged.includes(name), name);
});

test("a call is notified for one purpose only, so the broker need not look at arguments to know which", (t) => {
  for (const arch of architectures) {
    for (const options of optionSets) {
      for (const call of settleProfile(arch, options).calls) {
        const asked = call.clauses.flatMap(({ action }) => (action.kind === "notify" ? [action.purpose] : []));
        const purposes = new Set(asked);
        // Those that it refuses it tells apart by their arguments (native/made_sockets.cc, notify.cc).
        if (purposes.has("socket") || purposes.has("linger")) purposes.delete("refuse");
        t.true(purposes.size <= 1, call.name);
      }
    }
  }
});

test("the call tables agree with the kernel headers of this machine", (t) => {
  const headers: Readonly<Record<Architecture, string>> = {
    x86_64: "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    aarch64: "/usr/include/asm-generic/unistd.h",
  };
  for (const arch of architectures) {
    let compared = 0;
    if (!existsSync(headers[arch])) {
      t.log(`skipped: ${headers[arch]} is not installed`);
      t.pass();
      continue;
    }
    const { calls } = loadCallTable(arch);
    for (const [, name = "", number] of readFileSync(headers[arch], "utf8").matchAll(
      /^#define __NR(?:3264)?_(\w+)\s+(\d+)$/gm,
    )) {
      if (calls[name] === undefined) continue;
      t.is(calls[name], Number(number), `${arch} ${name}`);
      compared += 1;
    }
    t.true(compared > 200, `${compared} calls of ${headers[arch]} compared`);
  }
});

test("calls that came with Linux 5.1 and later have one number on both architectures", (t) => {
  const { calls: x86 } = loadCallTable("x86_64");
  const { calls: arm } = loadCallTable("aarch64");
  for (const [name, number] of Object.entries(x86)) if (number >= 424) t.is(arm[name], number, name);
  t.is(Object.values(x86).at(-1), 469);
  t.is(new Set(Object.values(x86)).size, Object.keys(x86).length);
  t.is(new Set(Object.values(arm)).size, Object.keys(arm).length);
});

test("a program is compiled once for the same options, and in little time", (t) => {
  const options = { noNamespaces: true, traceOpens: false };
  t.is(compileFilter({ arch: "x86_64", options }), compileFilter({ arch: "x86_64", options: { noNamespaces: true } }));
  t.not(compileFilter({ arch: "x86_64" }), compileFilter({ arch: "aarch64" }));
  const durations = Array.from({ length: 5 }, () => {
    const start = performance.now();
    compileProfile(settleProfile("x86_64"));
    return performance.now() - start;
  });
  t.true(Math.min(...durations) < 10, `${durations}`);
});

test("names of calls are found by number, and an unknown number still has one", (t) => {
  t.is(syscallName("x86_64", 42), "connect");
  t.is(syscallName("aarch64", 203), "connect");
  t.is(syscallName("x86_64", 999), "syscall_999");
});

test("the table for people has every call, its conditions in words, and its reason", (t) => {
  const rows = describeProfile("x86_64", { noNamespaces: true });
  for (const name of Object.keys(loadCallTable("x86_64").calls))
    t.true(
      rows.some((row) => row.call === name),
      name,
    );
  const prlimit = rows.find((row) => row.call === "prlimit64");
  t.like(prlimit, { number: 302, action: "notify", condition: "pid is not 0 and new_limit is not 0" });
  t.like(rows.at(-1), { call: "*", action: "errno:ENOSYS" });
  const chmod = rows.filter((row) => row.call === "chmod").map((row) => `${row.action} ${row.condition}`.trim());
  t.deepEqual(chmod, ["errno:EPERM mode has S_ISUID or S_ISGID", "notify:metadata"]);
  const text = renderSeccompTable(rows);
  t.regex(text, /^sockets$/m);
  t.regex(text, /^ {2}connect +42 {2}notify:connect +the one way to name a peer/m);
  t.regex(text, /^ {2}unshare +272 {2}notify +if flags has anything but CLONE_FILES, CLONE_FS, CLONE_SYSVSEM: /m);
});

test("a name that is not in the data is an error that says so", (t) => {
  const error = t.throws(() => constantValue("S_ISUID|S_NONSENSE"), { instanceOf: HoldfastError });
  t.is(error?.code, "ERR_HOLDFAST_SECCOMP_PROFILE");
  t.regex(error?.message ?? "", /S_NONSENSE/);
});

test("a program that the kernel would not take is an error before it gets there", (t) => {
  const settled = settleProfile("x86_64");
  const ioctl = settled.calls.find((call) => call.name === "ioctl");
  if (ioctl === undefined) throw new Error("no ioctl");
  // Each of its own kind: what is alike is there once.
  const calls = Array.from({ length: 1000 }, (_, number) => ({
    ...ioctl,
    number,
    clauses: ioctl.clauses.map((clause) => ({
      ...clause,
      tests: clause.tests.map((each) => ({ ...each, values: each.values.map((value) => value + BigInt(number * 64)) })),
    })),
  }));
  const error = t.throws(() => compileProfile({ ...settled, calls }), { instanceOf: HoldfastError });
  t.is(error?.code, "ERR_HOLDFAST_SECCOMP_TOO_LONG");
});

test("the interpreter refuses programs that the kernel refuses", (t) => {
  const line = (code: number, jt: number, jf: number, k: number): number[] => [
    code,
    0,
    jt,
    jf,
    k & 255,
    (k >> 8) & 255,
    (k >> 16) & 255,
    (k >> 24) & 255,
  ];
  t.throws(() => new BpfProgram(new Uint8Array()), { instanceOf: RangeError });
  t.throws(() => new BpfProgram(Uint8Array.from(line(0x20, 0, 0, 0))), { message: /does not return/ });
  t.throws(() => new BpfProgram(Uint8Array.from([...line(0x15, 1, 0, 0), ...line(6, 0, 0, 0)])), { message: /past/ });
  t.throws(() => new BpfProgram(Uint8Array.from([...line(0x20, 0, 0, 2), ...line(6, 0, 0, 0)])), { message: /load/ });
});

function allRules(): ProfileRule[] {
  return entries.flatMap((entry) => entry.rules ?? []);
}
