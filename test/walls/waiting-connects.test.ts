// A connect that waits for its peer (a full backlog) waits in the launcher: it must hold up nobody else there.

import { chownSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { Sandbox, thisHost } from "../../lib/sandbox/sandbox.ts";
import type { Mode } from "../../lib/sandbox/types.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { scratchFolder } from "../sandbox/session.ts";

const prelude = `
import errno, os, socket, struct, sys, threading
def unix(name):
    server = socket.socket(socket.AF_UNIX)
    path = os.environ.get("TMPDIR", "/tmp") + "/" + name; server.bind(path); server.listen(0)
    return server, lambda: socket.socket(socket.AF_UNIX), path
def tcp(name):
    server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(0)
    return server, socket.socket, server.getsockname()
held = []
def fill(server, make, address, count):
    # A backlog of 0 holds one connection: from here on all others wait.
    first = make(); first.connect(address); held.append(first)
    # TCP's is there for the client before it is in the listener's queue (tcpi_unacked, linux/tcp.h).
    while server.family == socket.AF_INET and struct.unpack_from("I", server.getsockopt(6, 11, 32), 24)[0] == 0: os.sched_yield()
    def connect():
        try: make().connect(address)
        except OSError: pass
    for _ in range(count - 1): threading.Thread(target=connect, daemon=True).start()
`;

const modes: readonly Mode[] = thisHost().landlockAbi < 6 ? ["namespaces"] : ["namespaces", "landlock"];

/** Root's sandbox without namespaces is its workspace's owner. */
function ownFolder(t: ExecutionContext): string {
  const folder = scratchFolder(t);
  if (process.geteuid?.() === 0) chownSync(folder, 65_533, 65_533);
  return folder;
}

async function python(sandbox: Sandbox, script: string, ...args: readonly string[]): Promise<string> {
  const ran = await sandbox.exec("python3", ["-c", prelude + script, ...args], { timeoutMs: 30_000 });
  return ran.stdout.toString() + ran.stderr.toString() + (ran.timedOut ? "timed out" : "");
}

for (const mode of modes) {
  test(`Connects that wait do not keep others from connecting (${mode})`, async (t) => {
    const sandbox = await Sandbox.create({ workdir: ownFolder(t), mode });
    t.teardown(() => sandbox.dispose());
    const script = `
for kind in unix, tcp:
    server, make, address = kind(kind.__name__)
    fill(server, make, address, 60)
    other, _, free = tcp("free")
    client = socket.socket(); client.connect(free); print(other.accept()[1] == client.getsockname())
sys.stdout.flush(); os._exit(0)
`;
    t.is(await python(sandbox, script), "True\nTrue\n");
  });
}

for (const mode of modes) {
  test(`A connect that waits succeeds when it is accepted, and ends with its own time-out (${mode})`, async (t) => {
    const sandbox = await Sandbox.create({ workdir: ownFolder(t), mode });
    t.teardown(() => sandbox.dispose());
    const script = `
for kind in unix, tcp:
    server, make, address = kind(kind.__name__ + "2")
    fill(server, make, address, 20)
    late = make(); late.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 300000))
    try: late.connect(address); print("connected")
    except OSError as error: print(errno.errorcode[error.errno])
    # Of this round's server: the name stands for the next one's soon.
    threading.Thread(target=lambda own: [own.accept() for _ in range(24)], args=[server], daemon=True).start()
    last = make(); last.connect(address); print("connected")
    print(struct.unpack("ll", last.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)))
sys.stdout.flush(); os._exit(0)
`;
    t.is(await python(sandbox, script), "EAGAIN\nconnected\n(0, 0)\nEINPROGRESS\nconnected\n(0, 0)\n");
  });
}

test("Nothing in the launcher waits for a sandbox that has ended", async (t) => {
  t.timeout(20_000);
  const sandbox = await Sandbox.create({ workdir: scratchFolder(t) });
  const script = `
server, make, address = tcp("last"); fill(server, make, address, 40)
print("full", flush=True); threading.Event().wait()
`;
  const child = sandbox.spawn("python3", ["-c", prelude + script], { stdin: "ignore" });
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  const threads = (name: string): number =>
    readdirSync("/proc/self/task").filter((id) => {
      try {
        return readFileSync(`/proc/self/task/${id}/comm`, "utf8") === `${name}\n`;
      } catch {
        return false; // it has just ended
      }
    }).length;
  const connecting = (): number => threads("holdfast-broker");
  // The program's threads come to their connects when the host lets them.
  while (connecting() <= 1) await delay(5);
  await sandbox.dispose();
  // TCP would give up after 127 s.
  while (connecting() > 0) await delay(5);
  t.is(connecting(), 0);
  // For the next sandbox; of all those that have ended.
  t.is(threads("holdfast-idle"), 1);
});

/** A sandbox with a way out, so that its connects outwards are the broker's. */
async function leadingOut(t: ExecutionContext, mode: Mode): Promise<Sandbox> {
  const policy = sound(`${runnable()}network_policies:
  one: { endpoints: [{ host: api.example.test, port: 7 }], binaries: [{ path: "/**" }] }
`);
  const sandbox = await Sandbox.create({ workdir: ownFolder(t), mode, policy });
  t.teardown(() => sandbox.dispose());
  return sandbox;
}

for (const mode of modes) {
  test(`A connect that leads out waits for nobody inside, whatever was set on its socket (${mode})`, async (t) => {
    const sandbox = await leadingOut(t, mode);
    const script = `
def lead_out(name, prepare, family=socket.AF_INET):
    client = socket.socket(family)
    try: prepare(client); said = "set"
    except OSError as error: said = errno.errorcode[error.errno]
    try: client.connect(("192.0.2.1", 7) if family == socket.AF_INET else ("2001:4860:4860::8888", 7)); print(name, said, "made")
    except OSError as error: print(name, said, errno.errorcode[error.errno])
setting = lambda level, option, value: lambda client: client.setsockopt(level, option, value)
def begun(client):
    server, make, address = tcp("full"); held.append(server); fill(server, make, address, 3)
    client.setblocking(False)
    try: client.connect(address)
    except BlockingIOError: pass
    client.setblocking(True)
header = bytes([0, 4, 4, 1, 1, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, "::1") + socket.inet_pton(socket.AF_INET6, "fd99::2")
signature = struct.pack("HH4s120xBBHi80s", 2, 0, socket.inet_aton(sys.argv[1]), 0, 0, 4, 0, b"word")
lead_out("quickly", setting(6, 12, 0))
lead_out("deferred", setting(6, 9, 30))
lead_out("of few hops", setting(0, 21, 255))
lead_out("of few hops in IPv6", setting(41, 73, 255), socket.AF_INET6)
lead_out("by a route", setting(41, 57, header), socket.AF_INET6)
lead_out("signed", setting(6, 14, signature))
lead_out("begun", begun)
sys.stdout.flush(); os._exit(0)
`;
    t.deepEqual((await python(sandbox, script, mode === "landlock" ? "127.0.0.1" : "192.0.2.1")).split("\n"), [
      "quickly set made",
      "deferred set made",
      "of few hops ENOPROTOOPT made",
      "of few hops in IPv6 ENOPROTOOPT made",
      "by a route ENOPROTOOPT made",
      "signed ENOPROTOOPT made",
      "begun set EALREADY",
      "",
    ]);
  });
}

for (const mode of modes) {
  test(`Who is killed in a connect leaves no close behind that waits (${mode})`, async (t) => {
    const sandbox = await leadingOut(t, mode);
    // Its peer reads nothing, so that what is left to send is never sent; a last close would wait for that (SO_LINGER).
    const script = `
import signal
linger = lambda *wish: struct.pack("ii", *wish)
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(400)
def killed():
    client = socket.socket(); client.connect(server.getsockname())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger(1, 100000)); client.setblocking(False)
    try:
        while True: client.send(bytes(65536))
    except BlockingIOError: pass
    client.setblocking(True); os.write(ready[1], b"x")
    while True:
        try: client.connect(("192.0.2.1", 7))
        except OSError: pass
ready = os.pipe()
for _ in range(100):
    child = os.fork()
    if child == 0: killed()
    os.read(ready[0], 1); os.kill(child, signal.SIGKILL); os.waitpid(child, 0)
socket.socket().connect(("192.0.2.1", 7)); print("connected")
resets, peer = socket.socket(), socket.socket(); resets.connect(server.getsockname())
while True:
    peer = server.accept()[0]
    if peer.getpeername() == resets.getsockname(): break
for wish in (1, 9), (1, -1), (0, 9), (1, 0):
    resets.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger(*wish))
    print(struct.unpack("ii", resets.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))[0])
resets.close()
try: peer.recv(1)
except ConnectionResetError: print("reset")
try: peer.setsockopt(socket.SOL_SOCKET, 25, b"lo")  # SO_BINDTODEVICE
except PermissionError: print("refused")
`;
    t.is(await python(sandbox, script), "connected\n0\n0\n0\n1\nreset\nrefused\n");
  });
}
