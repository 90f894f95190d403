import { HoldfastError } from "../errors.ts";
import type { Limits } from "./policy.ts";
import { quote } from "./problem.ts";
import { suggest } from "./spelling.ts";

/** A limit's name, as policies and `--limit NAME=VALUE` spell it. */
export type LimitName =
  | "processes"
  | "memory"
  | "cpu-time"
  | "wall-time"
  | "open-files"
  | "file-size"
  | "tmp-size"
  | "output";

interface LimitKind {
  readonly property: keyof Limits;
  readonly unit: "count" | "size" | "duration";
  readonly least: number;
  readonly most: number;
  readonly meaning: string;
}

/** Durations end below 2^31 ms: the longest that one of Node's timers holds. */
const longestMs = 2 ** 31 - 1;
/** PID_MAX_LIMIT on 64 bits (include/linux/threads.h). */
const mostProcesses = 2 ** 22;
/** sysctl fs.nr_open goes to 2^31 - 64 on 64 bits (fs/file.c). */
const mostFiles = 2 ** 31 - 64;
const largestBytes = Number.MAX_SAFE_INTEGER;

/** Every limit: what it bounds, in which unit, and from what to what. */
export const limitKinds: Readonly<Record<LimitName, LimitKind>> = Object.freeze({
  processes: {
    property: "processes",
    unit: "count",
    least: 1,
    most: mostProcesses,
    meaning: "processes and threads that live at once",
  },
  memory: {
    property: "memoryBytes",
    unit: "size",
    least: 1024 * 1024,
    most: largestBytes,
    meaning: "memory of all processes together",
  },
  "cpu-time": {
    property: "cpuTimeMs",
    unit: "duration",
    least: 1,
    most: longestMs,
    meaning: "processor time of a call",
  },
  "wall-time": {
    property: "wallTimeMs",
    unit: "duration",
    least: 1,
    most: longestMs,
    meaning: "time that a call may take",
  },
  "open-files": {
    property: "openFiles",
    unit: "count",
    least: 1,
    most: mostFiles,
    meaning: "open descriptors of a process",
  },
  "file-size": {
    property: "fileSizeBytes",
    unit: "size",
    least: 1,
    most: largestBytes,
    meaning: "largest file that can be written",
  },
  "tmp-size": {
    property: "tmpSizeBytes",
    unit: "size",
    least: 1,
    most: largestBytes,
    meaning: "size of the private /tmp",
  },
  output: {
    property: "outputBytes",
    unit: "size",
    least: 1,
    most: largestBytes,
    meaning: "output of a call, stdout and stderr together",
  },
});

export const limitNames: readonly LimitName[] = Object.freeze(Object.keys(limitKinds) as LimitName[]);

/** What came of reading a limit, a size or a duration: the value, or a sentence about it and what to write instead. */
export type LimitReading<T> = { readonly value: T } | { readonly message: string; readonly hint: string };

const sizeUnits: Readonly<Record<string, number>> = { K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };
const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Reads `64K`, `512M`, `2G`, `1T` (powers of 1024) or plain bytes. */
export function readSize(text: string): LimitReading<number> {
  const match = /^(\d+)([KMGT]?)$/.exec(text);
  if (match !== null) return bounded(text, Number(match[1]) * (sizeUnits[match[2] ?? ""] ?? 1));
  const accepted = "a size is a whole number of bytes, or one with K, M, G or T: 64K, 512M, 2G";
  const near = /^(\d+)(?:\.(\d+))?\s*([kmgt])?(?:i?b)?$/i.exec(text);
  if (near === null) return { message: `${quote(text)} is not a size`, hint: accepted };
  const unit = near[3]?.toUpperCase() ?? "";
  if (near[2] === undefined) return { message: `${quote(text)} is not a size`, hint: `write ${near[1]}${unit}` };
  return {
    message: `${quote(text)} is not a size: fractions are not accepted`,
    hint: smallerUnit(`${near[1]}.${near[2]}`, unit, ["", "K", "M", "G", "T"], 1024) ?? accepted,
  };
}

/** Reads `500ms`, `30s`, `5m`, `2h`; gives milliseconds. */
export function readDuration(text: string): LimitReading<number> {
  const match = /^(\d+)(ms|s|m|h)$/.exec(text);
  if (match !== null) return bounded(text, Number(match[1]) * (durationUnits[match[2] ?? ""] ?? 1));
  const accepted = "a duration is a whole number with ms, s, m or h: 500ms, 30s, 5m, 2h";
  if (/^\d+$/.test(text)) {
    return { message: `${quote(text)} is not a duration: it has no unit`, hint: `write ${text}s for seconds` };
  }
  const near = /^(\d+)\.(\d+)(s|m|h)$/.exec(text);
  if (near === null) return { message: `${quote(text)} is not a duration`, hint: accepted };
  const factor = near[3] === "s" ? 1000 : 60;
  return {
    message: `${quote(text)} is not a duration: fractions are not accepted`,
    hint: smallerUnit(`${near[1]}.${near[2]}`, near[3] ?? "", ["ms", "s", "m", "h"], factor) ?? accepted,
  };
}

