// The sandbox's name server over TCP, asked by clients that are slow, babble or never read.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import test, { type ExecutionContext } from "ava";
import { NamePool } from "../../lib/egress/names.ts";
import { Resolver, type ResolverOptions } from "../../lib/egress/resolver.ts";

async function start(
  t: ExecutionContext,
  options: Pick<ResolverOptions, "questionMs" | "mostConnections"> = {},
): Promise<{ port: number; refused: string[] }> {
  const refused: string[] = [];
  const resolver = new Resolver({
    ...{ datagrams: -1, streams: -1, names: new NamePool(), ...options },
    knows: (name) => name === "api.test",
    onRefused: (name) => void refused.push(name),
  });
  const server = createServer({ allowHalfOpen: true }, (socket) => resolver.serve(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    resolver.close();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, refused };
}

/** A question for A, or another type, with its length before it. */
function question(
  name: string,
  { kind = 1, type = 1 }: { readonly kind?: number; readonly type?: number } = {},
): Buffer {
  const labels = name.split(".").map((label) => Buffer.from([label.length, ...Buffer.from(label)]));
  const message = Buffer.concat([
    Buffer.from([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
    ...labels,
    Buffer.from([0, 0, type, 0, kind]),
  ]);
  return Buffer.concat([Buffer.from([0, message.length]), message]);
}

/** What comes back until the connection ends. */
async function ask(port: number, pieces: readonly Buffer[], { ends = true } = {}): Promise<Buffer> {
  const socket: Socket = connect({ port, host: "127.0.0.1", noDelay: true });
  const parts: Buffer[] = [];
  socket.on("data", (part: Buffer) => parts.push(part));
  socket.on("error", () => {});
  await once(socket, "connect");
  for (const piece of pieces) await new Promise((resolve) => socket.write(piece, resolve));
  if (ends) socket.end();
  await new Promise((resolve) => socket.once("close", resolve));
  return Buffer.concat(parts);
}

const code = (answer: Buffer): number => answer.readUInt16BE(4) & 15;

test("Questions are answered one after the other, whole or byte by byte, up to the client's end", async (t) => {
  const { port, refused } = await start(t);
  const bytes = Buffer.concat([question("api.test"), question("other.test")]);
  const whole = await ask(port, [bytes]);
  t.deepEqual(
    await ask(
      port,
      [...bytes].map((byte) => Buffer.of(byte)),
    ),
    whole,
  );
  t.is(code(whole), 0);
  t.is(code(whole.subarray(2 + whole.readUInt16BE(0))), 3);
  t.deepEqual(refused, ["other.test", "other.test"]);
});

test("Who asks what an address inside is called is told the name that it was given out for", async (t) => {
  const { port, refused } = await start(t);
  const called = async (name: string): Promise<string> => {
    const reply = await ask(port, [question(name, { type: 12 })]);
    const asked = 14 + name.length + 2 + 4;
    return code(reply) === 0 ? reply.toString("latin1", asked + 12) : `code ${code(reply)}`;
  };
  const six = (last: string): string => `${last}${".0".repeat(19)}.6.6.4.6.c.6.f.6.8.6.d.f.ip6.arpa`;
  t.is(await called("1.0.18.198.in-addr.arpa"), "code 3", "nobody has asked for a name yet");
  await ask(port, [question("api.test")]);
  t.is(await called("1.0.18.198.in-addr.arpa"), "\x03api\x04test\0");
  t.is(await called(six("1")), "\x03api\x04test\0");
  t.is(await called("9.0.0.127.in-addr.arpa"), "\x09localhost\0");
  const others = [
    "2.0.18.198.in-addr.arpa",
    six("2"),
    "8.8.8.8.in-addr.arpa",
    "a.0.0.127.in-addr.arpa",
    "999.1.1.1.in-addr.arpa",
  ];
  for (const name of others) t.is(await called(name), "code 3", name);
  t.deepEqual(refused, ["1.0.18.198.in-addr.arpa", ...others]);
});

test("What is no question, of another class, or a name that leads to itself is answered with what is wrong", async (t) => {
  const { port } = await start(t);
  const loop = question("ab.test");
  loop.writeUInt16BE(0xc00c, 14);
  t.is(code(await ask(port, [loop])), 1);
  t.is(code(await ask(port, [question("api.test", { kind: 3 })])), 5);
  t.is((await ask(port, [Buffer.from([0, 3, 1, 2, 3])])).length, 0);
});

test("A message of 64 KiB and garbage end the connection", async (t) => {
  const { port } = await start(t);
  t.is((await ask(port, [Buffer.alloc(65_537, 0xff)], { ends: false })).length, 0);
  t.is((await ask(port, [Buffer.from("GET / HTTP/1.1\r\n\r\n")], { ends: false })).length, 0);
});

test("A question that does not end, though bytes come, ends the connection at its time", async (t) => {
  const { port } = await start(t, { questionMs: 200 });
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  const slow = setInterval(() => socket.write(Buffer.of(0)), 20);
  t.teardown(() => clearInterval(slow));
  socket.write(Buffer.of(15, 255));
  await new Promise((resolve) => socket.once("close", resolve));
  t.pass();
});

test("Of connections that say nothing there are only so many", async (t) => {
  const { port } = await start(t, { mostConnections: 8 });
  const silent = Array.from({ length: 8 }, () => connect(port, "127.0.0.1"));
  t.teardown(() => {
    for (const socket of silent) socket.destroy();
  });
  await Promise.all(silent.map((socket) => once(socket, "connect")));
  t.is((await ask(port, [question("api.test")], { ends: false })).length, 0);
  const [first] = silent;
  first?.destroy();
  let answer = Buffer.alloc(0);
  while (answer.length === 0) answer = Buffer.from(await ask(port, [question("api.test")]));
  t.is(code(answer), 0);
});
