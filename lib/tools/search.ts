import type { PathRules, SandboxLike } from "../sandbox/types.ts";
import { outsideText, refuseNul, unresolvedText } from "./paths.ts";
import type { SearchMessage, SearchRequest } from "./programs/messages.mts";
import { ToolError } from "./tool.ts";

/** 102,400 characters of results, or 200 paths, at their longest as JSON. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;
/** The search stops by itself at its time limit where it can; after this it is killed. */
const STOP_GRACE_MS = 2_000;
/** Of the search's own heap; what it reads is bounded well below. */
const HEAP_MB = 256;

export interface SearchOptions {
  readonly sandbox: SandboxLike;
  readonly rules: PathRules;
  readonly timeoutMs: number;
}

export interface SearchTask {
  readonly tool: "glob" | "grep";
  readonly pattern: string;
  readonly path: string | undefined;
  readonly signal: AbortSignal;
}

export interface SearchResult {
  readonly lines: readonly string[];
  readonly end: "complete" | "truncated" | "out-of-time";
}

/** A pattern that the search could not use; the message says why. */
export class BadSearchPattern extends Error {}

/**
 * Runs a search as a confined child inside the sandbox: read-only, without sockets. Its answer is taken as hostile, since
 * another process of the same sandbox may have written into its pipe: at worst the result is wrong.
 *
 * @throws ToolError for a path that may not be searched, a cancelled call or a search that died
 * @throws BadSearchPattern
 */
export async function runSearch(options: SearchOptions, task: SearchTask): Promise<SearchResult> {
  const { sandbox, rules, timeoutMs } = options;
  const { tool, pattern, path, signal } = task;
  const runtime = sandbox.toolRuntime;
  if (runtime === null) throw new ToolError(`${tool}: this sandbox was made without the tools' runtime`);
  if (signal.aborted) throw new ToolError(`${tool}: aborted`);
  if (path !== undefined) refuseNul(path);

  // A glob looks at the clock. A regular expression that backtracks cannot, and is ended from here.
  const request: SearchRequest = { tool, pattern, path: path || null, roots: rules.roots, timeLimitMs: timeoutMs };
  const result = await sandbox.exec(
    runtime.node,
    ["--no-warnings", `--max-old-space-size=${HEAP_MB}`, `${runtime.programs}/search.mjs`],
    {
      layer: "read-only",
      input: JSON.stringify(request),
      timeoutMs: tool === "glob" ? timeoutMs + STOP_GRACE_MS : timeoutMs,
      killSignal: "SIGKILL",
      maxBufferBytes: MAX_ANSWER_BYTES,
      signal,
      // The policy may pass these on to bash; here they would load code of the workspace.
      env: { NODE_OPTIONS: "", NODE_PATH: "" },
    },
  );
  if (result.isCanceled || signal.aborted) throw new ToolError(`${tool}: aborted`);

  const lines: string[] = [];
  for (const message of messagesOf(result.stdout)) {
    if ("line" in message) {
      lines.push(message.line);
      continue;
    }
    switch (message.end) {
      case "outside":
        throw new ToolError(outsideText(path ?? ".", rules));
      case "unresolved":
        throw new ToolError(unresolvedText(path ?? ".", message.errno));
      case "bad-pattern":
        throw new BadSearchPattern(message.reason);
      default:
        return { lines, end: message.end };
    }
  }
  if (result.timedOut) return { lines, end: "out-of-time" };
  if (result.limit !== null) throw new ToolError(`${tool}: search failed: the limit ${result.limit} was reached`);
  throw new ToolError(`${tool}: search failed: it ended with ${result.signal ?? `status ${result.exitCode}`}`);
}

function* messagesOf(output: Buffer): Generator<SearchMessage> {
  // Without its end, a last line is one that was being written when the search was killed.
  for (const line of output.toString("utf8").split("\n").slice(0, -1)) {
    const message = parseMessage(line);
    if (message !== null) yield message;
  }
}

function parseMessage(line: string): SearchMessage | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  if ("line" in value && typeof value.line === "string") return { line: value.line };
  if (!("end" in value)) return null;
  switch (value.end) {
    case "complete":
    case "truncated":
    case "out-of-time":
    case "outside":
      return { end: value.end };
    case "unresolved":
      return "errno" in value && typeof value.errno === "string" ? { end: value.end, errno: value.errno } : null;
    case "bad-pattern":
      return "reason" in value && typeof value.reason === "string" ? { end: value.end, reason: value.reason } : null;
    default:
      return null;
  }
}

/** The last line of a result that the time limit cut short; an error when there is nothing to show. */
export function outOfTimeLine(tool: string, lines: readonly string[], timeoutMs: number): string {
  if (lines.length === 0) throw new ToolError(`${tool}: timed out after ${timeoutMs / 1000}s`);
  return `[the search was cut short after ${timeoutMs} ms]`;
}
