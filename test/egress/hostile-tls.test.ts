// Clients and servers that are slow, babble or hang up before a connection of theirs is one of TLS.
import { once } from "node:events";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import test, { type ExecutionContext } from "ava";
import { Authority } from "../../lib/egress/authority.ts";
import { endTls } from "../../lib/egress/client-tls.ts";
import { type Opening, readOpening } from "../../lib/egress/opening.ts";
import { secure } from "../../lib/egress/server-tls.ts";
import { connectedPair } from "./connected-pair.ts";

const authority = new Authority("test", 3_600_000);
const limits = { firstMs: 400, restMs: 300 };

/** A hello of a real client. */
async function helloBytes(t: ExecutionContext): Promise<Buffer> {
  const { near, far } = await connectedPair(t);
  connectTls({ socket: far, servername: "h.example" }).on("error", () => {});
  const [hello] = (await once(near, "data")) as [Buffer];
  return hello;
}

/** Writes bytes one at a time, each in a packet of its own. */
async function trickle(socket: Socket, bytes: Buffer): Promise<void> {
  for (const byte of bytes) {
    if (socket.destroyed) return;
    await new Promise((resolve) => socket.write(Buffer.of(byte), resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("A hello that comes byte by byte is read, and its handshake ends as any", async (t) => {
  const { near, far } = await connectedPair(t);
  const slow = connectTls({ socket: await slowed(t, far), servername: "h.example", ca: authority.certificate });
  slow.on("error", () => {});
  const opening = await readOpening(near, { firstMs: 5000, restMs: 20_000 });
  t.like(opening, { kind: "tls", hello: { serverName: "h.example" } });
  if (opening.kind !== "tls") return;
  near.unshift(opening.read);
  const secured = await endTls(authority, { client: near, onFault: (detail) => t.fail(detail) }, "h.example", []);
  secured?.end("secure");
  t.is(String((await once(slow, "data"))[0]), "secure");
});

/** A connection to pass on for a client, whose bytes go one by one. */
async function slowed(t: ExecutionContext, to: Socket): Promise<Socket> {
  const { near, far } = await connectedPair(t);
  (async () => {
    for await (const part of near) await trickle(to, part);
  })().catch(() => {});
  to.pipe(near);
  return far;
}

for (const [what, act, expected] of [
  ["says nothing", () => {}, { kind: "silent" }],
  ["ends at once", (far: Socket) => void far.end(), { kind: "silent" }],
  ["is reset at once", (far: Socket) => void far.resetAndDestroy(), { kind: "silent" }],
  [
    "stops within its hello",
    (far: Socket, hello: Buffer) => void far.write(hello.subarray(0, 100)),
    { kind: "malformed", why: "its hello does not end" },
  ],
  ["ends within its hello", (far: Socket, hello: Buffer) => void far.end(hello.subarray(0, 100)), { kind: "other" }],
  [
    "has a hello without end",
    (far: Socket) =>
      void far.write(Buffer.concat([Buffer.from([0x16, 3, 1, 0x40, 0, 1, 0, 0x7f, 0]), Buffer.alloc(40_000)])),
    { kind: "malformed" },
  ],
] as const) {
  test(`A client that ${what} is waited for no longer than its time`, async (t) => {
    const hello = await helloBytes(t);
    const { near, far } = await connectedPair(t);
    const opening: Promise<Opening> = readOpening(near, limits);
    act(far, hello);
    t.like(await opening, expected);
  });
}

for (const [what, act, fault] of [
  ["stops after its hello", () => {}, "the client left during the TLS handshake: it may pin another certificate"],
  ["resets after its hello", (far: Socket) => void far.resetAndDestroy(), /left during|ECONNRESET/],
  [
    "goes on with 16 KiB of garbage",
    (far: Socket) => void far.write(Buffer.alloc(16_384, 0xa5)),
    /^the TLS handshake failed: /,
  ],
] as const) {
  test(`A client that ${what} is cut off, and why is said`, async (t) => {
    const hello = await helloBytes(t);
    const { near, far } = await connectedPair(t);
    far.resume();
    const said: string[] = [];
    const ended = endTls(
      authority,
      { client: near, onFault: (detail) => void said.push(detail) },
      "h.example",
      [],
      300,
    );
    far.write(hello);
    act(far);
    t.is(await ended, undefined);
    t.is(said.length, 1);
    if (typeof fault === "string") t.is(said[0], fault);
    else t.regex(said[0] ?? "", fault);
    t.true(near.destroyed);
  });
}

for (const [what, act, fault] of [
  ["does not answer", () => {}, "the server does not go on with the TLS handshake"],
  [
    "answers byte by byte, without end",
    (far: Socket) => {
      const slow = setInterval(() => far.write(Buffer.of(0x16)), 20);
      far.on("close", () => clearInterval(slow));
      far.write(Buffer.from([0x16, 3, 3, 0x40, 0]));
    },
    /does not go on|length|unexpected|wrong|bad/,
  ],
  ["babbles", (far: Socket) => void far.write(Buffer.alloc(16_384, 0xa5)), /does not speak TLS|packet length/],
  ["closes at once", (far: Socket) => void far.end(), /closed the connection|socket disconnected/],
  [
    "resets at once",
    (far: Socket) => void far.resetAndDestroy(),
    /ECONNRESET|closed the connection|socket disconnected/,
  ],
] as const) {
  test(`A server that ${what} is no server of TLS, which is said at its time`, async (t) => {
    const { near, far } = await connectedPair(t);
    far.resume();
    const made = secure(near, "h.example", ["http/1.1"], 300);
    act(far);
    const error = await t.throwsAsync(made);
    if (typeof fault === "string") t.is(error.message, fault);
    else t.regex(error.message, fault);
    if (!near.destroyed) await once(near, "close");
  });
}
