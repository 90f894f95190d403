import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import test, { type ExecutionContext } from "ava";
import { Downstream, join, Relays } from "../../lib/egress/carry.ts";
import { Upstream } from "../../lib/egress/upstream.ts";

async function portOf(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

interface Carrier {
  readonly port: number;
  readonly relays: Relays;
  /** The client's end of the last that was carried, as the gateway has it. */
  readonly last: Promise<Socket>;
}

/** Carries each connection to the server. @param before what is done to it before it is carried on */
async function carrier(
  t: ExecutionContext,
  server: Server | number,
  before: (client: Socket) => Promise<void> | void = () => {},
): Promise<Carrier> {
  const serverPort = typeof server === "number" ? server : await portOf(server);
  const relays = new Relays();
  const { promise: last, resolve } = Promise.withResolvers<Socket>();
  const proxy = createServer({ allowHalfOpen: true, pauseOnConnect: true }, async (client) => {
    const downstream = new Downstream(client);
    const { signal } = new AbortController();
    const upstream = await new Upstream({}).dial("127.0.0.1", ["127.0.0.1"], serverPort, signal, downstream.dial);
    client.on("error", () => {});
    upstream.on("error", () => {});
    join(client, upstream, downstream);
    await before(client);
    relays.carry(client, upstream, downstream);
    resolve(client);
  });
  const port = await portOf(proxy);
  t.teardown(() => {
    if (typeof server !== "number") server.close();
    proxy.close();
  });
  return { port, relays, last };
}

const counted = Buffer.alloc(16 * 1024 * 1024);
for (let at = 0; at < counted.length; at += 4) counted.writeUInt32LE(at, at);

test("What a server says arrives as it was said, however slowly it is read", async (t) => {
  const { port } = await carrier(
    t,
    createServer((socket) => socket.end(counted)),
  );
  let at = 0;
  for await (const part of connect(port, "127.0.0.1")) {
    if (!counted.subarray(at, at + part.length).equals(part)) return t.fail(`other bytes after ${at}`);
    at += part.length;
    await setImmediate();
  }
  t.is(at, counted.length);
});

test("What a client ends is ended for its server, which may still answer", async (t) => {
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    const parts: Buffer[] = [];
    for await (const part of socket) {
      parts.push(part);
      await setImmediate();
    }
    socket.end(Buffer.concat(parts).equals(counted) ? "all of it" : "something else");
  });
  const { port } = await carrier(t, server);
  const client = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  client.end(counted);
  t.is(await text(client), "all of it");
});

test("What was said while a connection was looked at comes first, both ways", async (t) => {
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    socket.write("ready, ");
    socket.end(await text(socket));
  });
  const { port } = await carrier(t, server, async (client) => {
    const [first] = await once(client.resume(), "data");
    client.pause();
    client.unshift(first);
  });
  const client = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const [greeting] = await once(client, "data");
  client.write("first, ");
  const [again] = await Promise.race([once(client, "data"), setImmediate([""])]);
  client.end("last");
  t.is(`${greeting}${again}${await text(client)}`, "ready, first, last");
});

test("What passes unread does not wait for the loop", async (t) => {
  const turns = new Int32Array(new SharedArrayBuffer(4));
  // A server, and a client that says the next thing when it hears of the last, on a thread of their own.
  const worker = new Worker(
    `const { connect, createServer } = require("node:net");
     const { parentPort, workerData: turns } = require("node:worker_threads");
     const server = createServer((socket) => socket.pipe(socket)).listen(0, "127.0.0.1", () => {
       parentPort.postMessage(server.address().port);
       parentPort.once("message", (port) => {
         const client = connect({ port, host: "127.0.0.1" }, () => client.write("!"));
         client.on("data", () => {
           if (Atomics.add(turns, 0, 1) === 0) parentPort.postMessage("joined");
           Atomics.notify(turns, 0);
           client.write("!");
         });
       });
     });`,
    { eval: true, workerData: turns },
  );
  t.teardown(() => worker.terminate());
  const [serverPort] = await once(worker, "message");
  const { port } = await carrier(t, serverPort);
  worker.postMessage(port);
  await once(worker, "message");
  const begun = Atomics.load(turns, 0);
  const deadline = performance.now() + 20_000;
  // This thread stands still.
  for (let now = begun; now < begun + 20 && performance.now() < deadline; now = Atomics.load(turns, 0))
    Atomics.wait(turns, 0, now, 1000);
  t.true(Atomics.load(turns, 0) >= begun + 20);
});

test("A connection that is reset at one end is reset at the other", async (t) => {
  const accepted = Promise.withResolvers<Socket>();
  const { port } = await carrier(
    t,
    createServer((socket) => accepted.resolve(socket.on("error", () => {}))),
  );
  const client = connect(port, "127.0.0.1");
  client.write("x");
  const server = await accepted.promise;
  await once(server, "data");
  server.resetAndDestroy();
  const [error] = await once(client, "error");
  t.is(error.code, "ECONNRESET");
});

test("A connection that is cut passes nothing any more from that moment on, and both ends hear of it", async (t) => {
  const accepted = Promise.withResolvers<Socket>();
  const { port, relays, last } = await carrier(
    t,
    createServer((socket) => accepted.resolve(socket)),
  );
  const client = connect(port, "127.0.0.1");
  client.write("x");
  const server = await accepted.promise;
  await once(server, "data");
  const carried = await last;
  const ends = [client, server].map((socket) => once(socket, "error"));
  let heard = 0;
  client.on("data", (part) => (heard += part.length));
  relays.reset(carried);
  // By then it stands reset in the kernel: nothing of this goes on.
  server.write("too late");
  const codes = (await Promise.all(ends)).map(([{ code }]) => code);
  t.is(codes[0], "ECONNRESET");
  t.true(["ECONNRESET", "EPIPE"].includes(codes[1]));
  t.is(heard, 0);
});
