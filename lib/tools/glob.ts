import { definitions } from "./definitions.ts";
import { BadSearchPattern, outOfTimeLine, runSearch, type SearchOptions } from "./search.ts";
import { optionalString, requiredString, type Tool, ToolError } from "./tool.ts";

/** The tool `glob`: the paths of regular files that match a pattern, newest first. */
export function createGlobTool(options: SearchOptions): Tool {
  return {
    definition: definitions.glob,
    async run(input, signal) {
      const pattern = requiredString("glob", input, "pattern");
      const path = optionalString("glob", input, "path");
      if (pattern.startsWith("/")) {
        throw new ToolError("glob: absolute pattern not permitted; pass a relative pattern (and optionally path)");
      }
      if (pattern.split(/[\\/{},]/).includes("..")) throw new ToolError('glob: ".." is not permitted in the pattern');
      try {
        const { lines, end } = await runSearch(options, { tool: "glob", pattern, path, signal });
        const all = end === "out-of-time" ? [...lines, outOfTimeLine("glob", lines, options.timeoutMs)] : lines;
        return all.length === 0 ? "no matches" : all.join("\n");
      } catch (error) {
        throw error instanceof BadSearchPattern ? new ToolError(`glob: ${error.message}`) : error;
      }
    },
  };
}
