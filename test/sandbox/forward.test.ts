import { once } from "node:events";
import { chownSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import test, { type ExecutionContext } from "ava";
import { Audit } from "../../lib/audit/audit.ts";
import type { Forward } from "../../lib/sandbox/forward.ts";
import { Sandbox, thisHost } from "../../lib/sandbox/sandbox.ts";
import type { Mode } from "../../lib/sandbox/types.ts";
import { run, said, start } from "../e2e/holdfast.ts";
import { scratchFolder } from "./session.ts";

/** 7007 says back what it heard when it has heard all, 7006 the same on ::1 alone, 7009 reads nothing until told on 7008. */
const servers = `
import socket, threading
told = threading.Event()
threading.excepthook = lambda args: None  # connections are reset on purpose
def whole(s):
    got = b""
    while part := s.recv(1 << 16): got += part
    s.sendall(got); s.close()
def lines(s):
    while part := s.recv(1 << 16): s.sendall(part)
    told.set(); s.close()
def held(s):
    told.wait()
    size = 0
    while part := s.recv(1 << 20): size += len(part)
    s.sendall(str(size).encode()); s.close()
def serve(family, host, port, act):
    listener = socket.socket(family); listener.bind((host, port)); listener.listen(200)
    def accept():
        while True: threading.Thread(target=act, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=accept).start()
serve(socket.AF_INET, "127.0.0.1", 7007, whole)
serve(socket.AF_INET6, "::1", 7006, whole)
serve(socket.AF_INET, "127.0.0.1", 7008, lines)
serve(socket.AF_INET, "127.0.0.1", 7009, held)
print("ready", flush=True)
`;

interface Served {
  readonly sandbox: Sandbox;
  readonly records: readonly Record<string, unknown>[];
}

async function served(t: ExecutionContext, code = servers, mode: Mode = "namespaces"): Promise<Served> {
  const records: Record<string, unknown>[] = [];
  const audit = new Audit({ write: (line) => void records.push(JSON.parse(line)), close: () => {} });
  const workdir = scratchFolder(t);
  // Without namespaces root's sandbox is the folder's owner, who may not be root.
  if (mode === "landlock" && process.geteuid?.() === 0) chownSync(workdir, 65_533, 65_533);
  const sandbox = await Sandbox.create({ workdir, audit, mode });
  t.teardown(() => sandbox.dispose());
  const child = sandbox.spawn("python3", ["-c", code]);
  if (child.stdout === null) throw new Error("no pipe");
  child.stderr?.pipe(process.stderr);
  await once(createInterface({ input: child.stdout }), "line");
  return { sandbox, records };
}

function client(t: ExecutionContext, { host, port }: Pick<Forward, "host" | "port">): Socket {
  const socket = connect({ host, port, allowHalfOpen: true });
  socket.on("error", () => {});
  t.teardown(() => socket.destroy());
  return socket;
}

/** Everything that it hears; or the error that ended it. */
async function heard(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

const forwards = (records: Served["records"]): unknown[] =>
  records.filter(({ type }) => type === "forward").map(({ target, allowed }) => [target, allowed]);

for (const mode of ["namespaces", "landlock"] as const) {
  test(`A server inside is reached from the host's loopback, by many at once, each to its own end, by ${mode}`, async (t) => {
    if (mode === "landlock" && thisHost().landlockAbi < 6) {
      t.log(`skipped: this kernel's Landlock has ABI ${thisHost().landlockAbi}, the mode needs 6`);
      t.pass();
      return;
    }
    const { sandbox, records } = await served(t, servers, mode);
    const forward = await sandbox.forward(7007);
    t.is(forward.host, "127.0.0.1");
    t.is(forward.target, 7007);
    const said = Array.from({ length: 100 }, (_, i) => `n${i}`.repeat(1000));
    const answers = said.map((text) => {
      const socket = client(t, forward);
      // Its own end is said first: the answer comes over the half that is open still.
      socket.end(text);
      return heard(socket);
    });
    t.deepEqual(await Promise.all(answers), said);
    t.deepEqual(forwards(records), Array(100).fill([7007, true]));
    const only6 = client(t, await sandbox.forward(7006));
    only6.end("six");
    t.is(await heard(only6), "six");
    const outside = createServer().listen(0, "127.0.0.1");
    await once(outside, "listening");
    t.teardown(() => outside.close());
    const nobody = await sandbox.forward((outside.address() as { port: number }).port);
    t.is(await heard(client(t, nobody)), "ECONNRESET", "it leads to no server of the host's");
  });
}

for (const mode of ["namespaces", "landlock"] as const) {
  test(`A server that takes one connection and listens no more has served it, by ${mode}`, async (t) => {
    if (mode === "landlock" && thisHost().landlockAbi < 6) {
      t.log(`skipped: this kernel's Landlock has ABI ${thisHost().landlockAbi}, the mode needs 6`);
      t.pass();
      return;
    }
    // As those do that wait for a browser to come back with a code.
    const oneShot = `
import socket
server = socket.socket(); server.bind(("127.0.0.1", 7007)); server.listen(); print("ready", flush=True)
client = server.accept()[0]; server.close(); client.sendall(client.recv(9)); client.close()
`;
    const { sandbox, records } = await served(t, oneShot, mode);
    const socket = client(t, await sandbox.forward(7007));
    socket.end("the code");
    t.is(await heard(socket), "the code");
    t.deepEqual(forwards(records), [[7007, true]]);
  });
}

test("Of a forward's connections 512 are served at once, and each that is more is recorded", async (t) => {
  const { sandbox, records } = await served(t);
  const forward = await sandbox.forward(7008);
  for (let i = 0; i < 512; i++) {
    const socket = client(t, forward);
    socket.write("x");
    await once(socket, "data");
  }
  t.not(await heard(client(t, forward)), "x");
  t.like(records.at(-1), { type: "forward", allowed: false, detail: "there are 512 at once already" });
  t.like(sandbox.takeUnreached(), [{ subject: "port 7008 inside", detail: "there are 512 at once already" }]);
});

test("A server that does not read holds its client up, and no other", async (t) => {
  const { sandbox } = await served(t);
  const [slow, other] = [await sandbox.forward(7009), client(t, await sandbox.forward(7008))];
  const size = 64 << 20;
  const sender = client(t, slow);
  sender.end(Buffer.alloc(size));
  // What the kernel's buffers take is taken during as many exchanges on the other connection.
  for (let turn = 0; turn < 200; turn++) {
    other.write("x");
    t.is(String(await once(other, "data")), "x");
  }
  t.true(sender.writableLength > size / 2, `${sender.writableLength} bytes are held back`);
  other.end();
  t.is(await heard(sender), String(size));
});

test("Where nobody listens inside a connection is reset at once, and recorded", async (t) => {
  const { sandbox, records } = await served(t, 'print("ready", flush=True); input()');
  t.is(await heard(client(t, await sandbox.forward(7007))), "ECONNRESET");
  t.like(
    records.find(({ type }) => type === "forward"),
    { target: 7007, allowed: false, detail: "nobody listens there" },
  );
  t.deepEqual(sandbox.takeUnreached(), [{ subject: "port 7007 inside", count: 1, detail: "nobody listens there" }]);
});

test("A forward is reached by both families of the host's loopback, and has the port by both or not at all", async (t) => {
  const taken = createServer().listen({ port: 0, host: "::1", ipv6Only: true });
  const [error] = (await Promise.race([once(taken, "listening"), once(taken, "error")])) as unknown[];
  if (error !== undefined) {
    t.log("skipped: this host has no ::1");
    t.pass();
    return;
  }
  t.teardown(() => taken.close());
  const { sandbox } = await served(t);
  const { port } = await sandbox.forward(7007);
  const socket = client(t, { host: "::1", port });
  socket.end("by IPv6");
  t.is(await heard(socket), "by IPv6");
  const { port: hostPort } = taken.address() as { port: number };
  await t.throwsAsync(sandbox.forward(7007, { hostPort }), {
    message: `port ${hostPort} of ::1 cannot be listened on: it is in use`,
  });
  t.is(await heard(client(t, { host: "127.0.0.1", port: hostPort })), "ECONNREFUSED", "and holds nothing");
});

test("A forward ends when it is closed, and with the sandbox; killNetwork resets it for good", async (t) => {
  const { sandbox, records } = await served(t);
  const [closed, killed] = [await sandbox.forward(7008), await sandbox.forward(7008)];
  const live = async (forward: Forward): Promise<Socket> => {
    const socket = client(t, forward);
    socket.write("x");
    await once(socket, "data");
    return socket;
  };
  const [one, two] = [await live(closed), await live(killed)];
  await closed.close();
  t.is(await heard(one), "ECONNRESET");
  t.is(await heard(client(t, closed)), "ECONNREFUSED");
  t.is(sandbox.killNetwork(), 1);
  t.is(await heard(two), "ECONNRESET");
  t.is(await heard(client(t, killed)), "ECONNRESET");
  t.like(records.at(-1), { type: "forward", allowed: false, detail: "the network of this sandbox was switched off" });
  await sandbox.end();
  t.is(await heard(client(t, killed)), "ECONNREFUSED");
  await t.throwsAsync(sandbox.forward(7008), { code: "ERR_HOLDFAST_SANDBOX_GONE" });
});

test("A port that is in use and one that is none are said", async (t) => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  t.teardown(() => taken.close());
  const { port } = taken.address() as { port: number };
  const sandbox = await Sandbox.create({ workdir: scratchFolder(t) });
  t.teardown(() => sandbox.dispose());
  await t.throwsAsync(sandbox.forward(80, { hostPort: port }), {
    code: "ERR_HOLDFAST_FORWARD",
    message: `port ${port} of 127.0.0.1 cannot be listened on: it is in use`,
  });
  for (const bad of [0, 65_536, 1.5, "80" as unknown as number])
    await t.throwsAsync(sandbox.forward(bad), { code: "ERR_HOLDFAST_OPTION" });
  await t.throwsAsync(sandbox.forward(80, { hostPort: -1 }), { code: "ERR_HOLDFAST_OPTION" });
});

test("--publish says where it listens, and what is no port", async (t) => {
  const cwd = scratchFolder(t);
  const args = ["--publish", "0:7007", "--status-fd", "3", "--quiet", "--", "python3", "-c", servers];
  const child = start(t, args, cwd);
  const status = createInterface({ input: child.stdio[3] as NodeJS.ReadableStream });
  const published = (async () => {
    for await (const line of status) {
      const event = JSON.parse(line) as { event: string; host: string; port: number };
      if (event.event === "published") return event;
    }
    throw new Error("it was not said");
  })();
  if (child.stdout === null) throw new Error("no pipe");
  await once(createInterface({ input: child.stdout }), "line");
  const socket = client(t, await published);
  socket.end("by the command");
  t.is(await heard(socket), "by the command");
  const twice = await run(t, ["--publish", "7001:80", "--publish=7001", "--", "true"], { cwd });
  t.regex(twice.stderr, /--publish 7001: port 7001 of this host is published already\n.*--publish 0:7001/);
  for (const word of ["x", "0", "65536", "1:2:3", "70000:80"]) {
    const { status: code, stderr } = await run(t, ["--publish", word, "--", "true"], { cwd });
    t.is(code, 125);
    t.regex(stderr, /^holdfast: --publish .*: not PORT or HOSTPORT:PORT\n.*ERR_HOLDFAST_USAGE/);
  }
});

test("A published port where nobody listened is named at the end", async (t) => {
  const args = ["--publish", "0:7007", "--", "sh", "-c", "read -r end"];
  const child = start(t, args, scratchFolder(t), ["pipe", "pipe", "pipe"]);
  const [, port] = await said(child.stderr, /127\.0\.0\.1:(\d+) leads to port 7007 inside/);
  t.is(await heard(client(t, { host: "127.0.0.1", port: Number(port) })), "ECONNRESET");
  const words = said(child.stderr, /not reached.* port 7007 inside: nobody listens there\n/);
  child.stdin?.end("\n");
  await t.notThrowsAsync(words);
});
