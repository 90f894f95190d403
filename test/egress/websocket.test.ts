import test from "ava";
import fc from "fast-check";
import { ClientFrames, closeFrame, WebSocketError } from "../../lib/egress/websocket.ts";

/** A client's frame (RFC 6455 section 5.2); its mask is zero. */
function frame(opcode: number, length: number, { isFinal = true, isMasked = true } = {}): Buffer {
  const size = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const head = Buffer.alloc(2 + size + (isMasked ? 4 : 0));
  head.writeUInt8((isFinal ? 0x80 : 0) | opcode, 0);
  head.writeUInt8((isMasked ? 0x80 : 0) | (size === 0 ? length : size === 2 ? 126 : 127), 1);
  if (size === 2) head.writeUInt16BE(length, 2);
  if (size === 8) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, Buffer.alloc(length, 0x81)]);
}

function texts(chunks: readonly Buffer[]): number {
  let count = 0;
  const frames = new ClientFrames(() => count++);
  for (const chunk of chunks) frames.take(chunk);
  return count;
}

test("Each text message is told of once, however long, in however many frames", (t) => {
  t.is(texts([frame(1, 5), frame(2, 200), frame(1, 70_000), frame(9, 3), frame(1, 0)]), 3);
  t.is(texts([frame(1, 2, { isFinal: false }), frame(9, 1), frame(0, 300, { isFinal: false }), frame(0, 1)]), 1);
});

test("Where a connection's bytes are cut makes no difference", (t) => {
  const whole = Buffer.concat([frame(1, 130), frame(2, 3, { isFinal: false }), frame(0, 66_000), frame(1, 1)]);
  fc.assert(
    fc.property(fc.array(fc.nat(whole.length), { maxLength: 40 }), (cuts) => {
      const places = [0, ...cuts.sort((a, b) => a - b), whole.length];
      return texts(places.slice(1).map((end, i) => whole.subarray(places[i], end))) === 2;
    }),
    { numRuns: 100 },
  );
  t.is(texts([...whole].map((byte) => Buffer.from([byte]))), 2);
});

for (const [what, data] of [
  ["not masked", frame(1, 1, { isMasked: false })],
  ["of an unknown kind", frame(3, 1)],
  ["a continuation of nothing", frame(0, 1)],
  ["a second message within one", Buffer.concat([frame(1, 1, { isFinal: false }), frame(2, 1)])],
  ["a long control frame", frame(9, 126)],
  ["a control frame in pieces", frame(8, 1, { isFinal: false })],
] as const) {
  test(`A frame that is ${what} is refused`, (t) => {
    t.is(t.throws(() => texts([data]), { instanceOf: WebSocketError })?.code, 1002);
  });
}

test("What a listener throws passes nothing on", (t) => {
  const frames = new ClientFrames(() => {
    throw new WebSocketError(1008, "no");
  });
  t.throws(() => frames.take(frame(1, 1)), { instanceOf: WebSocketError });
  t.deepEqual([...closeFrame(1008, "no")], [0x88, 4, 0x03, 0xf0, 0x6e, 0x6f]);
});
