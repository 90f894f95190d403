/** An event of a session, as far as it could be read: an object with a type. Every other field may be anything. */
export interface SessionEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** A call that the model makes. */
export interface ToolUse {
  readonly id: string;
  readonly name: string;
  readonly input: unknown;
  /** A tool of an application's own, which a worker has none of. */
  readonly custom: boolean;
  /** `evaluated_permission`; undefined when absent. */
  readonly permission: unknown;
  readonly thread: string | undefined;
}

export function readEvent(value: unknown): SessionEvent | undefined {
  if (typeof value !== "object" || value === null || !("type" in value) || typeof value.type !== "string") {
    return undefined;
  }
  return value as SessionEvent;
}

export function textField(event: SessionEvent, name: string): string | undefined {
  const value = event[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}

export function readToolUse(event: SessionEvent): ToolUse | undefined {
  if (event.type !== "agent.tool_use" && event.type !== "agent.custom_tool_use") return undefined;
  const id = textField(event, "id");
  const name = textField(event, "name");
  if (id === undefined || name === undefined) return undefined;
  return {
    id,
    name,
    input: event["input"],
    custom: event.type === "agent.custom_tool_use",
    permission: event["evaluated_permission"],
    thread: textField(event, "session_thread_id"),
  };
}

/** The call that a result answers. */
export function answeredCall(event: SessionEvent): string | undefined {
  if (event.type === "user.tool_result") return textField(event, "tool_use_id");
  if (event.type === "user.custom_tool_result") return textField(event, "custom_tool_use_id");
  return undefined;
}

/** Whether the session is over for good. */
export function endsSession(event: SessionEvent): boolean {
  return event.type === "session.status_terminated" || event.type === "session.deleted";
}

/** Whether the model's turn is over. `requires_action` alone leaves it open: the session waits for a client. */
export function endsTurn(event: SessionEvent): boolean {
  if (event.type !== "session.status_idle") return false;
  const reason = event["stop_reason"];
  return !(typeof reason === "object" && reason !== null && "type" in reason && reason.type === "requires_action");
}

/**
 * Whether the idle countdown is left as it is: a verdict acts through the call that it releases, and a thread may end
 * after the last idle event, when no other would start the countdown again.
 */
export function isIdleNeutral(event: SessionEvent): boolean {
  return event.type === "user.tool_confirmation" || event.type === "session.thread_status_terminated";
}
