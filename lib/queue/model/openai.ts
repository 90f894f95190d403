import { resultOf, type Turn } from "./conversation.ts";
import type { ModelInterface } from "./interface.ts";
import { argumentsOf, checkReply, countOf, isObject, UnusableAnswer } from "./reply.ts";

/** Chat completions (platform.openai.com/docs/api-reference/chat), as llama.cpp, vLLM, Ollama and others speak them too. */
export const openai: ModelInterface = {
  path(given) {
    if (given.endsWith("/chat/completions")) return given;
    return `${given === "" ? "/v1" : given}/chat/completions`;
  },
  fields: [],
  body({ model, system, tools, turns }, answerTokens) {
    return {
      model,
      messages: [{ role: "system", content: system }, ...turns.flatMap(messagesOf)],
      tools: tools.map(({ name, description, input_schema }) => ({
        type: "function",
        function: { name, description, parameters: input_schema },
      })),
      ...(answerTokens === undefined ? {} : { max_tokens: answerTokens }),
    };
  },
  reply(answer) {
    const [choice]: unknown[] = Array.isArray(answer["choices"]) ? answer["choices"] : [];
    const message = isObject(choice) ? choice["message"] : undefined;
    if (!isObject(choice) || !isObject(message)) throw new UnusableAnswer("it has no choices[0].message");
    const { content, refusal } = message;
    const asked: unknown[] = Array.isArray(message["tool_calls"]) ? message["tool_calls"] : [];
    const calls = asked.map((call) => {
      const made = isObject(call) ? call["function"] : undefined;
      const name = isObject(made) ? made["name"] : undefined;
      if (!isObject(made) || typeof name !== "string")
        throw new UnusableAnswer("one of its tool_calls has no function");
      return argumentsOf(name, made["arguments"]);
    });
    const usage = isObject(answer["usage"]) ? answer["usage"] : {};
    const reason = choice["finish_reason"];
    const isRefusal = reason === "content_filter" || (typeof refusal === "string" && refusal !== "");
    return checkReply({
      text: typeof refusal === "string" && refusal !== "" ? refusal : contentText(content),
      calls,
      ending: isRefusal ? "refusal" : reason === "length" ? "length" : "done",
      inputTokens: countOf(usage["prompt_tokens"]),
      outputTokens: countOf(usage["completion_tokens"]),
    });
  },
};

function contentText(content: unknown): string {
  if (typeof content === "string") return content;
  const parts: unknown[] = Array.isArray(content) ? content : [];
  return parts.map((part) => (isObject(part) && typeof part["text"] === "string" ? part["text"] : "")).join("");
}

function messagesOf(turn: Turn): object[] {
  if (turn.by === "user") return [{ role: "user", content: turn.text }];
  const text = turn.text.join("\n");
  if (turn.calls.length === 0) return [{ role: "assistant", content: text }];
  return [
    {
      role: "assistant",
      content: text === "" ? null : text,
      tool_calls: turn.calls.map(({ id, name, input }) => ({
        ...{ id, type: "function" },
        function: { name, arguments: JSON.stringify(input) },
      })),
    },
    ...turn.calls.map((call) => {
      const { text: result, isError } = resultOf(call);
      // The interface has no other place for it.
      return { role: "tool", tool_call_id: call.id, content: isError ? `error: ${result}` : result };
    }),
  ];
}
