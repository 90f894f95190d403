import { type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";

/** Runs a program to the close of its pipes, and insists on success: a failed call is fast for the wrong reason. */
export async function runChild(file: string, args: readonly string[], options: SpawnOptions = {}): Promise<void> {
  const child = spawn(file, args, options);
  const chunks: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => chunks.push(chunk));
  const [code, signal]: unknown[] = await once(child, "close");
  if (code !== 0) throw new Error(`${file} ended with ${code ?? signal}: ${Buffer.concat(chunks).toString()}`);
}
