import type { SessionResults } from "../queue/client.ts";

/** One line of a session for people. */
export function describeEvent(event: Readonly<Record<string, unknown>>): string {
  const type = String(event["type"]);
  switch (type) {
    case "agent.tool_use":
    case "agent.custom_tool_use":
      return `→ ${event["name"]} ${clip(JSON.stringify(event["input"]))}\n`;
    case "user.tool_result":
    case "user.custom_tool_result":
      return `← ${event["is_error"] === true ? "error: " : ""}${clip(textOf(event))}\n`;
    case "agent.message":
    case "user.message":
      return `${type === "agent.message" ? "agent" : "user"}: ${clip(textOf(event))}\n`;
    case "session.error":
      return `! ${clip(String((event["error"] as { message?: unknown } | undefined)?.message))}\n`;
    case "span.model_request_start":
    case "span.model_request_end":
      return "";
    default:
      return `· ${type}\n`;
  }
}

export function describeResults(results: SessionResults): string {
  const passed = results.calls.filter((call) => call.passed === true).length;
  return `${results.session_id}  ${results.outcome.padEnd(8)} ${passed}/${results.calls.length} calls  ${results.title}`;
}

export function clip(text: string): string {
  return text.length > 400 ? `${text.slice(0, 400)}…` : text;
}

function textOf(event: Readonly<Record<string, unknown>>): string {
  const content = Array.isArray(event["content"]) ? event["content"] : [];
  return content.map((block: { text?: unknown }) => (typeof block.text === "string" ? block.text : "[…]")).join("\n");
}
