import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import test from "ava";
import { LentReads } from "../../lib/egress/lent-reads.ts";

test("What is lent stays as it was read until it is given back, and nothing is lost", async (t) => {
  const said = Buffer.alloc(8 * 1024 * 1024);
  for (let at = 0; at < said.length; at += 4) said.writeUInt32LE(at, at);
  const server = createServer((socket) => socket.end(said)).listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  const reads = new LentReads();
  const held: { readonly read: Buffer; readonly at: number; readonly giveBack: () => void }[] = [];
  let at = 0;
  let isSame = true;
  let turn = 0;
  reads.lendTo((read, giveBack) => {
    isSame &&= said.subarray(at, at + read.length).equals(read);
    const mine = { read, at, giveBack };
    at += read.length;
    // Some are not wanted, and of the others more and more are held at once before the oldest go back.
    if (turn++ % 5 === 0) return false;
    held.push(mine);
    while (held.length > turn % 11) {
      const oldest = held.shift();
      if (oldest === undefined) break;
      isSame &&= said.subarray(oldest.at, oldest.at + oldest.read.length).equals(oldest.read);
      oldest.giveBack();
    }
    return true;
  });
  const { port } = server.address() as AddressInfo;
  const socket = connect({ host: "127.0.0.1", port, onread: reads.onread });
  await once(socket, "close");
  t.is(at, said.length);
  t.true(isSame);
  t.false(reads.hasDropped);
});

test("Who speaks before there is anybody to hear it is known", async (t) => {
  const server = createServer((socket) => socket.end("too early")).listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  const reads = new LentReads();
  const { port } = server.address() as AddressInfo;
  await once(connect({ host: "127.0.0.1", port, onread: reads.onread }), "close");
  t.true(reads.hasDropped);
});
