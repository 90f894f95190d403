import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { connect as connectTls } from "node:tls";
import test from "ava";
import fc from "fast-check";
import { type HelloRead, HelloReader, longestHello } from "../../lib/egress/client-hello.ts";

const readClientHello = (data: Buffer): HelloRead => new HelloReader().take(data);

/** What a real client sends first. */
async function helloOf(options: { servername?: string; ALPNProtocols?: string[] }): Promise<Buffer> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connectTls({ ...options, port: (server.address() as AddressInfo).port, host: "127.0.0.1" });
  client.on("error", () => {});
  const [socket] = (await once(server, "connection")) as [import("node:net").Socket];
  const [data] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return data;
}

/** The same message in records of other sizes. */
function refragmented(data: Buffer, sizes: readonly number[]): Buffer {
  const message = data.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0, index = 0; at < message.length; index++) {
    const size = sizes[index % sizes.length] ?? message.length;
    const piece = message.subarray(at, at + size);
    records.push(Buffer.from([0x16, 3, 1, piece.length >> 8, piece.length & 255]), piece);
    at += size;
  }
  return Buffer.concat(records);
}

test("The name and protocols of a real client's hello are read, at its last byte and not before", async (t) => {
  const data = await helloOf({ servername: "API.example.com", ALPNProtocols: ["h2", "http/1.1"] });
  for (let size = 0; size < data.length; size++) t.is(readClientHello(data.subarray(0, size)).kind, "more", `${size}`);
  t.deepEqual(readClientHello(data), {
    kind: "hello",
    hello: { serverName: "api.example.com", protocols: ["h2", "http/1.1"], hasEncryptedHello: false },
  });
});

test("A hello without a name says so", async (t) => {
  const read = readClientHello(await helloOf({}));
  t.deepEqual(read, { kind: "hello", hello: { serverName: undefined, protocols: [], hasEncryptedHello: false } });
});

test("A hello cut into records of any size is the same hello", async (t) => {
  const data = await helloOf({ servername: "h.example" });
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 5 }), (sizes) => {
      t.deepEqual(readClientHello(refragmented(data, sizes)), readClientHello(data));
    }),
  );
  t.deepEqual(readClientHello(refragmented(data, [1])), readClientHello(data));
});

test("A hello that comes byte by byte, each in a record of its own, costs no more than its bytes", async (t) => {
  const data = refragmented(await helloOf({ servername: "h.example" }), [1]);
  const reader = new HelloReader();
  for (const byte of data.subarray(0, -1)) t.is(reader.take(Buffer.of(byte)).kind, "more");
  t.like(reader.take(data.subarray(-1)), { kind: "hello", hello: { serverName: "h.example" } });
  // The most that is read: looking at all of it again with each byte would take a minute.
  const long = refragmented(Buffer.concat([data.subarray(0, 5), Buffer.of(1, 0, 0x78, 0), Buffer.alloc(30_000)]), [1]);
  const endless = new HelloReader();
  const began = performance.now();
  let kind = "more";
  for (let at = 0; kind === "more"; at++) kind = endless.take(long.subarray(at, at + 1)).kind;
  t.is(kind, "malformed");
  t.true(performance.now() - began < 1000);
});

test("16 KiB of garbage after a record's start is malformed or waited for, and never more than its bound", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16_384, maxLength: 16_384 }), (bytes) => {
      t.not(readClientHello(Buffer.concat([Buffer.from([0x16, 3, 1]), bytes])).kind, "hello");
    }),
    { numRuns: 20 },
  );
  t.is(
    readClientHello(Buffer.concat([Buffer.from([0x16, 3, 1, 0x40, 0, 1, 0, 0x7f, 0]), Buffer.alloc(40_000)])).kind,
    "malformed",
  );
});

test("An encrypted hello is seen", async (t) => {
  const data = await helloOf({ servername: "h.example" });
  const at = data.indexOf(Buffer.from([0, 0x17, 0, 0])); // extended_master_secret, which is empty
  t.true(at > 0);
  const changed = Buffer.from(data);
  changed.writeUInt16BE(0xfe0d, at);
  t.like(readClientHello(changed), { kind: "hello", hello: { hasEncryptedHello: true } });
});

test("What is not TLS is something else at its first byte", (t) => {
  for (const text of ["GET / HTTP/1.1\r\n", "\0", "SSH-2.0", "\x16\x02\x01", "\x15\x03\x01"])
    t.is(readClientHello(Buffer.from(text, "latin1")).kind, "other");
  t.is(readClientHello(Buffer.from([0x16])).kind, "more");
});

test("Lengths that lie, two names, two of an extension and endless hellos are malformed, not waited for", async (t) => {
  const data = await helloOf({ servername: "h.example" });
  const name = data.indexOf("h.example");
  const twice = Buffer.concat([data]);
  twice.writeUInt8(0x20, name); // a space in the name
  t.is(readClientHello(twice).kind, "malformed");
  const nul = Buffer.from(data);
  nul.writeUInt8(0, name + 1);
  t.is(readClientHello(nul).kind, "malformed");
  const long = Buffer.from(data);
  long.writeUInt16BE(0xffff, name - 2);
  t.is(readClientHello(long).kind, "malformed");
  const empty = Buffer.from(data);
  empty.writeUInt16BE(0, 3);
  t.is(readClientHello(empty).kind, "malformed");
  const huge = Buffer.from(data.subarray(0, 64));
  huge.writeUIntBE(longestHello + 1, 6, 3);
  t.is(readClientHello(huge).kind, "malformed");
  const other = Buffer.from(data);
  other.writeUInt8(2, 5); // a server's hello
  t.is(readClientHello(other).kind, "malformed");
});

test("No bytes whatever throw, and no piece of a message is taken for a whole one", async (t) => {
  const data = await helloOf({ servername: "h.example", ALPNProtocols: ["h2"] });
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(data.length - 1), fc.nat(255)), { maxLength: 6 }), (changes) => {
      const changed = Buffer.from(data);
      for (const [at, value] of changes) changed[at] = value;
      t.true(["hello", "more", "other", "malformed"].includes(readClientHello(changed).kind));
    }),
    { numRuns: 3000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      readClientHello(Buffer.concat([Buffer.from([0x16, 3, 1]), bytes]));
      t.pass();
    }),
    { numRuns: 2000 },
  );
});
