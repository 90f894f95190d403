import type { SessionEvent } from "../sessions.ts";
import { isObject } from "./reply.ts";

export interface CallTurn {
  readonly id: string;
  readonly name: string;
  readonly input: unknown;
  result: { readonly text: string; readonly isError: boolean } | undefined;
}

/** What was said, by the user or by the model. */
export type Turn =
  | { readonly by: "user"; text: string }
  | { readonly by: "model"; readonly text: string[]; readonly calls: CallTurn[] };

/** A session as a model is told of it, with what it has used. */
export interface Conversation {
  readonly turns: readonly Turn[];
  /** Of the user. */
  readonly messages: number;
  /** Since the user's last message. */
  readonly requests: number;
  /** When the model was first asked since then, in milliseconds since 1970. */
  readonly begunAt: number | undefined;
  /** Read and written, over all of the session. */
  readonly tokens: number;
}

/** Made of a session's events alone: a queue that was restarted goes on where it stopped. */
export function conversationOf(events: readonly SessionEvent[]): Conversation {
  const turns: Turn[] = [];
  const calls = new Map<unknown, CallTurn>();
  let model: Extract<Turn, { by: "model" }> | undefined;
  let [messages, requests, tokens] = [0, 0, 0];
  let begunAt: number | undefined;
  const said: string[] = [];
  /** What the user said while the model was answering, or its calls were made, comes after all of that. */
  const hear = (): void => {
    if (said.length === 0) return;
    const text = said.splice(0).join("\n\n");
    const last = turns.at(-1);
    if (last?.by === "user") last.text += `\n\n${text}`;
    else turns.push({ by: "user", text });
  };
  for (const event of events) {
    switch (event.type) {
      case "user.message":
        said.push(textOf(event));
        messages += 1;
        requests = 0;
        begunAt = undefined;
        break;
      case "span.model_request_start":
        hear();
        begunAt ??= Date.parse(String(event["processed_at"]));
        break;
      case "span.model_request_end": {
        requests += 1;
        const usage = isObject(event["model_usage"]) ? event["model_usage"] : {};
        tokens += Number(usage["input_tokens"] ?? 0) + Number(usage["output_tokens"] ?? 0);
        model = undefined;
        break;
      }
      case "agent.message":
      case "agent.tool_use":
      case "agent.custom_tool_use": {
        if (model === undefined) {
          model = { by: "model", text: [], calls: [] };
          turns.push(model);
        }
        if (event.type === "agent.message") model.text.push(textOf(event));
        else {
          const call = { id: event.id, name: String(event["name"]), input: event["input"], result: undefined };
          calls.set(event.id, call);
          model.calls.push(call);
        }
        break;
      }
      case "user.tool_result":
      case "user.custom_tool_result": {
        const call = calls.get(event["tool_use_id"] ?? event["custom_tool_use_id"]);
        if (call !== undefined) call.result = { text: textOf(event), isError: event["is_error"] === true };
        break;
      }
      case "user.tool_confirmation": {
        const call = calls.get(event["tool_use_id"]);
        const why = event["deny_message"];
        if (call !== undefined && event["result"] === "deny")
          call.result = { text: `not permitted${typeof why === "string" ? `: ${why}` : ""}`, isError: true };
      }
    }
  }
  hear();
  return { turns, messages, requests, begunAt, tokens };
}

/** The text of an event's blocks. */
function textOf(event: SessionEvent): string {
  const content: unknown[] = Array.isArray(event["content"]) ? event["content"] : [];
  return content
    .map((block) => (isObject(block) && typeof block["text"] === "string" ? block["text"] : "[no text]"))
    .join("\n");
}

/** A call's answer, or that there was none. */
export function resultOf({ result }: CallTurn): { readonly text: string; readonly isError: boolean } {
  return result ?? { text: "not answered: the call was canceled", isError: true };
}
