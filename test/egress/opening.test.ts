// A client's hello, looked at where it lies.
import { once } from "node:events";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import test, { type ExecutionContext } from "ava";
import { Authority } from "../../lib/egress/authority.ts";
import { endTls } from "../../lib/egress/client-tls.ts";
import { peekHello, readOpening } from "../../lib/egress/opening.ts";
import { native } from "../../lib/native.ts";
import { connectedPair } from "./connected-pair.ts";

const authority = new Authority("test", 3_600_000);

/** A connection of which the near end is not read. */
async function pair(
  t: ExecutionContext,
): Promise<{ readonly near: Socket; readonly fd: number; readonly far: Socket }> {
  const { near, far } = await connectedPair(t, { paused: true });
  return { near, far, fd: (near as unknown as { readonly _handle: { readonly fd: number } })._handle.fd };
}

/** Waits until so much has come, which stays. */
async function come(fd: number, size: number): Promise<Buffer> {
  const into = Buffer.alloc(8192);
  for (let have = 0; ; ) {
    have = native().peek(fd, into);
    if (have >= size) return into.subarray(0, have);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("A hello that has come as a whole is known, stays where it is, and its handshake ends as any", async (t) => {
  const { near, fd, far } = await pair(t);
  t.is(peekHello(near, fd), undefined);
  const client = connectTls({ socket: far, servername: "H.example", ca: authority.certificate });
  const hello = await come(fd, 100);
  t.like(peekHello(near, fd), { kind: "tls", hello: { serverName: "h.example" }, read: Buffer.alloc(0) });
  t.deepEqual(await come(fd, hello.length), hello);
  const secured = await endTls(authority, { client: near, onFault: (detail) => t.fail(detail) }, "h.example", []);
  secured?.end("secure");
  t.is(String((await once(client, "data"))[0]), "secure");
});

test("Less than a hello, and what is none, are left to the stream, and so is what was read from or has gone", async (t) => {
  const first = await pair(t);
  connectTls({ socket: first.far, servername: "h.example" }).on("error", () => {});
  const hello = Buffer.from(await come(first.fd, 100));
  for (const [bytes, kind] of [
    [hello.subarray(0, -1), "other"],
    [Buffer.from("GET / HTTP/1.1\r\n\r\n"), "other"],
    [Buffer.from([0x16, 3, 1, 0, 5, 2, 0, 0, 1, 0]), "malformed"],
  ] as const) {
    const { near, fd, far } = await pair(t);
    far.end(bytes);
    await come(fd, bytes.length);
    t.is(peekHello(near, fd), undefined);
    t.is((await readOpening(near, { firstMs: undefined, restMs: 5000 })).kind, kind);
  }
  const { near, fd, far } = await pair(t);
  far.write("x");
  near.resume();
  await once(near, "data");
  near.pause();
  far.write(hello);
  await come(fd, hello.length);
  // Not the beginning of what was said.
  t.is(peekHello(near, fd), undefined);
  first.near.destroy();
  t.is(peekHello(first.near, first.fd), undefined);
});
