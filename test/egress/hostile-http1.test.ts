// Clients and servers that are slow, lie, babble, stop or hang up: what the reader of HTTP/1.1 makes of them, over real
// connections, with time limits of its own.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Duplex } from "node:stream";
import test from "ava";
import { Http1 } from "../../lib/egress/http1.ts";
import { timeLimits } from "../../lib/egress/time-limits.ts";
import { echo, get, say, startFront, statusOf } from "./hostile-peers.ts";

/** Long enough for a machine that does other things. */
const short = { headMs: 300, clientMs: 300, serverMs: 600, lingerMs: 20 };

/** Answers as soon as a request comes. */
const answering = (text: string) => (socket: Socket) => {
  socket.once("data", () => socket.write(text, "latin1"));
};

test("A head that comes byte by byte and does not end is answered with 408 at its time", async (t) => {
  const { port } = await startFront(t, echo, { limits: { ...short, clientMs: 5000 } });
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  const slow = setInterval(() => socket.write("a"), 5);
  t.teardown(() => clearInterval(slow));
  const [answer] = (await once(socket, "data")) as [Buffer];
  t.regex(answer.toString(), /^HTTP\/1\.1 408 Request Timeout\r\n/);
});

test("A body that does not go on is answered with 408, and its server's connection is closed", async (t) => {
  const ended = Promise.withResolvers<void>();
  const serve = (socket: Socket): void => void socket.resume().on("end", ended.resolve);
  const { port } = await startFront(t, serve, { limits: { ...short, serverMs: 60_000 } });
  const said = await say(port, "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 10\r\n\r\nhalf");
  t.is(statusOf(said), 408);
  await ended.promise;
});

test("A connection on which nothing is asked is ended", async (t) => {
  const { port } = await startFront(t, echo, { limits: short });
  t.deepEqual(await say(port, ""), { text: "", wasReset: false });
  const said = await say(port, get("/a"));
  t.regex(said.text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*\/a$/);
});

for (const [what, serve] of [
  ["does not answer", () => {}],
  ["does not read", (socket: Socket) => void socket.pause()],
  [
    "sends its head byte by byte",
    (socket: Socket) => {
      let sent = 0;
      const slow = setInterval(() => socket.write("HTTP/1.1 200 OK\r\nA: "[sent++] ?? "b"), 3);
      socket.on("close", () => clearInterval(slow));
      socket.resume();
    },
  ],
] as const) {
  test(`A server that ${what} is a 504`, async (t) => {
    const { port } = await startFront(t, serve, { limits: { ...short, clientMs: 1000, serverMs: 1000 } });
    const body = "x".repeat(6_000_000);
    const text =
      what === "does not read"
        ? `POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: ${body.length}\r\n\r\n${body}`
        : get("/");
    t.is(statusOf(await say(port, text)), 504);
  });
}

