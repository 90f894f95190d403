import { constants } from "node:os";
import { posix } from "node:path";
import { HoldfastError } from "../errors.ts";
import { suggest } from "../policy/spelling.ts";
import type { ExecOptions, SandboxOptions, SpawnOptions, Stdio } from "./types.ts";

function invalid(what: string, hint: string): HoldfastError {
  return new HoldfastError(what, { code: "ERR_HOLDFAST_OPTION", step: "usage", hint });
}

function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 80));
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

type Check = (value: unknown, name: string) => void;

function expect(what: string, isFine: (value: unknown) => boolean): Check {
  return (value, name) => {
    if (!isFine(value)) throw invalid(`${name} is ${shown(value)}`, `It has to be ${what}.`);
  };
}

/** Text that reaches the kernel, where a NUL byte would end it. */
function isText(value: unknown): value is string {
  return typeof value === "string" && !value.includes("\0");
}

function isAbsolute(value: unknown): boolean {
  return isText(value) && /^\/.*[^/]$/s.test(value) && posix.normalize(value) === value;
}

/** setTimeout(): beyond this it fires at once. */
const longestMs = 2 ** 31 - 1;

const text = expect("text without a NUL byte", isText);
const flag = expect("true or false", (value) => typeof value === "boolean");
const milliseconds = expect(
  `a number of milliseconds from 0 to ${longestMs}`,
  (value) => typeof value === "number" && value >= 0 && value <= longestMs,
);
const stdioWords: readonly unknown[] = ["pipe", "ignore", "inherit"] satisfies Stdio[];
const signalNumbers = constants.signals;

/** As kill(2) takes it: by name, or by number; 0 only asks whether there is somebody. */
function isSignal(value: unknown): value is NodeJS.Signals | number {
  if (typeof value === "number") return Number.isInteger(value) && value >= 0 && value <= 64;
  return typeof value === "string" && Object.hasOwn(signalNumbers, value);
}

/** @throws TypeError ERR_UNKNOWN_SIGNAL, as a ChildProcess does */
export function signalNumber(signal: unknown): number {
  if (!isSignal(signal)) {
    throw Object.assign(new TypeError(`Unknown signal: ${shown(signal)}`), { code: "ERR_UNKNOWN_SIGNAL" });
  }
  return typeof signal === "number" ? signal : signalNumbers[signal];
}

const sandboxChecks: Readonly<Record<keyof SandboxOptions, Check>> = {
  policy: expect(
    "a policy of loadPolicy(), parsePolicy() or presetPolicy()",
    (value) => typeof value === "object" && value !== null && "filesystem" in value && "limits" in value,
  ),
  workdir: expect("the path of a folder", (value) => isText(value) && value !== ""),
  mountAt: expect("an absolute path without . and .., not the root", isAbsolute),
  workspace: expect('"direct", "overlay" or "fresh"', (value) =>
    ["direct", "overlay", "fresh"].includes(value as string),
  ),
  mode: expect('"namespaces" or "landlock"', (value) => value === "namespaces" || value === "landlock"),
  name: expect(
    "at most 128 letters, digits and . _ @ + -, beginning with a letter or digit",
    (value) => typeof value === "string" && /^[A-Za-z0-9][\w.@+-]{0,127}$/.test(value),
  ),
  tools: flag,
  proxyEnv: flag,
  audit: expect("an Audit", (value) => typeof value === "object" && value !== null && "append" in value),
  receiptKey: expect(
    "an Ed25519 private key, as readReceiptKey() gives one",
    (value) =>
      value instanceof Object &&
      Reflect.get(value, "type") === "private" &&
      Reflect.get(value, "asymmetricKeyType") === "ed25519",
  ),
  privateFolders: expect(
    "a list of absolute paths without . and ..",
    (value) => Array.isArray(value) && value.every(isAbsolute),
  ),
};

const spawnChecks: Readonly<Record<keyof SpawnOptions, Check>> = {
  cwd: expect("an absolute path inside the sandbox", (value) => isText(value) && value.startsWith("/")),
  env: expect("an object of names and values", (value) => typeof value === "object" && value !== null),
  stdin: expect('"pipe" or "ignore"', (value) => value === "pipe" || value === "ignore"),
  stdio: expect(
    '"pipe", "ignore" or "inherit", or a list of three of these: descriptors are never handed in',
    (value) =>
      stdioWords.includes(value) ||
      (Array.isArray(value) &&
        value.length <= 3 &&
        value.every((one) => one === undefined || one === null || stdioWords.includes(one))),
  ),
  mergeStderr: flag,
  signal: expect(
    "an AbortSignal",
    (value) => typeof value === "object" && value !== null && "aborted" in value && "addEventListener" in value,
  ),
  timeoutMs: milliseconds,
  timeout: milliseconds,
  forceKillAfterMs: milliseconds,
  killSignal: expect("the name or number of a signal", isSignal),
  layer: expect('"base" or "read-only"', (value) => value === "base" || value === "read-only"),
  killTreeOnExit: flag,
  isSession: flag,
};

const execChecks: Readonly<Record<keyof ExecOptions, Check>> = {
  ...spawnChecks,
  input: expect("text or bytes", (value) => typeof value === "string" || value instanceof Uint8Array),
  maxBufferBytes: expect("a number of bytes", (value) => typeof value === "number" && value >= 0),
  reject: flag,
};

function check(options: object, checks: Readonly<Record<string, Check>>): void {
  for (const [name, value] of Object.entries(options)) {
    const one = Object.hasOwn(checks, name) ? checks[name] : undefined;
    if (one === undefined) {
      throw invalid(`there is no option ${shown(name)}`, suggestion(name, Object.keys(checks)));
    }
    if (value !== undefined) one(value, `the option ${name}`);
  }
}

function suggestion(name: string, known: readonly string[]): string {
  const found = suggest(name, known) ?? "docs/embedding.md lists them.";
  return `${found.slice(0, 1).toUpperCase()}${found.slice(1)}`;
}

/** @throws HoldfastError ERR_HOLDFAST_OPTION for a wrong or misspelt option: what it was meant to do is not passed over */
export function checkSandboxOptions(options: SandboxOptions): void {
  if (typeof options !== "object" || options === null || options.workdir === undefined) {
    throw invalid("a sandbox needs a workdir", "Name the folder to work on: Sandbox.create({ workdir }).");
  }
  check(options, sandboxChecks);
}

/** @throws HoldfastError ERR_HOLDFAST_OPTION */
export function checkCall(file: string, args: readonly string[], options: ExecOptions, isExec: boolean): void {
  text(file, "the program");
  if (!Array.isArray(args)) throw invalid(`the arguments are ${shown(args)}`, "They have to be a list of texts.");
  for (const [place, arg] of args.entries()) text(arg, `argument ${place + 1}`);
  check(options, isExec ? execChecks : spawnChecks);
}

/**
 * The variables of a call as execve(2) takes them; as in child_process, what is undefined is left out.
 *
 * @throws HoldfastError ERR_HOLDFAST_OPTION for what would come out as another variable than was meant
 */
export function environmentList(variables: Readonly<Record<string, unknown>>): string[] {
  const list: string[] = [];
  for (const [name, value] of Object.entries(variables)) {
    if (value === undefined) continue;
    const entry = `${name}=${String(value)}`;
    if (name === "" || name.includes("=") || entry.includes("\0")) {
      throw invalid(
        `the variable ${shown(name)} cannot be passed`,
        "A name is not empty and has no =, and neither name nor value has a NUL byte.",
      );
    }
    list.push(entry);
  }
  return list;
}
