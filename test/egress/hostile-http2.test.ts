// As hostile-http1.test.ts, for HTTP/2: clients write frames by hand where node:http2 would not send what they say.
import { once } from "node:events";
import {
  type ClientHttp2Session,
  connect as connectHttp2,
  constants,
  performServerHandshake,
  type ServerHttp2Stream,
} from "node:http2";
import { connect, type Socket } from "node:net";
import test, { type ExecutionContext } from "ava";
import { type Front, startFront } from "./hostile-peers.ts";

interface Front2 extends Front {
  readonly asked: string[];
  /** The names of each request's fields. */
  readonly fields: string[][];
}

async function start(
  t: ExecutionContext,
  answer: (stream: ServerHttp2Stream) => void = (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("fine");
  },
  limits: { readonly clientMs?: number; readonly serverMs?: number } = {},
): Promise<Front2> {
  const asked: string[] = [];
  const fields: string[][] = [];
  const serve = (socket: Socket): void => {
    const session = performServerHandshake(socket, { maxHeaderListPairs: 1000 });
    session.on("error", () => {});
    session.on("stream", (stream, headers) => {
      asked.push(String(headers[":path"]));
      fields.push(Object.keys(headers));
      stream.on("error", () => {});
      answer(stream);
    });
  };
  return { ...(await startFront(t, serve, { h2: true, limits })), asked, fields };
}

async function session(t: ExecutionContext, port: number): Promise<ClientHttp2Session> {
  const createConnection = (): Socket => connect(port, "127.0.0.1");
  const made = connectHttp2("http://h.test", { createConnection, maxHeaderListPairs: 1000 });
  made.on("error", () => {});
  t.teardown(() => made.destroy());
  await once(made, "connect");
  return made;
}

interface Got {
  readonly status: number | undefined;
  readonly body: string;
  readonly code: number;
  /** As a program is told of it: Node's client takes some codes for a regular end. */
  readonly isError: boolean;
}

function ask(made: ClientHttp2Session, path: string, fields: Record<string, string> = {}): Promise<Got> {
  return new Promise((resolve) => {
    const stream = made.request({ ":path": path, ...fields });
    let status: number | undefined;
    let body = "";
    stream.on("response", (headers) => {
      status = headers[":status"];
    });
    stream.on("data", (part: Buffer) => {
      body += part;
    });
    let isError = false;
    stream.on("error", () => {
      isError = true;
    });
    stream.on("close", () => resolve({ status, body, code: stream.rstCode, isError }));
  });
}

test("A server of HTTP/2 that does not answer is a 504, and one that stops within its answer a reset stream", async (t) => {
  const { port } = await start(
    t,
    (stream) => {
      if (stream.id === 1) return;
      stream.respond({ ":status": 200 });
      stream.write("half");
    },
    { serverMs: 2000 },
  );
  const made = await session(t, port);
  const [silent, stopped] = await Promise.all([ask(made, "/silent"), ask(made, "/stops")]);
  t.is(silent.status, 504);
  t.like(stopped, { status: 200, body: "half", isError: true });
});

for (const [stage, expected] of [
  ["before its answer", { status: 502 }],
  ["within its answer", { status: 200, body: "half" }],
] as const) {
  test(`A server of HTTP/2 that ends the connection ${stage} leaves nobody with a part for the whole`, async (t) => {
    const { port } = await start(t, (stream) => {
      const { session: own } = stream;
      if (expected.status === 502) return own?.destroy();
      stream.respond({ ":status": 200 });
      stream.write("half", () => setTimeout(() => own?.destroy(), 20));
    });
    const got = await ask(await session(t, port), "/");
    t.like(got, expected);
    t.is(got.isError, expected.status === 200);
  });
}

for (const [what, length, body] of [
  ["longer", 3, "whole"],
  ["shorter", 9, "whole"],
] as const) {
  test(`An answer of HTTP/2 that is ${what} than it said is a reset stream, and the next one is whole`, async (t) => {
    let answered = 0;
    const { port } = await start(t, (stream) => {
      stream.respond({ ":status": 200, "content-length": answered++ === 0 ? length : body.length });
      stream.end(body);
    });
    const made = await session(t, port);
    t.true((await ask(made, "/lies")).isError);
    t.like(await ask(made, "/fine"), { status: 200, body, code: constants.NGHTTP2_NO_ERROR });
  });
}

