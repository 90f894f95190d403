import { close } from "node:fs";
import type { OpenOutcome, PathRules, SandboxFiles } from "../sandbox/types.ts";
import { chunksOf, readWhole } from "./bounded-read.ts";
import { definitions } from "./definitions.ts";
import { LineRange, LineRangeTooLarge } from "./line-range.ts";
import { errnoOf, fileErrorText, outsideText, refuseNul, unresolvedText } from "./paths.ts";
import { requiredString, type Tool, ToolError, type ToolInput } from "./tool.ts";

export interface ReadToolOptions {
  readonly files: SandboxFiles;
  readonly rules: PathRules;
  readonly limitBytes: number;
}

type Range = readonly [first: number, last: number];

/** The tool `read`: a text file, whole or by lines. */
export function createReadTool({ files, rules, limitBytes }: ReadToolOptions): Tool {
  return {
    definition: definitions.read,
    async run(input, signal) {
      const path = requiredString("read", input, "file_path");
      refuseNul(path);
      const outcome = await files.open(path, rules);
      try {
        refuseUnresolved(path, rules, outcome);
        const range = viewRange(input);
        if (outcome.kind !== "file") throw new ToolError(notAFile("read", path, outcome));
        return await readText({ path, limitBytes, fd: outcome.fd, size: outcome.size, range, signal });
      } finally {
        closeOutcome(outcome);
      }
    },
  };
}

/** Throws the texts of a path that leads outside or nowhere. */
export function refuseUnresolved(path: string, rules: PathRules, outcome: OpenOutcome): void {
  if (outcome.kind === "outside") throw new ToolError(outsideText(path, rules));
  if (outcome.kind === "error" && outcome.resolving) throw new ToolError(unresolvedText(path, outcome.errno));
}

export function notAFile(tool: string, path: string, outcome: OpenOutcome): string {
  if (outcome.kind === "error") return fileErrorText(tool, path, outcome.errno);
  return `${tool}: ${path} is not a regular file`;
}

export function closeOutcome(outcome: OpenOutcome): void {
  // Nothing was written through it, so there is nothing that a failed close could lose.
  if (outcome.kind === "file") close(outcome.fd, () => undefined);
}

function viewRange(input: ToolInput): Range | null {
  const value = input["view_range"];
  if (value === undefined || value === null) return null;
  if (Array.isArray(value)) {
    const [first, last, ...rest]: unknown[] = value;
    if (value.length === 0) return null;
    if (rest.length === 0 && isNumber(first) && isNumber(last)) return [first, last];
  }
  throw new ToolError("read: view_range must be [start_line, end_line]");
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && !Number.isNaN(value);
}

interface ReadTask {
  readonly path: string;
  readonly limitBytes: number;
  readonly fd: number;
  readonly size: number;
  readonly range: Range | null;
  readonly signal: AbortSignal;
}

async function readText(task: ReadTask): Promise<string> {
  const { path, fd, limitBytes, range, signal } = task;
  try {
    // A file may be larger than its stated size (/proc) or grow meanwhile: then it is treated as the large file it is.
    const whole = task.size > limitBytes ? null : await readWhole("read", fd, limitBytes, signal);
    if (whole !== null && range === null) return whole.toString("utf8");
    if (range === null) {
      throw new ToolError(
        `read: ${path} is ${sizeWords(task.size, limitBytes)} bytes, exceeds ${limitBytes}-byte limit. ` +
          "Use the view_range parameter to read specific line ranges, e.g. view_range: [1, 500].",
      );
    }
    const [first, last] = range;
    // Within the limit a range is never refused, so the whole file's size is the bound there.
    const lines = new LineRange(first, last, limitBytes);
    if (whole !== null) {
      lines.push(whole);
      return lines.text();
    }
    if (lines.isComplete) return "";
    for await (const chunk of chunksOf("read", fd, signal)) {
      lines.push(chunk);
      if (lines.isComplete) break;
    }
    return lines.text();
  } catch (error) {
    if (error instanceof LineRangeTooLarge && range !== null) throw new ToolError(tooLargeText(task, range, error));
    const errno = errnoOf(error);
    throw errno === undefined ? error : new ToolError(fileErrorText("read", path, errno));
  }
}

/** The stated size, unless the file has just been found to be larger than that. */
export function sizeWords(size: number, limitBytes: number): string {
  return size > limitBytes ? String(size) : `more than ${limitBytes}`;
}

function tooLargeText({ path, limitBytes }: ReadTask, range: Range, error: LineRangeTooLarge): string {
  if (error.line !== null) {
    return (
      `read: line ${error.line} of ${path} alone exceeds ${limitBytes}-byte limit. ` +
      "The read tool cannot return part of a line, so view_range cannot narrow this further."
    );
  }
  return (
    `read: view_range [${range[0]}, ${range[1]}] of ${path} exceeds ${limitBytes}-byte limit. ` +
    "Narrow the view_range to read a smaller portion."
  );
}
