import type { SandboxLike } from "../sandbox/types.ts";
import { definitions } from "./definitions.ts";
import { ShellFailure, ShellSession } from "./shell-session.ts";
import { abortReason, optionalBoolean, optionalString, type Tool, ToolError, type ToolInput } from "./tool.ts";
import { Turns } from "./turns.ts";

const DEFAULT_TIMEOUT_MS = 120_000;

export interface BashToolOptions {
  readonly sandbox: SandboxLike;
  /** No command runs longer than this, whatever it asks for. */
  readonly callTimeoutMs: number;
}

/** The tool `bash`: one shell for the session, in which directory, variables and jobs last from call to call. */
export function createBashTool({ sandbox, callTimeoutMs }: BashToolOptions): Tool {
  const turns = new Turns();
  let session: ShellSession | null = null;

  async function endSession(): Promise<void> {
    const ended = session;
    session = null;
    await ended?.close();
  }

  async function runCommand(command: string, timeoutMs: number, signal: AbortSignal): Promise<string> {
    try {
      session ??= new ShellSession(sandbox);
      const { output, exitCode } = await session.run(command, timeoutMs, signal);
      if (exitCode !== 0) throw new ToolError(output || `exit ${exitCode}`);
      return output;
    } catch (error) {
      if (error instanceof ToolError) throw error;
      // The command may still be running and would print into the next call.
      await endSession();
      throw error instanceof ShellFailure ? new ToolError(`bash: ${error.message}`) : error;
    }
  }

  return {
    definition: definitions.bash,
    run(input, signal) {
      const command = optionalString("bash", input, "command");
      const isRestart = optionalBoolean("bash", input, "restart");
      const timeoutMs = Math.min(requestedTimeout(input), callTimeoutMs, sandbox.limits.wallTimeMs ?? callTimeoutMs);
      return turns.run(async () => {
        // Cancelled while it waited: the shell is in the middle of nothing and lives on.
        if (signal.aborted) throw new ToolError(`bash: ${abortReason(signal)}`);
        if (isRestart) await endSession();
        if (command !== undefined && command !== "") return await runCommand(command, timeoutMs, signal);
        if (isRestart) return "bash session restarted";
        throw new ToolError("bash: command is required");
      });
    },
    close: endSession,
  };
}

function requestedTimeout(input: ToolInput): number {
  // 0 is documented as the default.
  const value = input["timeout_ms"] ?? 0;
  if (typeof value !== "number") throw new ToolError("bash: timeout_ms must be a number");
  return value > 0 ? value : DEFAULT_TIMEOUT_MS;
}