test("Many streams that nobody answers are told no beyond a bound, and each may be sent little at once", async (t) => {
  const windows = new Set<number>();
  let held = 0;
  const all = Promise.withResolvers<void>();
  const front = await start(t, (stream) => {
    windows.add(stream.session?.remoteSettings.initialWindowSize ?? 0);
    if (held === 1024) return void stream.respond({ ":status": 200 }, { endStream: true });
    if (++held === 1024) all.resolve();
  });
  const sessions = await Promise.all(Array.from({ length: 9 }, () => session(t, front.port)));
  for (const made of sessions.slice(0, 8)) for (let i = 0; i < 128; i++) void ask(made, "/held");
  await all.promise;
  const [last] = sessions.slice(8);
  if (last === undefined) throw new Error("no session");
  const refused = await ask(last, "/more");
  t.is(refused.status, 503);
  t.regex(refused.body, /as many requests of HTTP\/2 .* \(1024\)/);
  t.true(windows.has(65_535));
  const closed = sessions.slice(0, 8).map((made) => once(made, "close"));
  for (const made of sessions.slice(0, 8)) made.destroy();
  await Promise.all(closed);
  // The front hears of it a little later, and its server may end a session on which so many streams are reset.
  while ((await ask(last, "/again")).status !== 200);
  t.pass();
});

test("A stream whose connection is gone takes nobody's place, whether it is said to be closed or not", async (t) => {
  const { port, flow } = await start(t);
  const gone = [
    { destroyed: true },
    { destroyed: false, session: undefined },
    { destroyed: false, session: { destroyed: false, socket: { destroyed: true } } },
  ];
  for (let i = 0; i < 1024; i++) flow.streams.add({ ...gone[i % gone.length] } as unknown as ServerHttp2Stream);
  t.is((await ask(await session(t, port), "/")).status, 200);
});

test("An answer of HTTP/2 that does not end is held up where it is not read, and other streams are not", async (t) => {
  let sent = 0;
  const { port } = await start(t, (stream) => {
    stream.respond({ ":status": 200 });
    if (stream.id !== 1) return void stream.end("fine");
    const part = Buffer.alloc(65_536, "x");
    const more = (): void => {
      do sent += part.length;
      while (!stream.destroyed && stream.write(part));
    };
    stream.on("drain", more);
    more();
  });
  const made = await session(t, port);
  const endless = made.request({ ":path": "/endless" });
  endless.on("error", () => {});
  await once(endless, "response");
  endless.pause();
  for (let before = -1; before !== sent || sent === 0; ) {
    before = sent;
    t.like(await ask(made, "/other"), { status: 200, body: "fine" });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.true(sent < 4_000_000, `${sent}`);
  const held = sent;
  endless.resume();
  while (sent < held + 8_000_000) await once(endless, "data");
  endless.close(constants.NGHTTP2_CANCEL);
});

test("A large request whose server answers without reading it is answered, and its client is not held up", async (t) => {
  for (const more of [{}, { "content-length": "7" }]) {
    const { port } = await start(t, (stream) => {
      stream.respond({ ":status": 413, ...more });
      // As servers do that want no more of it.
      stream.end("too big", () => stream.close(constants.NGHTTP2_NO_ERROR));
    });
    const made = await session(t, port);
    const stream = made.request({ ":path": "/", ":method": "POST" });
    stream.on("error", () => {});
    const sent = Buffer.alloc(8_000_000);
    stream.end(sent);
    const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
    let body = "";
    for await (const part of stream) body += part;
    t.deepEqual([headers[":status"], body], [413, "too big"]);
    if (!stream.closed) await once(stream, "close");
    t.is(stream.rstCode, 0);
    t.like(await ask(made, "/again"), { status: 413, body: "too big" });
  }
});

test("A server that says again and again that it will answer is a 502", async (t) => {
  const { port } = await start(t, (stream) => {
    for (let i = 0; i < 40; i++) stream.additionalHeaders({ ":status": 103 });
  });
  t.is((await ask(await session(t, port), "/")).status, 502);
});

test("A session on which nothing is asked is ended", async (t) => {
  const { port } = await start(t, undefined, { clientMs: 100 });
  const made = await session(t, port);
  if (!made.closed) await once(made, "close");
  t.pass();
});

test("A head of HTTP/2 has as many fields as one of HTTP/1.1 may have, and more are told of", async (t) => {
  const many = (count: number): Record<string, string> =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, "1"]));
  const { port, fields } = await start(t, (stream) => {
    stream.respond({ ":status": 200, ...many(asMany) });
    stream.end("fine");
  });
  let asMany = 255; // with its date
  const made = await session(t, port);
  t.like(await ask(made, "/", many(256)), { status: 200, body: "fine" });
  t.is(fields[0]?.length, 4 + 256);
  asMany = 256;
  t.is((await ask(made, "/")).status, 502);
  const refused = await ask(made, "/", many(257));
  t.is(refused.status, 431);
  t.regex(refused.body, /more than 256 fields/);
  t.is(fields.length, 2);
});

