import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../errors.ts";

/** An architecture that holdfast has a system call table for, as `uname -m` spells it. */
export type Architecture = "x86_64" | "aarch64";

/** Switches of the profile that a plan sets; what each means stands in `options` of seccomp/profile.json. */
export interface SeccompOptions {
  readonly traceOpens?: boolean | undefined;
  readonly mappedFiles?: boolean | undefined;
  readonly programCode?: boolean | undefined;
  readonly fileSizeLimit?: boolean | undefined;
  readonly openFilesLimit?: boolean | undefined;
  readonly noNamespaces?: boolean | undefined;
  readonly noTruncateRight?: boolean | undefined;
  readonly madeSockets?: boolean | undefined;
}

/** Why a call is handed to the broker: to be recorded and refused with EPERM, or to be judged. */
export type NotificationPurpose =
  | "refuse"
  | "connect"
  | "open"
  | "map"
  | "code"
  | "wait"
  | "descriptor"
  | "bind"
  | "metadata"
  | "socket"
  | "lookup"
  | "linger";

/** What happens to a call. `return` answers with success without doing anything. */
export type SeccompAction =
  | { readonly kind: "allow" }
  | { readonly kind: "return"; readonly value: 0 }
  | { readonly kind: "errno"; readonly name: string; readonly errno: number }
  | { readonly kind: "notify"; readonly purpose: NotificationPurpose };

/**
 * A test of one argument: `(argument & mask)` is, or is not, one of `values`. With `wide` false only the low 32 bits
 * are looked at, because the kernel's own parameter is an int and the upper half is the caller's to fill with anything.
 */
export interface ArgumentTest {
  readonly argument: number;
  readonly name: string;
  readonly wide: boolean;
  readonly mask: bigint;
  readonly negated: boolean;
  readonly values: readonly bigint[];
  /** The test in the profile's own words, for people. */
  readonly words: string;
}

/** The first clause whose tests all hold decides; the last one of a call has no tests. */
export interface Clause {
  readonly tests: readonly ArgumentTest[];
  readonly action: SeccompAction;
  readonly reason: string;
}

/** All that the profile says of one call on one architecture under given options. */
export interface CallRule {
  readonly name: string;
  readonly number: number;
  readonly group: string;
  readonly clauses: readonly Clause[];
}

/** The profile for one architecture with its options settled: what the compiler and the table are made from. */
export interface SettledProfile {
  readonly architecture: Architecture;
  /** The AUDIT_ARCH_* value of seccomp_data.arch (linux/audit.h). */
  readonly auditArchitecture: number;
  readonly foreignArchitecture: Clause;
  /** Absent where the architecture has no second numbering. */
  readonly x32: Clause | undefined;
  readonly unlisted: Clause;
  /** In order of number. */
  readonly calls: readonly CallRule[];
  readonly hot: ReadonlySet<string>;
}

/** The shape of seccomp/profile.json. docs/seccomp.md explains it. */
export interface Profile {
  readonly version: 1;
  readonly default: Judgement;
  readonly foreignArchitecture: Judgement;
  readonly x32: Judgement;
  readonly options: Readonly<Record<keyof SeccompOptions, string>>;
  readonly hot: readonly string[];
  readonly groups: readonly { readonly name: string; readonly entries: readonly ProfileEntry[] }[];
}

export interface Judgement {
  readonly action: string;
  readonly reason: string;
}

export interface ProfileEntry extends Judgement {
  readonly calls: readonly string[];
  readonly rules?: readonly ProfileRule[];
}

export interface ProfileRule extends Judgement {
  /** Options' names, or `!` and the name; all of them have to hold. */
  readonly when?: string;
  readonly if?: readonly ProfileCondition[];
}

export interface ProfileCondition {
  readonly arg: number;
  readonly name: string;
  /** `int`: the kernel truncates the argument to 32 bits or fewer; `long`: all 64 bits count. */
  readonly type: "int" | "long";
  /** Names or numbers joined by `|`; a leading `~` inverts the whole. */
  readonly mask?: string;
  readonly is?: readonly (string | number)[];
  readonly isNot?: readonly (string | number)[];
}

/** The shape of seccomp/calls-ARCH.json. */
export interface CallTable {
  readonly arch: Architecture;
  readonly auditArch: string;
  readonly kernel: string;
  readonly source: string;
  readonly calls: Readonly<Record<string, number>>;
}

