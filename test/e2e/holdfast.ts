import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { byMode } from "./mode.ts";

/** The command, started by its path as users start it. */
export const holdfast: string = join(import.meta.dirname, "..", "..", "bin", "holdfast");

const limitMs = 60_000;

export interface RunResult {
  /** As a shell shows it: 128+N where a signal ended holdfast itself. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
  /** What was written to `--status-fd 3`. */
  readonly lines: readonly Record<string, unknown>[];
}

export interface RunSettings {
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string | Buffer | undefined;
  readonly stdin?: "pipe" | "ignore" | number;
}

/** A folder that is gone after the test. */
export function folder(t: ExecutionContext, prefix = "holdfast-e2e-"): string {
  const path = realpathSync(mkdtempSync(join(tmpdir(), prefix)));
  // Without namespaces root's sandbox is another user, who needs a folder of its own.
  if (byMode.length > 0 && process.geteuid?.() === 0) chownSync(path, 65_533, 65_533);
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Starts `holdfast run` with what it may use as a status descriptor; ended with the test. */
export function start(
  t: ExecutionContext,
  args: readonly string[],
  cwd: string,
  stdio: StdioOptions = ["ignore", "pipe", "pipe", "pipe"],
  env: NodeJS.ProcessEnv = process.env,
): ChildProcess {
  const child = spawn(holdfast, ["run", ...byMode, ...args], { cwd, env, stdio });
  const timer = setTimeout(() => child.kill("SIGKILL"), limitMs);
  t.teardown(() => {
    clearTimeout(timer);
    child.kill("SIGKILL");
  });
  return child;
}

async function bytes(stream: NodeJS.ReadableStream | null | undefined): Promise<Buffer> {
  const chunks: Buffer[] = [];
  if (stream) for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Runs `holdfast run` to its end. `--status-fd 3` may be among the arguments. */
export async function run(t: ExecutionContext, args: readonly string[], settings: RunSettings): Promise<RunResult> {
  const stdin = settings.stdin ?? (settings.input === undefined ? "ignore" : "pipe");
  const child = start(t, args, settings.cwd, [stdin, "pipe", "pipe", "pipe"], settings.env);
  const closed = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  child.stdin?.on("error", () => {});
  if (settings.input !== undefined) child.stdin?.end(settings.input);
  const [stdout, stderr, status] = await Promise.all([
    bytes(child.stdout),
    bytes(child.stderr),
    bytes(child.stdio[3] as NodeJS.ReadableStream),
  ]);
  const [code, signal] = await closed;
  const lines = status
    .toString()
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { status: code, signal, stdout, stderr: stderr.toString(), lines };
}

/** Runs a shell script inside. */
export function shell(
  t: ExecutionContext,
  script: string,
  settings: RunSettings,
  options: readonly string[] = [],
): Promise<RunResult> {
  return run(t, [...options, "--", "sh", "-c", script], settings);
}

/** Resolves with the first match in what a stream says; rejects when it ends before. */
export async function said(stream: NodeJS.ReadableStream | null, pattern: RegExp): Promise<RegExpExecArray> {
  let text = "";
  return new Promise((resolve, reject) => {
    const onData = (chunk: Buffer): void => {
      text += chunk.toString();
      const match = pattern.exec(text);
      if (match === null) return;
      stream?.off("data", onData);
      stream?.off("end", onEnd);
      resolve(match);
    };
    const onEnd = (): void => reject(new Error(`it ended without saying ${pattern}: ${text}`));
    stream?.on("data", onData);
    stream?.once("end", onEnd);
    if (stream === null) reject(new Error("there is no such stream"));
  });
}
