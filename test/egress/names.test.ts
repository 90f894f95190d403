import test from "ava";
import fc from "fast-check";
import { answer, codes, fault, type Question, readQuestion, refusal, types } from "../../lib/egress/dns-message.ts";
import { NamePool } from "../../lib/egress/names.ts";

function query(name: string, type: number = types.a, { flags = 0x0100, kind = 1, questions = 1 } = {}): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0x1234, 0);
  head.writeUInt16BE(flags, 2);
  head.writeUInt16BE(questions, 4);
  const labels = name === "" ? [] : name.split(".");
  const tail = Buffer.alloc(4);
  tail.writeUInt16BE(type, 0);
  tail.writeUInt16BE(kind, 2);
  return Buffer.concat([
    head,
    ...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, "latin1")])),
    Buffer.from([0]),
    tail,
  ]);
}

function asked(data: Buffer): Question {
  const read = readQuestion(data);
  if (read.kind !== "question") throw new Error(read.kind);
  return read.question;
}

test("A question is read, its name in lower case, and answered with its own section", (t) => {
  const question = asked(query("API.Example.com", types.aaaa));
  t.like(question, { id: 0x1234, name: "api.example.com", type: types.aaaa, recursionDesired: true });
  const data = answer(question, [new Uint8Array(16).fill(7)], 30);
  t.is(data.readUInt16BE(2), 0x8180);
  t.is(data.readUInt16BE(6), 1);
  t.true(data.includes("Example"));
  t.is(data.readUInt32BE(data.length - 16 - 6), 30);
  t.is(refusal(question, codes.noSuchName).readUInt16BE(2) & 15, 3);
  t.is(fault(7, codes.malformed).readUInt16BE(0), 7);
});

test("What is no question is not answered; what is a faulty one says so", (t) => {
  const kind = (data: Buffer): string => {
    const read = readQuestion(data);
    return read.kind === "faulty" ? `faulty ${read.code}` : read.kind;
  };
  t.is(kind(Buffer.alloc(11)), "none");
  t.is(kind(query("a.b", 1, { flags: 0x8180 })), "none");
  t.is(kind(query("a.b", 1, { flags: 0x2900 })), "faulty 4");
  t.is(kind(query("a.b", 1, { questions: 2 })), "faulty 1");
  t.is(kind(query("a.b", 1, { questions: 0 })), "faulty 1");
  t.is(kind(query("a.b", 1, { kind: 3 })), "faulty 5");
  t.is(kind(query("a.b").subarray(0, 20)), "faulty 1");
  const loop = query("a.b");
  loop.writeUInt16BE(0xc00c, 12);
  t.is(kind(loop), "faulty 1");
  const long = query("a.b");
  long[12] = 64;
  t.is(kind(long), "faulty 1");
  t.is(kind(query(Array.from({ length: 5 }, () => "a".repeat(60)).join("."))), "faulty 1");
  t.is(kind(query("a\0b.c")), "faulty 5");
  const dotted = query("axb.c");
  dotted[14] = 0x2e;
  t.is(kind(dotted), "faulty 5");
  t.is(asked(query("")).name, "");
});

test("No bytes whatever throw", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      const read = readQuestion(Buffer.from(bytes));
      t.true(["question", "faulty", "none"].includes(read.kind));
    }),
    { numRuns: 3000 },
  );
});

test("Each name has its own addresses for as long as the pool lives, and they lead back to it", (t) => {
  const pool = new NamePool();
  const seen = new Set<string>();
  for (let index = 0; index < 3000; index++) {
    const name = `h${index}.example`;
    const addresses = pool.addressesOf(name);
    const ipv4 = [...(addresses?.ipv4 ?? [])].join(".");
    const words = Buffer.from(addresses?.ipv6 ?? []);
    const ipv6 = new URL(
      `http://[${Array.from({ length: 8 }, (_, at) => words.readUInt16BE(2 * at).toString(16)).join(":")}]`,
    ).hostname.slice(1, -1);
    t.false(seen.has(ipv4));
    seen.add(ipv4);
    t.regex(ipv4, /^198\.1[89]\./);
    t.is(pool.nameOf(ipv4), name);
    t.is(pool.nameOf(ipv6), name);
  }
  t.deepEqual(pool.addressesOf("h0.example"), pool.addressesOf("h0.example"));
  for (const address of [
    "198.17.255.255",
    "198.20.0.0",
    "198.18.0.0",
    "198.19.0.1",
    "8.8.8.8",
    "fd68:6f6c:6466::",
    "::1",
  ]) {
    t.is(pool.nameOf(address), undefined, address);
  }
});

test("A pool that is used up gives nothing more, and forgets nothing", (t) => {
  const pool = new NamePool(2);
  t.truthy(pool.addressesOf("a"));
  t.truthy(pool.addressesOf("b"));
  t.is(pool.addressesOf("c"), undefined);
  t.truthy(pool.addressesOf("a"));
});