/** The shape of seccomp/constants.json. */
export interface Constants {
  readonly errnos: Readonly<Record<string, number>>;
  readonly values: Readonly<Record<string, string>>;
}

const PURPOSES: ReadonlySet<string> = new Set<NotificationPurpose>([
  "connect",
  "open",
  "map",
  "code",
  "wait",
  "descriptor",
  "bind",
  "metadata",
  "socket",
  "lookup",
  "linger",
]);
/** What the broker sees by a call's arguments that it refuses. */
const JUDGED: ReadonlySet<NotificationPurpose> = new Set<NotificationPurpose>(["socket", "linger"]);
const WORD_MASK = 0xffff_ffffn;
const LONG_MASK = 0xffff_ffff_ffff_ffffn;

const files = new Map<string, unknown>();

/** seccomp/profile.json as it stands. Read once a process, on first use. */
export function loadProfile(): Profile {
  return readData("profile.json") as Profile;
}

/** The system call table of an architecture: name to number. */
export function loadCallTable(architecture: Architecture): CallTable {
  return readData(`calls-${architecture}.json`) as CallTable;
}

/** Constants and errnos that the profile names. */
export function loadConstants(): Constants {
  return readData("constants.json") as Constants;
}

/**
 * The value of words like `S_ISUID|S_ISGID`, `~CLONE_FILES|CLONE_FS` or `0x10`, as unsigned 64 bits.
 *
 * @throws HoldfastError ERR_HOLDFAST_SECCOMP_PROFILE for a name that seccomp/constants.json does not have.
 */
export function constantValue(words: string | number): bigint {
  if (typeof words === "number") return BigInt(words);
  const inverted = words.startsWith("~");
  let value = 0n;
  for (const word of (inverted ? words.slice(1) : words).split("|")) {
    const text = /^\d/.test(word) ? word : loadConstants().values[word];
    if (text === undefined) throw profileError(`the constant ${word} is not in seccomp/constants.json`);
    value |= BigInt(text);
  }
  return inverted ? ~value & LONG_MASK : value;
}

/**
 * The profile for one architecture and one set of options, with names turned to numbers.
 *
 * @throws HoldfastError ERR_HOLDFAST_SECCOMP_PROFILE when the data is damaged.
 */
export function settleProfile(architecture: Architecture, options: SeccompOptions = {}): SettledProfile {
  const profile = loadProfile();
  const table = loadCallTable(architecture);
  const calls: CallRule[] = [];
  for (const group of profile.groups) {
    for (const entry of group.entries) {
      const clauses = settleEntry(entry, options);
      for (const name of entry.calls) {
        const number = table.calls[name];
        if (number !== undefined) calls.push({ name, number, group: group.name, clauses });
      }
    }
  }
  calls.sort((a, b) => a.number - b.number);
  return {
    architecture,
    auditArchitecture: Number(table.auditArch),
    foreignArchitecture: settleJudgement(profile.foreignArchitecture),
    x32: architecture === "x86_64" ? settleJudgement(profile.x32) : undefined,
    unlisted: settleJudgement(profile.default),
    calls,
    hot: new Set(profile.hot),
  };
}

/**
 * Which calls can reach the broker and what for. A call is notified for one purpose only (a test holds that), so the
 * broker needs no argument to know what it is asked; but for sockets and their options, of which it refuses some.
 */
export function notificationPurposes(
  architecture: Architecture,
  options: SeccompOptions = {},
): ReadonlyMap<number, NotificationPurpose> {
  const key = `${architecture} ${JSON.stringify(options)}`;
  const known = purposesByKey.get(key);
  if (known !== undefined) return known;
  const purposes = new Map<number, NotificationPurpose>();
  for (const call of settleProfile(architecture, options).calls) {
    for (const { action } of call.clauses) {
      if (action.kind !== "notify") continue;
      const other = purposes.get(call.number);
      if (action.purpose === "refuse" && other !== undefined && JUDGED.has(other)) continue;
      purposes.set(call.number, action.purpose);
    }
  }
  purposesByKey.set(key, purposes);
  return purposes;
}

/** Settling the profile takes a fifth of a millisecond, and every sandbox asks. */
const purposesByKey = new Map<string, ReadonlyMap<number, NotificationPurpose>>();

const names = new Map<Architecture, ReadonlyMap<number, string>>();

/** The name of a system call number, or `syscall_N` where the table has none: for records of refusals. */
export function syscallName(architecture: Architecture, number: number): string {
  let table = names.get(architecture);
  if (table === undefined) {
    table = new Map(Object.entries(loadCallTable(architecture).calls).map(([name, value]) => [value, name]));
    names.set(architecture, table);
  }
  return table.get(number) ?? `syscall_${number}`;
}

