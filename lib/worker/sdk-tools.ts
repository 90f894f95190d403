import type { BetaRunnableTool } from "@anthropic-ai/sdk/lib/tools/BetaRunnableTool";
import { ToolError } from "@anthropic-ai/sdk/lib/tools/ToolError";
import type { ToolRunner } from "../tools/toolset.ts";
import type { WorkerLog } from "./log.ts";

/** Our tools in the shape of the SDK's session runner. */
export function sdkTools(tools: ToolRunner, log: WorkerLog, session: string, afterCall: () => Promise<void>): BetaRunnableTool[] {
  return tools.definitions.map((definition, i) => ({
    type: "custom" as const,
    name: definition.name,
    description: definition.description,
    input_schema: { ...definition.input_schema, required: [...(definition.input_schema.required ?? [])] },
    parse: (input: unknown) => input,
    run: async (input: unknown, context?: { signal?: AbortSignal | null | undefined }) => {
      const began = performance.now();
      const signal = context?.signal ?? new AbortController().signal;
      const result = await tools.run(definition.name, input, signal);
      log.info(
        {
          session,
          tool: definition.name,
          ms: Math.round(performance.now() - began),
          error: result.isError || undefined,
          characters: result.text.length,
        },
        "tool call",
      );
      await afterCall();
      if (result.isError) throw new ToolError(result.text);
      return result.text;
    },
    // The set is closed once, with the first of its tools.
    ...(i === 0 ? { close: () => tools.close() } : {}),
  }));
}
