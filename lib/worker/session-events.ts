import type { Anthropic } from "@anthropic-ai/sdk";
import { EventStreamDecoder } from "./event-stream.ts";
import { readEvent, type SessionEvent } from "./events.ts";

/** More than any history has; a server that never ends its list is not followed for ever. */
const mostPages = 100_000;

/** The stream was ended by the server with an event `error`, or with something that is not JSON. */
export class StreamFailure extends Error {}

/** An open stream of a session's live events. */
export interface LiveEvents {
  /** Rejects when the connection is lost; ends when the server ends it. */
  [Symbol.asyncIterator](): AsyncIterator<SessionEvent>;
  close(): Promise<void>;
}

/**
 * Opens a session's event stream (protocol section 7). Resolves with the response's head: what happens from then on is
 * in the stream, even before it is read.
 */
export async function openLiveEvents(client: Anthropic, sessionId: string, signal: AbortSignal): Promise<LiveEvents> {
  const response = await client.beta.sessions.events.stream(sessionId, {}, { signal }).asResponse();
  const reader = response.body?.getReader();
  const decoder = new EventStreamDecoder();
  return {
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const chunk = await reader?.read();
        if (chunk === undefined || chunk.done) return;
        for (const { event, data } of decoder.push(chunk.value)) {
          // Without a name the protocol gives an event no meaning.
          if (event === null || event === "ping" || data === "") continue;
          if (event === "error") throw new StreamFailure("the server ended the stream with an error");
          const parsed = readEvent(parse(data));
          if (parsed !== undefined) yield parsed;
        }
      }
    },
    async close() {
      await reader?.cancel().catch(() => {});
    },
  };
}

function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    throw new StreamFailure("the stream held something that is not JSON");
  }
}

/** All events of a session so far, oldest first. */
export async function* readHistory(
  client: Anthropic,
  sessionId: string,
  signal: AbortSignal,
): AsyncGenerator<SessionEvent> {
  let cursor: string | undefined;
  for (let pages = 0; pages < mostPages; pages += 1) {
    // Not as the SDK reads it: to that whatever it cannot make out is an empty page.
    const response = await client.beta.sessions.events
      .list(sessionId, { limit: 1000, ...(cursor === undefined ? {} : { page: cursor }) }, { signal })
      .asResponse();
    const text = await response.text();
    const page = (text === "" ? null : JSON.parse(text)) as { data?: unknown; next_page?: unknown } | null;
    if (page === null) return; // nothing (protocol section 2)
    if (!Array.isArray(page.data)) throw new StreamFailure("a page of the history holds no events");
    for (const item of page.data) {
      const event = readEvent(item);
      if (event !== undefined) yield event;
    }
    const next = page.next_page;
    if (typeof next !== "string" || next === "") return;
    if (next === cursor) throw new StreamFailure("the history names the same page twice");
    cursor = next;
  }
  throw new StreamFailure("the history has no end");
}
