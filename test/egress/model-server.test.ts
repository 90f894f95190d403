import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import test, { type ExecutionContext } from "ava";
import { ModelServer } from "../../lib/egress/model-server.ts";

interface Place {
  readonly server: ModelServer;
  /** Connections that were made. */
  readonly connections: Socket[];
  /** Asks, and reads the answer's whole text. */
  ask(text: string): Promise<string>;
}

async function open(t: ExecutionContext, answer: (text: string, response: ServerResponse) => void): Promise<Place> {
  const connections: Socket[] = [];
  const http = createServer(async (request: IncomingMessage, response) => {
    let text = "";
    for await (const part of request) text += part;
    answer(text, response);
  });
  // It is the client that lets go.
  http.keepAliveTimeout = 0;
  http.on("connection", (socket: Socket) => connections.push(socket));
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const { port } = http.address() as AddressInfo;
  const server = new ModelServer({
    ...{ family: "openai", url: `http://127.0.0.1:${port}/base`, timeoutMs: 5000, key: undefined },
    dial: (host, to) =>
      new Promise((resolve) => {
        const socket = connect({ host, port: to, allowHalfOpen: true }, () => resolve(socket));
      }),
  });
  t.teardown(() => {
    server.close();
    http.closeAllConnections();
    http.close();
  });
  return {
    ...{ server, connections },
    async ask(text) {
      const request = { method: "POST", target: "/v1/x", fields: [], body: Buffer.from(text) };
      const { body } = await server.ask(request, new AbortController().signal);
      let all = "";
      for await (const chunk of body) all += chunk.toString();
      // A connection is free in the turn after.
      await new Promise(setImmediate);
      return all;
    },
  };
}

test("One connection carries one request after the other, whatever their answers' framing", async (t) => {
  const { ask, connections } = await open(t, (text, response) => {
    if (text === "none") return void response.writeHead(204).end();
    if (text === "chunked") response.write("in ");
    response.end(`answer to ${text}`);
  });
  t.is(await ask("length"), "answer to length");
  t.is(await ask("chunked"), "in answer to chunked");
  t.is(await ask("none"), "");
  t.is(await ask("large".repeat(100_000)), `answer to ${"large".repeat(100_000)}`);
  t.is(connections.length, 1);
});

test("A connection whose server closes it, or says something unasked, is not used again", async (t) => {
  const { ask, connections } = await open(t, (text, response) => {
    if (text === "last") response.setHeader("Connection", "close");
    const { socket } = response;
    response.end(text);
    if (text === "more") response.once("finish", () => release.then(() => socket?.write(unasked)));
  });
  const { promise: release, resolve: say } = Promise.withResolvers<void>();
  const unasked = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nwrong!";
  await ask("last");
  await ask("more");
  const dropped = once(connections[1] as Socket, "close");
  say();
  await dropped;
  t.is(await ask("right"), "right");
  t.is(connections.length, 3);
});

test("A request that an idle connection's server had closed on is sent once more; one that was begun to be answered is not", async (t) => {
  let deaf = 0;
  const { ask, connections } = await open(t, (text, response) => {
    // A server that closes at the moment at which the request comes, as one does whose idle time is over.
    if (text === "late" && connections.length === 1) return void response.socket?.destroy();
    if (text === "begun") return void response.socket?.end("HTTP/1.1 200 ");
    if (text === "deaf") {
      deaf += 1;
      return void response.socket?.destroy();
    }
    response.end(text);
  });
  await ask("first");
  t.is(await ask("late"), "late");
  t.is(connections.length, 2);
  await t.throwsAsync(ask("begun"), { message: "it closes the connection without an answer" });
  t.is(connections.length, 2);
  await ask("first");
  await t.throwsAsync(ask("deaf"), { message: "it closes the connection without an answer" });
  t.is(deaf, 2, "once more, and no oftener");
});

test("What is abandoned in the middle of an answer ends its connection", async (t) => {
  const { server, ask, connections } = await open(t, (text, response) => {
    if (text === "endless") response.write("and so on");
    else response.end(text);
  });
  await ask("first");
  const abort = new AbortController();
  const request = { method: "POST", target: "/", fields: [], body: Buffer.from("endless") };
  const { body } = await server.ask(request, abort.signal);
  await body.next();
  abort.abort();
  await t.throwsAsync(body.next());
  t.is(await ask("second"), "second");
  t.is(connections.length, 2);
});