test("A bomb of fields is refused, and the server hears nothing of it", async (t) => {
  const { port, asked } = await start(t);
  for (const fields of [
    Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`x-${i}`, "1"])),
    Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x-${i}`, "a".repeat(8000)])),
  ]) {
    const { status, code } = await ask(await session(t, port), "/", fields);
    t.true(status === undefined ? code !== 0 : status >= 400, `${status} ${code}`);
  }
  t.deepEqual(asked, []);
});

test("Streams that are opened and reset at once are held back before the server has much of them, and cost others little", async (t) => {
  const { port, asked } = await start(t, (stream) => {
    setTimeout(() => stream.destroyed || stream.respond({ ":status": 200 }, { endStream: true }), 50);
  });
  const attacker = await session(t, port);
  const ended = new Promise((resolve) => attacker.once("close", resolve));
  const began = performance.now();
  for (let i = 0; i < 6000 && !attacker.destroyed && !attacker.closed; i++) {
    const stream = attacker.request({ ":path": `/${i}` });
    stream.on("error", () => {});
    stream.close(constants.NGHTTP2_CANCEL);
    if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const asking = performance.now();
  t.like(await ask(await session(t, port), "/other"), { status: 200 });
  t.true(performance.now() - asking < 1000);
  await ended;
  // A burst, as many as may be under way when that is spent and when it is there again, and what time brings.
  const most = 100 + 2 * 128 + 0.1 * (performance.now() - began);
  t.true(asked.length < most, `${asked.length} of ${most} reached the server`);
});

test("A client that takes back some of what it asks is answered all the same, and what is answered counts for nothing", async (t) => {
  const { port } = await start(t, (stream) => {
    stream.respond({ ":status": 200 });
    stream.write("begun");
  });
  const made = await session(t, port);
  // Twice as many as are held back where they were not answered.
  for (let i = 0; i < 300; i++) {
    const stream = made.request({ ":path": `/${i}` });
    stream.on("error", () => {});
    await once(stream, "data");
    stream.close(constants.NGHTTP2_CANCEL);
  }
  t.false(made.closed);
});

for (const name of ["x-http-method-override", "x_http_method", "x-rewrite-url", "authorization"]) {
  test(`${name} in the trailers of HTTP/2 is refused, and the server has no whole request`, async (t) => {
    const whole: string[] = [];
    const { port } = await start(t, (stream) => {
      stream.resume();
      stream.once("end", () => {
        if (!stream.aborted && stream.rstCode === 0) whole.push("whole");
        if (stream.destroyed) return;
        stream.respond({ ":status": 200 });
        stream.end("fine");
      });
    });
    const made = await session(t, port);
    const post = async (trailers: Record<string, string>): Promise<unknown> => {
      const stream = made.request({ ":path": "/", ":method": "POST" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers(trailers));
      stream.on("error", () => {});
      stream.end("body");
      const [headers] = (await once(stream, "response")) as [Record<string, unknown>];
      stream.close();
      return headers[":status"];
    };
    t.is(await post({ "x-sum": "1" }), 200);
    const before = whole.length;
    t.is(await post({ [name]: "a" }), 400);
    t.is(whole.length, before);
  });
}

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const frameTypes = { headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7, continuation: 9 } as const;

function frame(type: number, flags: number, stream: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Literals that are not remembered, of names that are not known (RFC 7541 section 6.2.2). */
function block(fields: readonly (readonly [string, string])[]): Buffer {
  const string = (text: string): Buffer => Buffer.from([text.length, ...Buffer.from(text, "latin1")]);
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), string(name), string(value)]));
}

/** What a client gets that writes bytes: the types of the frames, until one of them ends its stream or the connection. */
async function framesFor(port: number, bytes: Buffer): Promise<number[]> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(Buffer.concat([preface, frame(frameTypes.settings, 0, 0), bytes]));
  const types: number[] = [];
  let held = Buffer.alloc(0);
  const end = new Promise<void>((resolve) => {
    socket.on("close", () => resolve());
    socket.on("data", (part: Buffer) => {
      held = Buffer.concat([held, part]);
      while (held.length >= 9 && held.length >= 9 + held.readUIntBE(0, 3)) {
        types.push(held.readUInt8(3));
        held = held.subarray(9 + held.readUIntBE(0, 3));
      }
      const ends: readonly number[] = [frameTypes.headers, frameTypes.reset, frameTypes.goAway];
      if (types.some((type) => ends.includes(type))) resolve();
    });
  });
  await end;
  socket.destroy();
  return types;
}

const usual = [
  [":method", "GET"],
  [":scheme", "http"],
  [":authority", "h.test"],
  [":path", "/a"],
] as const;
const without = (name: string): (readonly [string, string])[] => usual.filter(([each]) => each !== name);
const endsBoth = 5;

test("A request by hand is carried: what follows is refused for what it says", async (t) => {
  const { port, asked } = await start(t);
  t.true((await framesFor(port, frame(frameTypes.headers, endsBoth, 1, block(usual)))).includes(frameTypes.headers));
  t.deepEqual(asked, ["/a"]);
});

for (const [what, fields] of [
  ["two paths", [...usual, [":path", "/b"]]],
  ["a path after the fields", [...without(":path"), ["x", "1"], [":path", "/a"]]],
  ["a pseudo field that is not known", [...usual, [":x", "1"]]],
  ["no path", without(":path")],
  ["an empty path", [...without(":path"), [":path", ""]]],
  ["a path without a slash", [...without(":path"), [":path", "a"]]],
  ["a path with a space", [...without(":path"), [":path", "/a HTTP/1.1"]]],
  ["a path with a line's end", [...without(":path"), [":path", "/a\r\nx: y"]]],
  ["a path that climbs", [...without(":path"), [":path", "/../a"]]],
  ["no method", without(":method")],
  ["a method with a space", [...without(":method"), [":method", "GET /b"]]],
  ["CONNECT", [...without(":method"), [":method", "CONNECT"]]],
  ["extended CONNECT", [...without(":method"), [":method", "CONNECT"], [":protocol", "websocket"]]],
  ["another scheme", [...without(":scheme"), [":scheme", "https"]]],
  ["no authority", without(":authority")],
  ["another authority", [...without(":authority"), [":authority", "other.test"]]],
  ["an authority with a user", [...without(":authority"), [":authority", "x@h.test"]]],
  ["another host beside the authority", [...usual, ["host", "other.test"]]],
  ["a name in upper case", [...usual, ["X", "1"]]],
  ["Connection", [...usual, ["connection", "close"]]],
  ["a transfer coding", [...usual, ["transfer-encoding", "chunked"]]],
  ["TE that is not trailers", [...usual, ["te", "gzip"]]],
  ["a length that is none", [...usual, ["content-length", "x"]]],
  ["a length beside an end", [...usual, ["content-length", "5"]]],
  ["two lengths", [...usual, ["content-length", "0"], ["content-length", "5"]]],
] as const) {
  test(`A request of HTTP/2 with ${what} is refused`, async (t) => {
    const { port, asked } = await start(t);
    const types = await framesFor(port, frame(frameTypes.headers, endsBoth, 1, block(fields)));
    t.true(types.length > 1);
    t.deepEqual(asked, []);
  });
}

for (const [what, name, value] of [
  ["a name with a space", "x y", "1"],
  ["a name with a colon", "x:", "1"],
  ["a value with a line's end", "x", "1\r\nhost: other.test"],
  ["a value with a NUL", "x", "1\x002"],
] as const) {
  // Node's library drops such a field, and says nothing.
  test(`A field of HTTP/2 with ${what} goes nowhere`, async (t) => {
    const { port, asked, fields } = await start(t);
    await framesFor(port, frame(frameTypes.headers, endsBoth, 1, block([...usual, [name, value]])));
    t.deepEqual(asked, ["/a"]);
    t.deepEqual(fields[0]?.sort(), [":authority", ":method", ":path", ":scheme"]);
  });
}

for (const [what, flood] of [
  [
    "fields without end",
    Buffer.concat([
      frame(frameTypes.headers, 1, 1, block(usual)),
      ...Array.from({ length: 2000 }, () => frame(frameTypes.continuation, 0, 1, block([["x", "y".repeat(100)]]))),
    ]),
  ],
  [
    "fields without content, without end",
    Buffer.concat([
      frame(frameTypes.headers, 1, 1, block(usual)),
      ...Array.from({ length: 20_000 }, () => frame(frameTypes.continuation, 0, 1)),
    ]),
  ],
  ["settings without end", Buffer.concat(Array.from({ length: 20_000 }, () => frame(frameTypes.settings, 0, 0)))],
  [
    "pings without end",
    Buffer.concat(Array.from({ length: 20_000 }, () => frame(frameTypes.ping, 0, 0, Buffer.alloc(8)))),
  ],
  ["garbage", Buffer.alloc(16_384, 0xa5)],
] as const) {
  test(`A client of HTTP/2 that sends ${what} and reads nothing is cut off`, async (t) => {
    const { port, asked, clients } = await start(t);
    const socket = connect(port, "127.0.0.1");
    t.teardown(() => socket.destroy());
    socket.on("error", () => {});
    socket.pause();
    socket.write(Buffer.concat([preface, frame(frameTypes.settings, 0, 0), flood]));
    while (clients[0]?.closed !== true) await new Promise((resolve) => setTimeout(resolve, 10));
    t.deepEqual(asked, []);
  });
}
