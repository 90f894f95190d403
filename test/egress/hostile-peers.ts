import { once } from "node:events";
import type { ClientHttp2Session } from "node:http2";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { ExecutionContext } from "ava";
import { failureAnswer } from "../../lib/egress/answer.ts";
import { Http1 } from "../../lib/egress/http1.ts";
import { Http2, type InspectedHttp2Flow, sessionOn } from "../../lib/egress/http2.ts";
import { Unreachable } from "../../lib/egress/inspected-flow.ts";
import { LeakFlow } from "../../lib/egress/leak-flow.ts";
import { LeakFault } from "../../lib/egress/leaks.ts";
import { Origin } from "../../lib/egress/origin.ts";
import { type TimeLimits, timeLimits } from "../../lib/egress/time-limits.ts";

export interface Front {
  readonly port: number;
  readonly flow: InspectedHttp2Flow;
  /** The ends of the clients' connections that the reader of HTTP has. */
  readonly clients: readonly Socket[];
  /** The connections that its server got. */
  readonly servers: readonly Socket[];
}

/**
 * The reader of HTTP as it stands in a gateway, before a server that does what a test wants; requests for `/no…` are refused.
 *
 * @param serve what the server does with a connection
 */
export async function startFront(
  t: ExecutionContext,
  serve: (socket: Socket) => void,
  options: { readonly limits?: Partial<TimeLimits>; readonly h2?: boolean; readonly leaks?: LeakFlow } = {},
): Promise<Front> {
  const limits = { ...timeLimits, ...options.limits };
  const servers: Socket[] = [];
  const clients: Socket[] = [];
  const listen = async (take: (socket: Socket) => void): Promise<number> => {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {});
      take(socket);
    });
    server.listen(0, "127.0.0.1", 2048);
    await once(server, "listening");
    t.teardown(() => void server.close());
    return (server.address() as AddressInfo).port;
  };
  const serverPort = await listen((socket) => {
    servers.push(socket);
    serve(socket);
  });
  let session: Promise<ClientHttp2Session> | undefined;
  const leaks = options.leaks ?? LeakFlow.unrecorded();
  const flow: InspectedHttp2Flow = {
    ...{ scheme: "http", host: "h.test", port: 80, encodedSlash: false, credentials: null },
    leaks,
    last: {},
    streams: new Set(),
    judge: (request, found) => {
      if (request.path.startsWith("/no")) return failureAnswer(403, "policy_denied", "no");
      return found instanceof LeakFault ? leaks.refuse(found, request) : undefined;
    },
    malformed: () => {},
    protocolOf: () => "rest",
    take: () => undefined,
    release: ({ socket }) => void socket.destroy(),
    open: () =>
      new Promise((resolve, reject) => {
        const socket = connect({ port: serverPort, host: "127.0.0.1", allowHalfOpen: true });
        socket.once("connect", () => resolve(new Origin(socket)));
        socket.once("error", (error) => reject(new Unreachable(failureAnswer(502, "unreachable", error.message))));
      }),
    session: () => {
      session ??= (async () => {
        const made = sessionOn(connect(serverPort, "127.0.0.1") as TLSSocket, "127.0.0.1", serverPort);
        made.once("close", () => {
          session = undefined;
        });
        t.teardown(() => made.destroy());
        await once(made, "connect");
        return made;
      })();
      return session;
    },
  };
  const port = await listen((client) => {
    clients.push(client);
    if (options.h2 === true) new Http2(client as TLSSocket, flow, limits);
    else new Http1(client, flow, { limits });
  });
  t.teardown(() => {
    for (const socket of [...clients, ...servers]) socket.destroy();
  });
  return { port, flow, clients, servers };
}

export interface Said {
  readonly text: string;
  /** The connection ended by a reset, or in the middle. */
  readonly wasReset: boolean;
}

/** A client that says something and listens until the connection ends. */
export async function say(
  port: number,
  text: string | Buffer,
  { end = false }: { readonly end?: boolean } = {},
): Promise<Said> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const parts: Buffer[] = [];
  let wasReset = false;
  socket.on("data", (part: Buffer) => parts.push(part));
  socket.on("error", () => {
    wasReset = true;
  });
  socket.on("end", () => socket.end());
  if (end) socket.end(text);
  else socket.write(text);
  await new Promise((resolve) => socket.once("close", resolve));
  return { text: Buffer.concat(parts).toString("latin1"), wasReset };
}

export function get(path: string, ...fields: readonly string[]): string {
  return [`GET ${path} HTTP/1.1`, "Host: h.test", ...fields, "", ""].join("\r\n");
}

export function statusOf({ text }: Said): number {
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0);
}

/** Serves a request after the other, each with its path. */
export function echo(socket: Socket): void {
  let held = "";
  socket.on("data", (chunk: Buffer) => {
    held += chunk.toString("latin1");
    for (let end = held.indexOf("\r\n\r\n"); end >= 0; end = held.indexOf("\r\n\r\n")) {
      const path = held.split(" ", 2)[1] ?? "";
      held = held.slice(end + 4);
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`);
    }
  });
  socket.on("end", () => socket.end());
}