for (const [what, text] of [
  ["babbles", "\x00\xff".repeat(8192)],
  ["speaks TLS", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n"],
  ["sends a head without end", `HTTP/1.1 200 OK\r\n${"A: b\r\n".repeat(20_000)}`],
  ["sends fields without end", `HTTP/1.1 200 OK\r\n${"A: b\r\n".repeat(300)}\r\n`],
  ["sends two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
  ["says again and again that it will answer", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(40)],
  ["changes to another protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"],
] as const) {
  test(`A server that ${what} is a 502`, async (t) => {
    const { port, servers } = await startFront(t, answering(text));
    const said = await say(port, get("/"));
    t.regex(said.text, /HTTP\/1\.1 502 Bad Gateway\r\n/);
    t.regex(said.text, /"error":"upstream_malformed"/);
    t.true(servers.every((socket) => socket.destroyed || socket.readableEnded));
  });
}

const hangUp = (socket: Socket): void => void socket.resetAndDestroy();
for (const [stage, serve, seen] of [
  ["at once", hangUp, 502],
  ["after the request", (socket: Socket) => void socket.once("data", () => hangUp(socket)), 502],
  ["within its head", cutAfter("HTTP/1.1 200 OK\r\nContent-"), 502],
  ["after its head", cutAfter("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), "cut"],
  ["within its body", cutAfter("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), "cut"],
  ["within a chunk", cutAfter("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"), "cut"],
  ["between chunks", cutAfter("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"), "cut"],
  ["within a body that ends with it", cutAfter("HTTP/1.1 200 OK\r\n\r\nhalf"), "cut"],
] as const) {
  test(`A server that resets the connection ${stage} is ${seen === 502 ? "a 502" : "a cut answer"}`, async (t) => {
    const { port } = await startFront(t, serve);
    const said = await say(port, get("/"));
    if (seen === 502) t.is(statusOf(said), 502);
    else {
      t.is(statusOf(said), 200);
      t.true(said.wasReset);
    }
  });
}

/** Says something, and resets the connection when it has arrived. */
function cutAfter(text: string): (socket: Socket) => void {
  return (socket) =>
    void socket.once("data", () => {
      socket.write(text, () => setTimeout(() => hangUp(socket), 10));
    });
}

test("A server that ends early is a cut answer, and one that says too much is not asked again", async (t) => {
  const short = await startFront(t, (socket) => {
    socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"));
  });
  t.like(await say(short.port, get("/")), { wasReset: true });
  const long = await startFront(t, (socket) => {
    socket.on("data", () =>
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfourHTTP/1.1 200 OK\r\n\r\nsmuggled"),
    );
  });
  const said = await say(long.port, get("/a") + get("/b", "Connection: close"));
  t.is(said.text.match(/four/g)?.length, 2);
  t.notRegex(said.text, /smuggled/);
  t.is(long.servers.length, 2);
});

test.serial("An answer that does not end is passed on as it is read, and held up where it is not", async (t) => {
  let sent = 0;
  const { port } = await startFront(t, (socket) => {
    const part = Buffer.alloc(65_536, "x");
    const more = (): void => {
      for (let hasRoom = socket.writable; hasRoom; sent += part.length) hasRoom = socket.write(part) && socket.writable;
    };
    socket.on("drain", more);
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      more();
    });
  });
  const reader = connect(port, "127.0.0.1");
  reader.write(get("/"));
  let got = 0;
  for await (const part of reader) {
    got += (part as Buffer).length;
    if (got > 20_000_000) break;
  }
  t.true(sent >= 20_000_000 - 65_536);
  sent = 0;
  const idle = connect(port, "127.0.0.1");
  t.teardown(() => idle.destroy());
  idle.pause();
  idle.write(get("/"));
  // What both kernels hold of a connection, and what is on its way through this process.
  let before = -1;
  while (before !== sent || sent === 0) {
    before = sent;
    await say(port, get("/no", "Connection: close"));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.true(sent < 24_000_000, `${sent}`);
});

test.serial("A client that asks and asks and reads no answer is not listened to any longer", async (t) => {
  const { port, clients } = await startFront(t, echo);
  const client = connect(port, "127.0.0.1");
  t.teardown(() => client.destroy());
  client.pause();
  client.on("error", () => {});
  client.write(get("/no").repeat(100_000));
  const held = (): number => clients[0]?.writableLength ?? 0;
  const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50));
  while (held() === 0) await pause();
  for (let before = -1; before !== clients[0]?.bytesRead; await pause()) before = clients[0]?.bytesRead ?? 0;
  t.true(held() < 1_000_000, `${held()} bytes wait for the client`);
  // It is heard again when it reads.
  client.resume();
  await once(clients[0] ?? client, "data");
});

test("An answer that ends with its connection is whole for a client that reads it slowly", async (t) => {
  const { flow } = await startFront(
    t,
    (socket) => void socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\n\r\nwhole")),
  );
  let got = "";
  const client = new Duplex({
    read: () => {},
    // Longer than a client has that was told everything.
    write: (chunk: Buffer, _, done) => {
      setTimeout(() => {
        got += chunk;
        done();
      }, 100);
    },
  });
  const idle = { setNoDelay: () => client, setTimeout: () => client };
  new Http1(Object.assign(client, idle) as unknown as Socket, flow, { limits: { ...timeLimits, lingerMs: 10 } });
  client.push(get("/"));
  await once(client, "finish");
  t.regex(got, /^HTTP\/1\.1 200 OK\r\nConnection: close\r\n\r\nwhole$/);
});

test.serial(
  "A thousand connections with half a request leave the others their speed, cost little, and end with 408",
  async (t) => {
    const { port } = await startFront(t, echo, { limits: { headMs: 1500 } });
    const rate = async (): Promise<number> => {
      const began = performance.now();
      const text = Array.from({ length: 300 }, (_, i) => get(`/${i}`)).join("") + get("/end", "Connection: close");
      const said = await say(port, text);
      t.is(said.text.match(/HTTP\/1\.1 200/g)?.length, 301);
      return performance.now() - began;
    };
    await rate();
    const alone = Math.min(await rate(), await rate());
    const before = process.memoryUsage().rss;
    const half = Array.from({ length: 1000 }, () => say(port, "GET /a HTTP/1.1\r\nHost: h"));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const beside = Math.min(await rate(), await rate());
    t.true(beside < 10 * alone + 50, `${beside} ms instead of ${alone}`);
    t.true(process.memoryUsage().rss - before < 100_000_000, `${process.memoryUsage().rss - before} bytes`);
    for (const said of await Promise.all(half)) t.is(statusOf(said), 408);
  },
);

test("Clients that reset at every stage leave nothing behind", async (t) => {
  const { port, clients, servers } = await startFront(t, echo);
  const stages = [
    "",
    "GET / HT",
    get("/a"),
    "POST / HTTP/1.1\r\nHost: h.test\r\nContent-Length: 9\r\n\r\nhalf",
    get("/no"),
  ];
  for (const stage of stages) {
    const client = connect(port, "127.0.0.1");
    client.on("error", () => {});
    client.resume();
    await once(client, "connect");
    if (stage !== "") client.write(stage);
    await new Promise((resolve) => setTimeout(resolve, 10));
    client.resetAndDestroy();
  }
  t.is(statusOf(await say(port, get("/b", "Connection: close"))), 200);
  const open = [...clients, ...servers].filter(({ closed }) => !closed);
  await Promise.all(open.map((socket) => once(socket, "close")));
  t.is(clients.length, stages.length + 1);
});
