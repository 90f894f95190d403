import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { setImmediate } from "node:timers/promises";
import test from "ava";
import { Downstream, join } from "../../lib/egress/carry.ts";
import { Upstream } from "../../lib/egress/upstream.ts";

test("What a server says arrives as it was said, however slowly it is read", async (t) => {
  const said = Buffer.alloc(16 * 1024 * 1024);
  for (let at = 0; at < said.length; at += 4) said.writeUInt32LE(at, at);
  const server = createServer((socket) => socket.end(said)).listen(0, "127.0.0.1");
  const proxy = createServer({ allowHalfOpen: true, pauseOnConnect: true }, async (client) => {
    const { port } = server.address() as AddressInfo;
    const downstream = new Downstream(client);
    const signal = new AbortController().signal;
    const upstream = await new Upstream({}).dial("127.0.0.1", ["127.0.0.1"], port, signal, downstream.dial);
    join(client, upstream, downstream);
    client.pipe(upstream);
  }).listen(0, "127.0.0.1");
  t.teardown(() => {
    server.close();
    proxy.close();
  });
  await Promise.all([once(server, "listening"), once(proxy, "listening")]);
  const reader = connect((proxy.address() as AddressInfo).port, "127.0.0.1");
  let at = 0;
  for await (const part of reader) {
    if (!said.subarray(at, at + part.length).equals(part)) return t.fail(`other bytes after ${at}`);
    at += part.length;
    await setImmediate();
  }
  t.is(at, said.length);
});
