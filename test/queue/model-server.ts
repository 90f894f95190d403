import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { ExecutionContext } from "ava";

export interface Asked {
  readonly path: string;
  readonly headers: Readonly<IncomingMessage["headers"]>;
  readonly body: {
    readonly model: string;
    readonly messages: readonly Readonly<Record<string, unknown>>[];
    readonly tools: readonly Readonly<Record<string, unknown>>[];
    readonly [field: string]: unknown;
  };
}

/** What a model says: an answer of its interface, or what it does with the connection. */
export type Said = object | ((response: ServerResponse, asked: Asked) => void);

/** A server of models that says what is scripted, by the task that it is asked to do. */
export async function modelServer(
  t: ExecutionContext,
  scripts: Readonly<Record<string, readonly Said[]>>,
): Promise<{ readonly url: string; asked(task: string): readonly Asked[] }> {
  const asked = new Map<string, Asked[]>();
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const part of request) text += part;
    const body = JSON.parse(text || "{}") as Asked["body"];
    const first = body.messages?.find(({ role }) => role === "user")?.["content"];
    const task = typeof first === "string" ? first : ((first as { text: string }[] | undefined)?.[0]?.text ?? "");
    const own = asked.get(task) ?? [];
    asked.set(task, own);
    const one = { path: request.url ?? "", headers: request.headers, body };
    own.push(one);
    const script = scripts[task] ?? [];
    // The last is said again and again.
    const said = script[Math.min(own.length, script.length) - 1] ?? {};
    if (typeof said === "function") said(response, one);
    else response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(said));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked: (task) => asked.get(task) ?? [],
  };
}

/** A chat completion. */
export function completion(
  content: string | null,
  calls: readonly (readonly [name: string, given: unknown])[] = [],
  more: { readonly finish_reason?: string; readonly usage?: object } = {},
): object {
  const tool_calls = calls.map(([name, given], index) => ({
    ...{ id: `call_${index}`, type: "function" },
    function: { name, arguments: typeof given === "string" ? given : JSON.stringify(given) },
  }));
  const message = { role: "assistant", content, ...(calls.length === 0 ? {} : { tool_calls }) };
  const { finish_reason = calls.length === 0 ? "stop" : "tool_calls", usage } = more;
  return {
    choices: [{ index: 0, message, finish_reason }],
    usage: usage ?? { prompt_tokens: 10, completion_tokens: 5 },
  };
}

/** An answer of another status. */
export function refused(status: number, body: string, headers: Readonly<Record<string, string>> = {}): Said {
  return (response) => response.writeHead(status, headers).end(body);
}
