import type { ToolDefinition } from "../../tools/tool.ts";
import type { Turn } from "./conversation.ts";
import type { ModelReply } from "./reply.ts";

export const modelApis = ["openai", "anthropic"] as const;
export type ModelApi = (typeof modelApis)[number];

/** What a model is asked. */
export interface ModelQuestion {
  readonly model: string;
  readonly system: string;
  readonly tools: readonly ToolDefinition[];
  readonly turns: readonly Turn[];
}

/** One family of interfaces: how its servers are asked, and what they answer. */
export interface ModelInterface {
  /** The path of its request, of the path that was given. */
  path(given: string): string;
  /** Lines. */
  readonly fields: readonly string[];
  /** @param answerTokens the most that one answer may have; absent: as the server does */
  body(question: ModelQuestion, answerTokens: number | undefined): object;
  /** @throws UnusableAnswer */
  reply(answer: Readonly<Record<string, unknown>>): ModelReply;
}
