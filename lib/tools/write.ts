import type { PathRules, SandboxFiles, WriteOutcome } from "../sandbox/types.ts";
import { definitions } from "./definitions.ts";
import { fileErrorText, outsideText, refuseNul, unresolvedText } from "./paths.ts";
import { optionalString, requiredString, type Tool, ToolError } from "./tool.ts";
import type { Turns } from "./turns.ts";

export interface WriteToolOptions {
  readonly files: SandboxFiles;
  readonly rules: PathRules;
  /** Shared with `edit`, so that no edit writes back over a write that came in between. */
  readonly turns: Turns;
}

/** The tool `write`: a file replaced as a whole, or made, with its missing parent folders. */
export function createWriteTool({ files, rules, turns }: WriteToolOptions): Tool {
  return {
    definition: definitions.write,
    async run(input) {
      const path = requiredString("write", input, "file_path");
      const content = Buffer.from(optionalString("write", input, "content") ?? "", "utf8");
      refuseNul(path);
      await turns.run(async () => refuseUnwritten("write", path, rules, await files.write(path, content, rules)));
      return `wrote ${content.length} bytes to ${path}`;
    },
  };
}

/** Throws the text of a write that did not happen. `failure` stands before the words of a failed system call. */
export function refuseUnwritten(
  tool: string,
  path: string,
  rules: PathRules,
  outcome: WriteOutcome,
  failure: string = tool,
): void {
  switch (outcome.kind) {
    case "written":
      return;
    case "outside":
      throw new ToolError(outsideText(path, rules));
    case "read-only":
      throw new ToolError(`${tool}: ${path} is inside read-only directory ${outcome.root}`);
    case "directory":
      throw new ToolError(fileErrorText(failure, path, "EISDIR"));
    case "other":
      throw new ToolError(`${tool}: ${path} is not a regular file`);
    case "error":
      throw new ToolError(
        outcome.resolving ? unresolvedText(path, outcome.errno) : fileErrorText(failure, path, outcome.errno),
      );
  }
}
