import { definitions } from "./definitions.ts";
import { BadSearchPattern, outOfTimeLine, runSearch, type SearchOptions } from "./search.ts";
import { optionalString, requiredString, type Tool, ToolError } from "./tool.ts";

const OUTPUT_LIMIT = 102_400;

/** The tool `grep`: the lines that match an ECMAScript regular expression. */
export function createGrepTool(options: SearchOptions): Tool {
  return {
    definition: definitions.grep,
    async run(input, signal) {
      const pattern = requiredString("grep", input, "pattern");
      const path = optionalString("grep", input, "path");
      try {
        const { lines, end } = await runSearch(options, { tool: "grep", pattern, path, signal });
        if (end === "truncated") return [...lines, `[output truncated at ${OUTPUT_LIMIT} bytes]`].join("\n");
        if (end === "out-of-time") return [...lines, outOfTimeLine("grep", lines, options.timeoutMs)].join("\n");
        return lines.length === 0 ? "no matches" : lines.join("\n");
      } catch (error) {
        throw error instanceof BadSearchPattern ? new ToolError(`grep: invalid regex: ${error.message}`) : error;
      }
    },
  };
}
