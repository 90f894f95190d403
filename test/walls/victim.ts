// Raw system calls, made by a small C program: inside a sandbox and, for comparison, outside.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { type Architecture, loadCallTable } from "../../lib/plan/seccomp-profile.ts";
import { udp } from "../../lib/sandbox/denials.ts";
import type { Sandbox } from "../../lib/sandbox/sandbox.ts";
import type { SpawnOptions } from "../../lib/sandbox/types.ts";

export const architecture: Architecture = process.arch === "arm64" ? "aarch64" : "x86_64";

const errnoNames = new Map<number, string>(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** One call: its name or `#NUMBER`, then its arguments (victim.c says how they are spelled). */
export type Call = readonly [name: string, ...args: (number | bigint | string)[]];

export interface Came {
  /** `ok`, an errno's name, or how the victim ended when it came to nothing. */
  readonly outcome: string;
  readonly value: number;
  /** System calls that were refused and recorded meanwhile. */
  readonly denied: readonly string[];
}

/** A C string as an argument. */
export function text(value: string): string {
  return `b:${Buffer.from(`${value}\0`).toString("hex")}`;
}

/** What the n-th call before came to, from 0. */
export function result(n: number): string {
  return `r:${n}`;
}

/** Builds the victim in a folder. False where there is no C compiler. */
export function buildVictim(folder: string): boolean {
  const program = join(folder, "victim");
  if (existsSync(program)) return true;
  const source = join(import.meta.dirname, "victim.c");
  const built = spawnSync("cc", ["-O1", "-o", program, source], { stdio: "pipe", timeout: 60_000 });
  if (built.error !== undefined) return false;
  if (built.status !== 0) throw new Error(`cc ${source}: ${built.stderr}`);
  return true;
}

export const noCompiler = "skipped: there is no C compiler (cc) for the victim";

function callNumber(name: string): string {
  if (name.startsWith("#") || name.startsWith("i386:")) return name.replace("#", "");
  const number = loadCallTable(architecture).calls[name];
  if (number === undefined) throw new Error(`${architecture} has no call ${name}`);
  return String(number);
}

function argv(calls: readonly Call[]): string[] {
  return calls.flatMap(([name, ...args], i) => [...(i === 0 ? [] : [","]), callNumber(name), ...args.map(String)]);
}

/** The last call's outcome; an earlier one that failed is reported in its place, by name. */
function last(calls: readonly Call[], stdout: string, ended: string): Omit<Came, "denied"> {
  const lines = stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split(" ").map(Number));
  for (const [i, [value = -1, errno = 0]] of lines.entries()) {
    const outcome = errno === 0 ? "ok" : (errnoNames.get(errno) ?? `errno ${errno}`);
    if (i === calls.length - 1) return { outcome, value };
    if (outcome !== "ok") return { outcome: `${calls[i]?.[0]}: ${outcome}`, value };
  }
  return { outcome: ended, value: -1 };
}

/** Inside a sandbox. The victim was built in the sandbox's workspace. */
export async function inside(sandbox: Sandbox, calls: readonly Call[], options: SpawnOptions = {}): Promise<Came> {
  const program = join(sandbox.workdir, "victim");
  const ran = await sandbox.exec(program, argv(calls), { timeoutMs: 15_000, ...options });
  const denied = ran.denials
    .map(({ kind, subject }) => (kind === "syscall" ? subject : subject === udp ? "socket" : null))
    .filter((name) => name !== null);
  return { ...last(calls, ran.stdout.toString(), ran.signal ?? `exit status ${ran.exitCode}`), denied };
}

/** Outside, for comparison. */
export function outside(folder: string, calls: readonly Call[], ids: { uid?: number; gid?: number } = {}): Came {
  const ran = spawnSync(join(folder, "victim"), argv(calls), { cwd: folder, timeout: 15_000, stdio: "pipe", ...ids });
  if (ran.error !== undefined) throw ran.error;
  return { ...last(calls, ran.stdout.toString(), ran.signal ?? `exit status ${ran.status}`), denied: [] };
}
