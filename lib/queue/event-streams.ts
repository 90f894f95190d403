import type { ServerResponse } from "node:http";
import type { SessionEvent } from "./sessions.ts";

const pingMs = 15_000;
/** A follower that does not read this much is cut off; it can connect again and read the history. */
const maxPendingBytes = 32 * 1024 * 1024;

/** Who follows which session's events (protocol section 7). */
export class EventStreams {
  readonly #followers = new Map<string, Set<ServerResponse>>();
  readonly #ping: NodeJS.Timeout;

  constructor() {
    this.#ping = setInterval(() => this.#writeToAll('event: ping\ndata: {"type":"ping"}\n\n'), pingMs);
    this.#ping.unref();
  }

  /** Answers with a stream of a session's events from now on. */
  open(sessionId: string, response: ServerResponse): void {
    response.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
    });
    response.flushHeaders();
    const followers = this.#followers.get(sessionId) ?? new Set();
    this.#followers.set(sessionId, followers.add(response));
    response.on("close", () => {
      followers.delete(response);
      if (followers.size === 0 && this.#followers.get(sessionId) === followers) this.#followers.delete(sessionId);
    });
  }

  send(sessionId: string, event: SessionEvent): void {
    const followers = this.#followers.get(sessionId);
    if (followers === undefined) return;
    const text = `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
    for (const response of followers) write(response, text);
  }

  close(): void {
    clearInterval(this.#ping);
    for (const followers of this.#followers.values()) for (const response of followers) response.destroy();
    this.#followers.clear();
  }

  #writeToAll(text: string): void {
    for (const followers of this.#followers.values()) for (const response of followers) write(response, text);
  }
}

function write(response: ServerResponse, text: string): void {
  if (response.writableLength > maxPendingBytes) response.destroy();
  else response.write(text);
}