function smallerUnit(value: string, unit: string, units: readonly string[], factor: number): string | undefined {
  const smaller = units[units.indexOf(unit) - 1];
  const count = Number(value) * factor;
  return smaller === undefined || !Number.isInteger(count) ? undefined : `write ${count}${smaller}`;
}

function bounded(text: string, value: number): LimitReading<number> {
  if (value > Number.MAX_SAFE_INTEGER) {
    return { message: `${quote(text)} is too large`, hint: "leave the limit out, or write none" };
  }
  return { value };
}

function readCount(text: string): LimitReading<number> {
  if (/^\d+$/.test(text)) return bounded(text, Number(text));
  return { message: `${quote(text)} is not a count`, hint: "a count is a whole number: 64" };
}

const unitReaders = { count: readCount, size: readSize, duration: readDuration };

/** Reads the value of a limit that has a known name; null means `none`: no limit. */
export function readLimit(name: LimitName, text: string): LimitReading<number | null> {
  if (text === "none") return { value: null };
  const kind = limitKinds[name];
  if (/^[-−]/.test(text)) {
    return { message: `${name} cannot be negative: ${quote(text)}`, hint: "write none for no limit" };
  }
  const reading = unitReaders[kind.unit](text);
  if (!("value" in reading)) return { message: `${name}: ${reading.message}`, hint: reading.hint };
  if (reading.value === 0) return { message: `${name} cannot be 0`, hint: "write none for no limit" };
  if (reading.value < kind.least) {
    return {
      message: `${name} is ${reading.value} bytes, less than any process needs`,
      hint: `at least ${kind.least}; did you mean ${text}M?`,
    };
  }
  if (reading.value > kind.most) {
    const most = kind.unit === "duration" ? `${Math.floor(kind.most / 3_600_000)}h` : String(kind.most);
    return { message: `${name} is ${text}, which is too large`, hint: `at most ${most}, or none` };
  }
  return { value: reading.value };
}

export function isLimitName(name: string): name is LimitName {
  return Object.hasOwn(limitKinds, name);
}

/** The limits with one of them set, or taken away (`null`). */
export function withLimit(limits: Limits, name: LimitName, value: number | null): Limits {
  const { [limitKinds[name].property]: _replaced, ...rest } = limits;
  return Object.freeze(value === null ? rest : { ...rest, [limitKinds[name].property]: value });
}

/**
 * Sets a limit by name, as `--limit NAME=VALUE` does.
 *
 * @throws HoldfastError ERR_HOLDFAST_LIMIT_INVALID for an unknown name (with the nearest) or a value that is not one
 */
export function applyLimit(limits: Limits, name: string, value: string): Limits {
  if (!isLimitName(name)) {
    throw limitError(`there is no limit ${JSON.stringify(name)}`, suggest(name, limitNames) ?? "");
  }
  const reading = readLimit(name, value);
  if (!("value" in reading)) throw limitError(reading.message, reading.hint);
  return withLimit(limits, name, reading.value);
}

/** One limit by itself. @throws HoldfastError ERR_HOLDFAST_LIMIT_INVALID */
export function parseLimit(name: string, value: string): Limits {
  return applyLimit({}, name, value);
}

/** Milliseconds of `500ms`, `30s`, `5m`, `2h`, above 0. @throws HoldfastError ERR_HOLDFAST_LIMIT_INVALID */
export function parseDuration(text: string): number {
  return parsed(text, readDuration(text), longestMs);
}

/** Bytes of `64K`, `512M`, `2G` or a plain number, above 0. @throws HoldfastError ERR_HOLDFAST_LIMIT_INVALID */
export function parseSize(text: string): number {
  return parsed(text, readSize(text), largestBytes);
}

function parsed(text: string, reading: LimitReading<number>, most: number): number {
  if (!("value" in reading)) throw limitError(reading.message, reading.hint);
  if (reading.value === 0) throw limitError(`${quote(text)} is 0`, "write a value above 0");
  if (reading.value > most) throw limitError(`${quote(text)} is too large`, "write a smaller value");
  return reading.value;
}

function limitError(message: string, hint: string): HoldfastError {
  return new HoldfastError(message, { code: "ERR_HOLDFAST_LIMIT_INVALID", step: "usage", hint: sentence(hint) });
}

function sentence(hint: string): string {
  const text = hint.charAt(0).toUpperCase() + hint.slice(1);
  return /[.?]$/.test(text) ? text : `${text}.`;
}
