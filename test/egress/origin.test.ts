import { Socket } from "node:net";
import test from "ava";
import { LentReads } from "../../lib/egress/lent-reads.ts";
import { Origin, type OriginUser } from "../../lib/egress/origin.ts";

/** What is read of a socket, as Node says it. */
function readBy(reads: LentReads): (size: number) => void {
  const { buffer, callback } = reads.onread as { buffer: () => Buffer; callback: (size: number) => boolean };
  return (size) => {
    buffer();
    callback(size);
  };
}

function listener(): { readonly heard: (number | string)[]; readonly user: OriginUser } {
  const heard: (number | string)[] = [];
  const user: OriginUser = {
    onData: ({ length }) => heard.push(length),
    onLent: ({ length }, giveBack) => {
      heard.push(length);
      giveBack();
      return true;
    },
    onDrain: () => {},
    onEnd: (error) => heard.push(error?.message ?? "end"),
  };
  return { heard, user };
}

for (const [how, say] of [
  ["its end", (socket: Socket) => socket.emit("end")],
  ["its error", (socket: Socket) => socket.emit("error", new Error("lost"))],
  ["its close", (socket: Socket) => socket.emit("close")],
] as const) {
  test(`What was read of a server is heard before ${how}`, (t) => {
    const socket = new Socket();
    const reads = new LentReads();
    const { heard, user } = listener();
    new Origin(socket, reads).user = user;
    readBy(reads)(16 * 1024);
    t.deepEqual(heard, [], "it waits for more");
    say(socket);
    t.deepEqual(heard, [16 * 1024, how === "its error" ? "lost" : "end"]);
  });
}

test("A server that speaks while it is nobody's is nobody's any more, at once", (t) => {
  for (const size of [1, 16 * 1024]) {
    const socket = new Socket();
    const reads = new LentReads();
    const origin = new Origin(socket, reads);
    origin.rest();
    t.true(origin.isFresh);
    readBy(reads)(size);
    t.false(origin.isFresh, `${size} bytes`);
  }
});
