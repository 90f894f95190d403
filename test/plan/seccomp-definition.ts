// The profile's meaning, worked out from the raw data without the compiler's help: slow, plain, one line a rule.
import {
  type Architecture,
  loadCallTable,
  loadConstants,
  loadProfile,
  type ProfileCondition,
  type ProfileEntry,
  type SeccompOptions,
} from "../../lib/plan/seccomp-profile.ts";
import type { SeccompData } from "./bpf-interpreter.ts";

/** AUDIT_ARCH_* of linux/audit.h. */
export const AUDIT = { x86_64: 0xc000_003e, aarch64: 0xc000_00b7, i386: 0x4000_0003, arm: 0x4000_0028 } as const;

const LONG = (1n << 64n) - 1n;
const INT = (1n << 32n) - 1n;

/** Millions of calls are judged by some hundred entries and words. */
const knownWords = new Map<string, bigint>();
const knownEntries = new Map<string, ProfileEntry | undefined>();

/** What the words of a condition or of a case stand for: names and numbers joined by `|`, `~` before them inverts. */
export function wordValue(words: string | number): bigint {
  const text = String(words);
  const value = knownWords.get(text) ?? readWords(text);
  knownWords.set(text, value);
  return value;
}

function readWords(text: string): bigint {
  if (text.startsWith("~")) return LONG ^ wordValue(text.slice(1));
  return text
    .split("|")
    .map((word) => {
      if (/^-\d+$/.test(word)) return BigInt.asUintN(64, BigInt(word));
      if (/^\d/.test(word)) return BigInt(word);
      const value = loadConstants().values[word];
      if (value === undefined) throw new Error(`${word} is not a constant`);
      return BigInt(value);
    })
    .reduce((all, one) => all | one, 0n);
}

/** The action, as the profile spells it, that the profile's text asks for. */
export function definedAction(architecture: Architecture, options: SeccompOptions, data: SeccompData): string {
  const profile = loadProfile();
  if (data.architecture !== AUDIT[architecture]) return profile.foreignArchitecture.action;
  if (architecture === "x86_64" && data.number >= 0x4000_0000) return profile.x32.action;
  const entry = entryOf(architecture, data.number);
  if (entry === undefined) return profile.default.action;
  const rule = (entry.rules ?? []).find((one) => {
    const { when = "" } = one;
    for (const word of when === "" ? [] : when.split(" ")) {
      const option = options[word.replace("!", "") as keyof SeccompOptions] ?? false;
      if (option === word.startsWith("!")) return false;
    }
    return (one.if ?? []).every((condition) => conditionHolds(condition, data.arguments[condition.arg] ?? 0n));
  });
  return (rule ?? entry).action;
}

function entryOf(architecture: Architecture, number: number): ProfileEntry | undefined {
  const key = `${architecture} ${number}`;
  if (knownEntries.has(key)) return knownEntries.get(key);
  const { calls } = loadCallTable(architecture);
  const name = Object.keys(calls).find((call) => calls[call] === number);
  const entry = loadProfile()
    .groups.flatMap((group) => group.entries)
    .find((one) => name !== undefined && one.calls.includes(name));
  knownEntries.set(key, entry);
  return entry;
}

function conditionHolds(condition: ProfileCondition, argument: bigint): boolean {
  const seen = BigInt.asUintN(64, argument) & (condition.type === "int" ? INT : LONG);
  const masked = condition.mask === undefined ? seen : seen & wordValue(condition.mask);
  if (condition.is !== undefined) return condition.is.some((value) => wordValue(value) === masked);
  return !(condition.isNot ?? []).some((value) => wordValue(value) === masked);
}

/** The SECCOMP_RET_* value of an action (linux/seccomp.h). */
export function returnValue(action: string): number {
  const [kind, detail = ""] = action.split(":");
  if (kind === "allow") return 0x7fff_0000;
  if (kind === "notify") return 0x7fc0_0000;
  if (kind === "return") return 0x0005_0000;
  const errno = loadConstants().errnos[detail];
  if (kind !== "errno" || errno === undefined) throw new Error(`${action} is not an action`);
  return 0x0005_0000 + errno;
}
