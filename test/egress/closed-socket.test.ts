import { spawnSync } from "node:child_process";
import { join } from "node:path";
import test from "ava";

const script = `
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { getHeapSpaceStatistics } from "node:v8";
import { dropListenersOnClose } from ${JSON.stringify(join(import.meta.dirname, "../../lib/egress/closed-socket.ts"))};

const server = createServer((socket) => socket.end()).listen(0, "127.0.0.1");
await once(server, "listening");
async function connection(isDropped) {
  const socket = connect(server.address().port, "127.0.0.1").resume();
  if (isDropped) dropListenersOnClose(socket);
  const carried = new Array(2000).fill(0);
  socket.on("error", () => carried);
  await once(socket, "close");
  // What comes after it has closed ends nothing.
  if (isDropped) socket.emit("error", new Error("late"));
}
const old = () => getHeapSpaceStatistics().find(({ space_name }) => space_name === "old_space").space_used_size;
async function kept(isDropped) {
  gc();
  const before = old();
  for (let i = 0; i < 500; i++) await connection(isDropped);
  for (let i = 0; i < 2; i++) gc({ type: "minor" });
  return Math.round((old() - before) / 500);
}
await kept(true); // what is made once
console.log(JSON.stringify([await kept(false), await kept(true)]));
server.close();
`;

test("What a connection was carried with goes with it, and not when all of memory is looked at", (t) => {
  const flags = ["--expose-gc", "--min-semi-space-size=64", "--max-semi-space-size=64"];
  const ran = spawnSync(process.execPath, [...flags, "--input-type=module-typescript", "--eval", script], {
    encoding: "utf8",
  });
  t.is(ran.stderr, "");
  const [kept = 0, dropped = 0] = JSON.parse(ran.stdout) as number[];
  t.log(`${dropped} bytes of a connection instead of ${kept}`);
  // Of Node's own there is some: where V8 ages it all there is nothing to be won any more, and nothing to drop.
  t.true(dropped < 8000, `${dropped}`);
  t.true(kept > 16_000, `${kept}: V8 has changed, and lib/egress/closed-socket.ts is not needed`);
});
