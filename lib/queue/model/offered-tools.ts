import { definitions } from "../../tools/definitions.ts";
import type { ToolDefinition } from "../../tools/tool.ts";
import { isObject } from "./reply.ts";

/** A tool that a session's model may call. */
export interface OfferedTool {
  readonly definition: ToolDefinition;
  /** Answered by another client than the worker. */
  readonly isCustom: boolean;
  readonly permission: "allow" | "ask";
}

export class UnknownTools extends Error {
  override readonly name = "UnknownTools";
}

/**
 * What an agent's `tools` offer: of the toolset all six, unless its configs say otherwise, and custom tools.
 *
 * @throws UnknownTools for what this queue cannot offer, or a setting that it does not know
 */
export function offeredTools(tools: readonly unknown[] = [{ type: "agent_toolset_20260401" }]): readonly OfferedTool[] {
  return tools.flatMap((tool, index) => {
    const where = `agent.tools.${index}`;
    if (!isObject(tool)) throw new UnknownTools(`${where} is no object`);
    if (tool["type"] === "agent_toolset_20260401") return toolset(tool, where);
    if (tool["type"] !== "custom") throw new UnknownTools(`${where}.type must be agent_toolset_20260401 or custom`);
    const { name, description = "", input_schema: schema = { type: "object", properties: {} } } = tool;
    if (typeof name !== "string" || name === "" || typeof description !== "string" || !isObject(schema))
      throw new UnknownTools(`${where} needs name, description and input_schema`);
    const definition = { name, description, input_schema: schema as unknown as ToolDefinition["input_schema"] };
    return [{ definition, isCustom: true, permission: "allow" as const }];
  });
}

function toolset({ configs, default_config: usual }: Record<string, unknown>, where: string): readonly OfferedTool[] {
  const each = new Map<string, unknown>();
  for (const config of Array.isArray(configs) ? (configs as unknown[]) : []) {
    const name = isObject(config) ? config["name"] : undefined;
    if (typeof name !== "string" || !Object.hasOwn(definitions, name))
      throw new UnknownTools(`${where}.configs names a tool that there is not: ${JSON.stringify(name)}`);
    each.set(name, config);
  }
  return Object.values(definitions).flatMap((definition) => {
    const [own, all] = [each.get(definition.name), usual].map((config) => (isObject(config) ? config : {}));
    const enabled = own?.["enabled"] ?? all?.["enabled"] ?? true;
    if (typeof enabled !== "boolean") throw new UnknownTools(`${where}: enabled must be true or false`);
    const policy = own?.["permission_policy"] ?? all?.["permission_policy"] ?? { type: "always_allow" };
    const type = isObject(policy) ? policy["type"] : undefined;
    if (type !== "always_allow" && type !== "always_ask")
      throw new UnknownTools(`${where}: permission_policy.type must be always_allow or always_ask`);
    const permission = type === "always_allow" ? ("allow" as const) : ("ask" as const);
    return enabled ? [{ definition, isCustom: false, permission }] : [];
  });
}
