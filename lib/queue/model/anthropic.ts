import { resultOf, type Turn } from "./conversation.ts";
import type { ModelInterface } from "./interface.ts";
import { argumentsOf, checkReply, countOf, isObject, UnusableAnswer } from "./reply.ts";

/** The interface asks for a number. */
const usualAnswerTokens = 8192;

/** Messages (docs.anthropic.com/en/api/messages). */
export const anthropic: ModelInterface = {
  path(given) {
    if (given.endsWith("/messages")) return given;
    return `${given.endsWith("/v1") ? given : `${given}/v1`}/messages`;
  },
  fields: ["anthropic-version: 2023-06-01"],
  body({ model, system, tools, turns }, answerTokens = usualAnswerTokens) {
    return { model, max_tokens: answerTokens, system, tools, messages: messagesOf(turns) };
  },
  reply(answer) {
    const { content } = answer;
    if (!Array.isArray(content)) throw new UnusableAnswer("it has no content");
    const blocks = content.filter(isObject);
    const calls = blocks
      .filter(({ type }) => type === "tool_use")
      .map(({ name, input }) => {
        if (typeof name !== "string") throw new UnusableAnswer("one of its tool_use blocks has no name");
        return argumentsOf(name, input);
      });
    const usage = isObject(answer["usage"]) ? answer["usage"] : {};
    const read = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
    const reason = answer["stop_reason"];
    return checkReply({
      text: blocks.flatMap(({ type, text }) => (type === "text" && typeof text === "string" ? [text] : [])).join("\n"),
      calls,
      ending: reason === "refusal" ? "refusal" : reason === "max_tokens" ? "length" : "done",
      inputTokens: read.reduce((sum, name) => sum + countOf(usage[name]), 0),
      outputTokens: countOf(usage["output_tokens"]),
    });
  },
};

interface Message {
  readonly role: "user" | "assistant";
  readonly content: object[];
}

/** Results are the user's, before what the user says. */
function messagesOf(turns: readonly Turn[]): Message[] {
  const messages: Message[] = [];
  const say = (role: Message["role"], blocks: readonly object[]): void => {
    const last = messages.at(-1);
    if (last?.role === role) last.content.push(...blocks);
    else messages.push({ role, content: [...blocks] });
  };
  const texts = (text: string): object[] => (text === "" ? [] : [{ type: "text", text }]);
  for (const turn of turns) {
    if (turn.by === "user") {
      say("user", texts(turn.text));
      continue;
    }
    say("assistant", [
      ...texts(turn.text.join("\n")),
      ...turn.calls.map(({ id, name, input }) => ({ type: "tool_use", id, name, input })),
    ]);
    if (turn.calls.length === 0) continue;
    const results = turn.calls.map((call) => {
      const { text, isError } = resultOf(call);
      return { type: "tool_result", tool_use_id: call.id, content: text, is_error: isError };
    });
    say("user", results);
  }
  return messages;
}
