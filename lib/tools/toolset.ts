import { HoldfastError } from "../errors.ts";
import type { PathRules, SandboxLike } from "../sandbox/types.ts";
import { createBashTool } from "./bash.ts";
import { createEditTool } from "./edit.ts";
import { createGlobTool } from "./glob.ts";
import { createGrepTool } from "./grep.ts";
import { errnoOf } from "./paths.ts";
import { createReadTool } from "./read.ts";
import { abortReason, type Tool, type ToolDefinition, ToolError, type ToolInput, type ToolResult } from "./tool.ts";
import { Turns } from "./turns.ts";
import { createWriteTool } from "./write.ts";

export type { ToolDefinition, ToolResult } from "./tool.ts";

const READ_LIMIT_BYTES = 262_144;
/** As long as any call may take, where nothing shortens it. */
export const longestCallMs = 120_000;
const SEARCH_TIMEOUT_MS = 60_000;
/** A cancelled tool gets this long to clean up before the call is answered without it. */
const CANCEL_GRACE_MS = 2_000;

export interface ToolsetOptions {
  /** The largest file that `read` gives whole and `edit` changes; 262,144 by default. */
  readonly readLimitBytes?: number;
  /** Folders inside the sandbox, besides the working directory, that a path may lead into. */
  readonly roots?: readonly string[];
  /** Folders inside the sandbox in which `write` and `edit` refuse by name. */
  readonly readOnlyRoots?: readonly string[];
  /** Every call ends after this long; 120,000 by default. */
  readonly callTimeoutMs?: number;
  /** A search by `glob` or `grep` ends after this long with what it has found; 60,000 by default. */
  readonly searchTimeoutMs?: number;
  /** Told of a failure that is not the tool's own; the model reads only its code. */
  readonly onInternalError?: (tool: string, error: unknown) => void;
}

/** The six tools of one session. */
export interface ToolRunner {
  readonly names: readonly string[];
  readonly definitions: readonly ToolDefinition[];
  /** Never rejects: whatever the input is, and whatever happens, it comes to a text. */
  run(name: string, input: unknown, signal: AbortSignal): Promise<ToolResult>;
  /** Ends the shell and everything that it started. The sandbox is its owner's to dispose of. */
  close(): Promise<void>;
}

/**
 * The standard toolset (`agent_toolset_20260401`) with everything that it does carried out inside a sandbox. The shell
 * is started at the first call of `bash`.
 */
export function createToolset(sandbox: SandboxLike, options: ToolsetOptions = {}): ToolRunner {
  const { readLimitBytes: limitBytes = READ_LIMIT_BYTES, callTimeoutMs = longestCallMs } = options;
  const { wallTimeMs = Number.POSITIVE_INFINITY } = sandbox.limits;
  const searchTimeoutMs = Math.min(options.searchTimeoutMs ?? SEARCH_TIMEOUT_MS, wallTimeMs);
  const rules: PathRules = {
    roots: [sandbox.workdir, ...(options.roots ?? [])],
    readOnlyRoots: options.readOnlyRoots ?? [],
  };
  const { files } = sandbox;
  const turns = new Turns();
  const tools = new Map<string, Tool>(
    [
      createBashTool({ sandbox, callTimeoutMs }),
      createReadTool({ files, rules, limitBytes }),
      createWriteTool({ files, rules, turns }),
      createEditTool({ files, rules, limitBytes, turns }),
      createGlobTool({ sandbox, rules, timeoutMs: searchTimeoutMs }),
      createGrepTool({ sandbox, rules, timeoutMs: searchTimeoutMs }),
    ].map((tool) => [tool.definition.name, tool]),
  );

  return {
    names: [...tools.keys()],
    definitions: [...tools.values()].map((tool) => tool.definition),
    async run(name, input, signal) {
      const tool = tools.get(name);
      if (tool === undefined) return { text: `unknown tool ${JSON.stringify(name)}`.toWellFormed(), isError: true };
      try {
        const text = await runWithin(name, tool, asProperties(input), signal, callTimeoutMs);
        return { text: text.toWellFormed() || "(no output)", isError: false };
      } catch (error) {
        if (error instanceof ToolError) return { text: error.message.toWellFormed() || "(no output)", isError: true };
        options.onInternalError?.(name, error);
        return { text: `Error: ${internalErrorText(error)}`, isError: true };
      }
    },
    async close() {
      for (const tool of tools.values()) await tool.close?.();
    },
  };
}

/** Anything but an object has no properties, and so misses those that are required. */
function asProperties(input: unknown): ToolInput {
  return typeof input === "object" && input !== null ? { ...input } : {};
}

async function runWithin(
  name: string,
  tool: Tool,
  input: ToolInput,
  outer: AbortSignal,
  timeoutMs: number,
): Promise<string> {
  const deadline = new AbortController();
  const timer = setTimeout(
    () => deadline.abort(new Error(`${name} command timed out after ${timeoutMs}ms`)),
    timeoutMs,
  );
  const { signal } = deadline;
  const forward = (): void => deadline.abort(outer.reason);
  if (outer.aborted) forward();
  else outer.addEventListener("abort", forward, { once: true });
  let graceTimer: NodeJS.Timeout | undefined;
  // A tool ends by itself when its signal is aborted; this is for a sandbox that does not answer.
  const abandoned = new Promise<never>((_, reject) => {
    const abandon = (): void => {
      graceTimer = setTimeout(() => reject(new ToolError(`${name}: ${abortReason(signal)}`)), CANCEL_GRACE_MS);
    };
    if (signal.aborted) abandon();
    else signal.addEventListener("abort", abandon, { once: true });
  });
  try {
    return await Promise.race([Promise.resolve().then(() => tool.run(input, signal)), abandoned]);
  } finally {
    outer.removeEventListener("abort", forward);
    clearTimeout(timer);
    clearTimeout(graceTimer);
  }
}

/** Not the message: it may hold paths of the host. */
function internalErrorText(error: unknown): string {
  if (HoldfastError.is(error)) return `the sandbox could not do this (${error.code})`;
  const errno = errnoOf(error);
  return errno === undefined ? "the tool failed" : `i/o error (${errno})`;
}
