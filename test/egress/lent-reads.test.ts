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
  const borrow = (read: Buffer, giveBack: () => void): boolean => {
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
  };
  reads.lendTo(borrow, () => true);
  const { port } = server.address() as AddressInfo;
  const socket = connect({ host: "127.0.0.1", port, onread: reads.onread });
  await once(socket, "close");
  reads.flush();
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

test("Long reads are lent as one, and one that may not wait by itself", async (t) => {
  const reads = new LentReads();
  const { buffer, callback } = reads.onread as {
    buffer: () => Buffer;
    callback: (size: number, read: Buffer) => boolean;
  };
  const lent: Buffer[] = [];
  let mayWait = true;
  reads.lendTo(
    (read, giveBack) => {
      const turn = lent.push(Buffer.from(read)) % 3;
      if (turn === 0) giveBack();
      return turn !== 1; // that one is not wanted; the third is kept
    },
    () => mayWait,
  );
  // As Node does it: the place of a read is asked for when the one before it is done.
  let place = buffer();
  const read = (size: number, byte: number): void => {
    t.true(place.length >= 16 * 1024, "room for whatever a record holds");
    place.fill(byte, 0, size);
    callback(size, place);
    place = buffer();
  };
  const long = 16 * 1024;
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  read(long, 1);
  read(long, 2);
  t.deepEqual(lent, []);
  read(100, 3);
  t.deepEqual(lent.splice(0), [Buffer.concat([Buffer.alloc(long, 1), Buffer.alloc(long, 2), Buffer.alloc(100, 3)])]);
  read(long, 4);
  await turn();
  t.deepEqual(lent.splice(0), [Buffer.alloc(long, 4)], "nothing waits for longer than a turn of the loop");
  read(100, 5);
  t.deepEqual(lent.splice(0), [Buffer.alloc(100, 5)], "what comes after it is where it was read");
  for (let byte = 6; byte < 40; byte++) {
    read(long, byte);
    if (byte % 3 === 0) await turn();
  }
  reads.flush();
  t.deepEqual(
    Buffer.concat(lent.splice(0)),
    Buffer.concat(Array.from({ length: 34 }, (_, i) => Buffer.alloc(long, i + 6))),
  );
  mayWait = false;
  read(long, 40);
  t.deepEqual(lent.splice(0), [Buffer.alloc(long, 40)]);
});

for (const [title, isKept, longest] of [
  ["whose reader keeps up are lent in longer parts", false, 256 * 1024],
  ["whose reader does not keep up take no more memory each", true, 64 * 1024],
] as const) {
  test(`Long reads ${title}`, async (t) => {
    const reads = new LentReads();
    const { buffer, callback } = reads.onread as {
      buffer: () => Buffer;
      callback: (size: number, read: Buffer) => boolean;
    };
    const sizes: number[] = [];
    const kept: (() => void)[] = [];
    reads.lendTo(
      (read, giveBack) => {
        sizes.push(read.length);
        kept.push(giveBack);
        // The last two are still under way.
        while (kept.length > (isKept ? 2 : 0)) kept.shift()?.();
        return true;
      },
      () => true,
    );
    let place = buffer();
    for (let turns = 0; turns < 80; turns++) {
      for (let read = 0; read < 16; read++) {
        t.true(place.length >= 16 * 1024);
        callback(16 * 1024, place);
        place = buffer();
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    t.is(Math.max(...sizes), longest);
    t.is(
      sizes.reduce((sum, size) => sum + size, 0),
      80 * 16 * 16 * 1024,
    );
  });
}
