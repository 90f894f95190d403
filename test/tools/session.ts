import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import type { Limits } from "../../lib/policy/policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { createToolset, type ToolResult, type ToolRunner, type ToolsetOptions } from "../../lib/tools/toolset.ts";

/** One session of the tools in a real sandbox, over a new empty folder. */
export interface Session {
  readonly workdir: string;
  readonly sandbox: Sandbox;
  readonly tools: ToolRunner;
  run(tool: string, input: unknown, signal?: AbortSignal): Promise<ToolResult>;
  /** Runs a command by the tool `bash`; it must succeed. */
  bash(command: string): Promise<string>;
  /** How many processes inside have this text in their command line. */
  countProcesses(text: string): Promise<number>;
}

export async function openSession(
  t: ExecutionContext,
  options?: ToolsetOptions,
  limits: Limits = {},
): Promise<Session> {
  const workdir = mkdtempSync(join(tmpdir(), "holdfast-tools-"));
  // Started by root, the sandbox runs as somebody else.
  chmodSync(workdir, 0o777);
  t.teardown(() => rmSync(workdir, { recursive: true, force: true }));
  const policy = { ...defaultPolicy, limits: { ...defaultPolicy.limits, ...limits } };
  const sandbox = await Sandbox.create({ workdir, tools: true, workspace: "direct", policy });
  t.teardown(() => sandbox.dispose());
  const tools = createToolset(sandbox, options);
  t.teardown(() => tools.close());

  const run: Session["run"] = (tool, input, signal = new AbortController().signal) => tools.run(tool, input, signal);
  return {
    workdir,
    sandbox,
    tools,
    run,
    async bash(command) {
      const { text, isError } = await run("bash", { command });
      if (isError) throw new Error(`the command failed: ${text}`);
      return text;
    },
    async countProcesses(text) {
      // Its own command line has the text in it as well, but only in the pattern's odd spelling.
      const pattern = `[${text.slice(0, 1)}]${text.slice(1)}`;
      const { stdout } = await sandbox.exec("/bin/sh", [
        "-c",
        'cat /proc/[0-9]*/cmdline | tr "\\0" " " | grep -o "$0" | wc -l',
        pattern,
      ]);
      return Number(stdout.toString());
    },
  };
}

/** Resolves when a condition holds; rejects after ten seconds. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error("the awaited state did not come");
  }
}