function settleEntry(entry: ProfileEntry, options: SeccompOptions): Clause[] {
  const clauses: Clause[] = [];
  for (const rule of entry.rules ?? []) {
    if (!holds(rule.when, options)) continue;
    const tests = (rule.if ?? []).map(settleCondition);
    clauses.push({ tests, action: parseAction(rule.action), reason: rule.reason });
    if (tests.length === 0) return clauses;
  }
  clauses.push(settleJudgement(entry));
  return clauses;
}

function holds(when: string | undefined, options: SeccompOptions): boolean {
  return (when?.split(" ") ?? []).every((word) => {
    const name = word.replace(/^!/, "");
    if (!(name in loadProfile().options)) throw profileError(`the option ${name} is not declared`);
    return (options[name as keyof SeccompOptions] === true) !== word.startsWith("!");
  });
}

function settleJudgement(judgement: Judgement): Clause {
  return { tests: [], action: parseAction(judgement.action), reason: judgement.reason };
}

function settleCondition(condition: ProfileCondition): ArgumentTest {
  const wide = condition.type === "long";
  const all = wide ? LONG_MASK : WORD_MASK;
  const listed = condition.is ?? condition.isNot;
  if (listed === undefined || listed.length === 0) throw profileError(`a test of ${condition.name} names no value`);
  const negated = condition.is === undefined;
  const mask = condition.mask === undefined ? all : constantValue(condition.mask) & all;
  return {
    argument: condition.arg,
    name: condition.name,
    wide,
    mask,
    negated,
    values: listed.map((value) => constantValue(value)),
    words: conditionWords(condition, listed, negated),
  };
}

function conditionWords(condition: ProfileCondition, listed: readonly (string | number)[], negated: boolean): string {
  const values = listed.join(" or ");
  if (condition.mask === undefined) return `${condition.name} is ${negated ? "not " : ""}${values}`;
  const zero = values === "0";
  if (condition.mask.startsWith("~") && zero && negated) {
    return `${condition.name} has anything but ${condition.mask.slice(1).replaceAll("|", ", ")}`;
  }
  if (zero) return `${condition.name} has ${negated ? "" : "not "}${condition.mask.replaceAll("|", " or ")}`;
  return `${condition.name} & ${condition.mask} is ${negated ? "not " : ""}${values}`;
}

function parseAction(text: string): SeccompAction {
  const [kind, detail] = text.split(":");
  if (kind === "allow" && detail === undefined) return { kind };
  if (kind === "return" && detail === "0") return { kind, value: 0 };
  if (kind === "notify" && (detail === undefined || PURPOSES.has(detail))) {
    return { kind, purpose: (detail ?? "refuse") as NotificationPurpose };
  }
  const errno = kind === "errno" && detail !== undefined ? loadConstants().errnos[detail] : undefined;
  if (errno === undefined || detail === undefined) throw profileError(`the action ${text} is not known`);
  return { kind: "errno", name: detail, errno };
}

function readData(file: string): unknown {
  let data = files.get(file);
  if (data === undefined) {
    data = JSON.parse(readFileSync(join(dataFolder(), file), "utf8"));
    files.set(file, data);
  }
  return data;
}

/** A filter that the build compiled beforehand (native/bundle.ts); null in a checkout that runs its sources. */
export function readCompiled(name: string): string | null {
  const file = join(dataFolder(), "compiled", name);
  return existsSync(file) ? readFileSync(file, "utf8") : null;
}

let folder: string | undefined;

/** The package's seccomp/ lies above this file, at a different height in a checkout and in the compiled package. */
function dataFolder(): string {
  if (folder !== undefined) return folder;
  for (let above = dirname(fileURLToPath(import.meta.url)); ; above = dirname(above)) {
    const candidate = join(above, "seccomp");
    if (existsSync(join(candidate, "profile.json"))) {
      folder = candidate;
      return candidate;
    }
    if (above === dirname(above)) throw profileError("seccomp/profile.json is not in the package");
  }
}

function profileError(message: string): HoldfastError {
  return new HoldfastError(`The system call profile is damaged: ${message}.`, {
    code: "ERR_HOLDFAST_SECCOMP_PROFILE",
    step: "seccomp",
    hint: "Install holdfast again; its files under seccomp/ were changed or are missing.",
  });
}
