import { Anthropic } from "@anthropic-ai/sdk";
import type { Polls } from "./polls.ts";
import { pause } from "./timings.ts";

/** Kinds of request that a 429 holds back separately. */
type RequestKind = "poll" | "ack" | "heartbeat" | "stop" | "stream" | "history" | "post" | "other";

/** To wait with these as long as a server asks could be to lose the item. */
const urgent: ReadonlySet<RequestKind> = new Set(["ack", "heartbeat", "stop"]);
const never = new AbortController().signal;
/** An acknowledgement that is under way when the worker is asked to end is waited for this long. */
const ackMs = 3000;
const headMs = 60_000;

function kindOf(url: string, method: string): RequestKind {
  const { pathname } = new URL(url);
  if (/\/work\/poll$/.test(pathname)) return "poll";
  const verb = /\/work\/[^/]+\/(ack|heartbeat|stop)$/.exec(pathname)?.[1];
  if (verb === "ack" || verb === "heartbeat" || verb === "stop") return verb;
  if (/\/events\/stream$/.test(pathname)) return "stream";
  if (/\/sessions\/[^/]+\/events$/.test(pathname)) return method === "POST" ? "post" : "history";
  return "other";
}

/** The wait that a response asks for, in milliseconds: `retry-after-ms`, else `retry-after` in seconds or as a date. */
export function retryAfterMs(headers: Headers, now: number = Date.now()): number {
  const ms = Number.parseFloat(headers.get("retry-after-ms") ?? "");
  if (ms > 0) return ms;
  const header = headers.get("retry-after") ?? "";
  const seconds = Number.parseFloat(header);
  const wait = Number.isNaN(seconds) ? Date.parse(header) - now : seconds * 1000;
  return Number.isNaN(wait) ? 0 : Math.max(wait, 0);
}

/** What goes out. The SDK adds to it what ANTHROPIC_CUSTOM_HEADERS says, which may be a second credential. */
const sentHeaders = /^(accept|content-type|user-agent|anthropic-(version|beta|worker-id)|x-stainless-[a-z-]+)$/;

function headersWith(token: string, given: RequestInit["headers"]): Headers {
  const headers = new Headers({ authorization: `Bearer ${token}` });
  for (const [name, value] of new Headers(given)) if (sentHeaders.test(name)) headers.set(name, value);
  return headers;
}

/**
 * What the SDK's client sends its requests with. It sees to this whatever made the request and however often it is tried
 * again: it carries this one credential and no other; it goes to the base URL and nowhere else (a redirect is an answer
 * like any other that is no success); no request of a kind goes out before a `retry-after` of that kind has passed, but
 * for those that an item is held by; an acknowledgement is not cut off half-way, which would leave the item claimed by
 * nobody; and a page is no answer.
 */
export function createFetch(token: string, polls?: Polls): typeof fetch {
  const notBefore = new Map<RequestKind, number>();
  return async (input, init = {}) => {
    const url = input instanceof Request ? input.url : String(input);
    const kind = kindOf(url, init.method ?? "GET");
    const headers = headersWith(token, init.headers);
    const signal = init.signal ?? never;
    for (;;) {
      const soonest = Math.max(notBefore.get(kind) ?? 0, kind === "poll" ? (polls?.notBefore ?? 0) : 0);
      const left = soonest - performance.now();
      if (left <= 0) break;
      await pause(left, signal);
      signal.throwIfAborted();
    }
    let response: Response;
    try {
      response = await fetch(input, {
        ...init,
        headers,
        redirect: "manual",
        ...(kind === "ack" ? { signal: lasting(signal) } : {}),
      });
    } catch (error) {
      if (kind === "poll" && !signal.aborted) polls?.noAnswer(error);
      throw error;
    }
    if (!urgent.has(kind) && (response.status === 429 || response.status >= 500)) {
      const wait = retryAfterMs(response.headers);
      if (wait > 0) notBefore.set(kind, performance.now() + wait);
    }
    if (isPage(response)) {
      await response.body?.cancel();
      const error = new Error("the answer is a page for people");
      if (kind === "poll") polls?.noAnswer(error);
      throw error;
    }
    if (polls === undefined) return response;
    if (kind === "ack") polls.acknowledged(response.status);
    return kind === "poll" ? await polls.read(response) : response;
  };
}

/** What a proxy shows people, with a status that says success: the service has not seen the request. */
function isPage({ ok, headers }: Response): boolean {
  return ok && /^text\/html\b/i.test(headers.get("content-type") ?? "");
}

/** Aborts some time after `signal` does. */
function lasting(signal: AbortSignal): AbortSignal {
  if (signal.aborted) return signal;
  const later = new AbortController();
  const end = (): void => {
    setTimeout(() => later.abort(signal.reason), ackMs).unref();
  };
  signal.addEventListener("abort", end, { once: true });
  return later.signal;
}

/**
 * A client of the SDK that carries exactly one credential, whatever the environment holds, and logs nothing.
 *
 * @param polls sees to what a poller gets
 */
export function createClient(token: string, baseUrl: string | undefined, polls?: Polls): Anthropic {
  return new Anthropic({
    apiKey: null,
    authToken: token,
    ...(baseUrl === undefined ? {} : { baseURL: baseUrl }),
    // Its debug log prints bodies, and an item's secret is in one.
    logLevel: "off",
    // To the head of the answer. The SDK's ten minutes would keep a session's result back as long.
    timeout: headMs,
    fetch: createFetch(token, polls),
  });
}
