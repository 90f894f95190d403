// The scenario of unanswering.test.ts: servers that take no connection or say nothing on it, and name servers that are silent.
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createWebServer } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { Authority } from "../../lib/egress/authority.ts";
import { timeLimits } from "../../lib/egress/time-limits.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { addresses, listening } from "./world.ts";

const mode = process.argv[2] === "landlock" ? "landlock" : "namespaces";

/** Listens, takes nothing, and fills its own queues: whoever connects gets no answer. */
const deaf = `
import socket
kept = []
for port in (7, 80, 443):
    s = socket.socket(); s.bind(("${addresses.other}", port)); s.listen(0); kept.append(s)
    for _ in range(4):
        c = socket.socket(); c.setblocking(False); c.connect_ex(("${addresses.other}", port)); kept.append(c)
print("deaf", flush=True); input()
`;

/** A client that would speak HTTP/2 asks, one that speaks nothing of it, and one that only connects. */
const askDeaf = `
import http.client, socket, ssl, time
def ask(connection):
    began = time.monotonic()
    connection.request("GET", "/")
    answer = connection.getresponse()
    return round(1000 * (time.monotonic() - began)), answer.status, answer.read().decode().strip()
either = ssl.create_default_context()
either.set_alpn_protocols(["h2", "http/1.1"])
print(*ask(http.client.HTTPSConnection("deaf.example.test", timeout=60, context=either)))
print(*ask(http.client.HTTPConnection("deaf.example.test", timeout=60)))
try:
    s = socket.create_connection(("deaf.example.test", 7), 60)
    print(s.recv(1))
except OSError as error: print(type(error).__name__)
`;

/** Asks a server that takes no connection, and goes when it has been heard: again and again. */
const askAndGo = `
import http.client, socket, ssl, struct
place = socket.getaddrinfo("deaf.example.test", 80, socket.AF_INET)[0][4]
context = ssl.create_default_context()
held = []
for i in range(4000):
    try:
        s = socket.create_connection(place)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.sendall(b"GET / HTTP/1.1\\r\\nHost: deaf.example.test\\r\\n\\r\\n")
        held.append(s)
    except OSError: pass
    if i % 50 < 49: continue
    # A reset takes with it what was not read yet: whoever is answered knows that those before it were heard.
    try:
        last = http.client.HTTPSConnection("api.example.test", timeout=60, context=context)
        last.request("GET", "/")
        last.getresponse().read()
        last.close()
    except (OSError, http.client.HTTPException): pass
    while held: held.pop().close()
print("gone", flush=True)
`;

/** Asks a server that says nothing, on as many connections as there may be but a few. */
const askSilent = `
import socket, ssl, sys
context = ssl.create_default_context()
held = []
for i in range(400):
    s = socket.create_connection(("api.example.test", 8443 if i % 2 else 8080))
    if i % 2: s = context.wrap_socket(s, server_hostname="api.example.test")
    s.sendall(b"GET / HTTP/1.1\\r\\nHost: api.example.test:%d\\r\\n\\r\\n" % (8443 if i % 2 else 8080))
    held.append(s)
print("asked", flush=True)
sys.stdin.read()
`;

/** How long a hundred requests take on one connection, and ten on one each, in milliseconds. */
const measured = `
import http.client, ssl, time
context = ssl.create_default_context()
def ask(c):
    c.request("GET", "/")
    return c.getresponse().read() == b"served"
def new(): return http.client.HTTPSConnection("api.example.test", timeout=60, context=context)
def took(act):
    began = time.monotonic()
    assert act()
    return 1000 * (time.monotonic() - began)
one = new()
ask(one)
ask(new())
print(took(lambda: all(ask(one) for _ in range(100))), took(lambda: all(ask(new()) for _ in range(10))))
`;

/** Asks for names that nobody answers, then for one that is answered: who is heard of first? */
const askNames = `
import os, socket, threading
def ask(name):
    try: said = socket.create_connection((name, 9), 60).recv(9).decode()
    except OSError as error: said = type(error).__name__
    print(name, said, flush=True)
threads = [threading.Thread(target=ask, args=("n%d.slow.test" % i,), daemon=True) for i in range(40)]
for thread in threads: thread.start()
ask("good.example.test")
os._exit(0)
`;

const authority = new Authority("the test's servers", 3_600_000);
const workdir = mkdtempSync(join(tmpdir(), "holdfast-unanswering-"));
if (process.geteuid?.() === 0) chownSync(workdir, 65_533, 65_533);
// The launcher trusts what its host trusts.
const trusted = `${workdir}-trust.pem`;
writeFileSync(trusted, authority.certificate);
process.env["SSL_CERT_FILE"] = trusted;
const context = authority.contextFor("api.example.test");
const web = createWebServer({ SNICallback: (_, done) => done(null, context) }, (_, response) => response.end("served"));
const silent = [8080, 8443].map((port) => createServer((socket) => socket.on("error", () => {}).resume()).listen(port));
const greeting = createServer((socket) => socket.on("error", () => {}).end("hello")).listen(9, addresses.api);
const close = await listening([web.listen(443, addresses.api), ...silent, greeting]);
const silence = spawn("python3", ["-c", deaf], { stdio: ["pipe", "pipe", "inherit"] });
await once(silence.stdout, "data");
// The system's name server (unanswering.test.ts); /etc/hosts goes first.
const nameServer = createSocket("udp4").bind(53, addresses.other);
let questions = 0;
nameServer.on("message", () => questions++);
await once(nameServer, "listening");

const rules = "protocol: rest, enforcement: enforce, access: full";
const policy = sound(`${runnable()}network_policies:
  one:
    endpoints:
      - { host: deaf.example.test, ports: [80, 443], ${rules} }
      - { host: deaf.example.test, port: 7, protocol: tcp }
      - { host: api.example.test, ports: [443, 8080, 8443], ${rules} }
      - { host: "*.slow.test", port: 9, protocol: tcp }
      - { host: good.example.test, port: 9, protocol: tcp }
    binaries: [{ path: /usr/bin/python3* }]
`);

/**
 * Connections that wait for an answer (SYN_SENT of include/net/tcp_states.h), told apart by their own end: a table that
 * changes while it is read shows some twice.
 */
function dialled(): number {
  const ends = readFileSync("/proc/self/net/tcp", "utf8").match(/ [0-9A-F]{8}:[0-9A-F]{4} [0-9A-F]{8}:0050 02 /g);
  return new Set(ends).size;
}

/** Starts a script inside, and waits for what it says first. */
async function begun(sandbox: Sandbox, script: string): Promise<{ end(): Promise<unknown> }> {
  const child = sandbox.spawn("python3", ["-c", script], { stdio: ["pipe", "pipe", "inherit"] });
  const closed = once(child, "close");
  const gone = closed.then(() => Promise.reject(new Error("it has gone")));
  await Promise.race([once(child.stdout ?? process.stdin, "data"), gone]);
  gone.catch(() => {});
  return {
    end: () => {
      child.stdin?.end();
      return closed;
    },
  };
}

const results: Record<string, unknown> = {};
try {
  const run = async (where: Sandbox, script: string): Promise<string> => {
    const { stdout, stderr } = await where.exec("python3", ["-c", script], { timeout: 90_000 });
    if (stdout.length === 0) throw new Error(String(stderr));
    return stdout.toString().trim();
  };
  const measure = async (where: Sandbox): Promise<number[]> => (await run(where, measured)).split(" ").map(Number);
  await using other = await Sandbox.create({ workdir, policy, mode });
  {
    await using sandbox = await Sandbox.create({ workdir, policy, mode });
    results["alone"] = await measure(sandbox);
    Object.assign(timeLimits, { connectMs: 2000 });
    const deafened = run(sandbox, askDeaf);
    results["beside the deaf"] = await measure(sandbox);
    results["deaf"] = (await deafened).split("\n");
    results["unreached"] = sandbox.takeUnreached().map(({ detail }) => detail);
    Object.assign(timeLimits, { connectMs: 30_000 });

    const before = process.memoryUsage().rss;
    const asked = await begun(sandbox, askSilent);
    results["beside the silent"] = await measure(sandbox);
    results["elsewhere"] = await measure(other);
    results["grown"] = process.memoryUsage().rss - before;
    await asked.end();
  }
  {
    const before = dialled();
    const sandbox = await Sandbox.create({ workdir, policy, mode });
    // The first may have been given up by the time that the last has been asked for.
    const many = Promise.withResolvers<void>();
    let most = 0;
    const look = (): void => {
      most = Math.max(most, dialled() - before);
      if (most > 500) many.resolve();
    };
    const watch = setInterval(look, 10);
    results["gone"] = await run(sandbox, askAndGo);
    // Whose program has gone may not have been dialled for yet.
    await Promise.race([many.promise, wait(20_000)]);
    // What is left of the program's connections is looked at first.
    await measure(other);
    // A look at a table of that many lines takes longer than a request.
    clearInterval(watch);
    results["elsewhere, dialling"] = await measure(other);
    look();
    results["dialled"] = most;
    await sandbox.dispose();
    // Its sockets are closed in the loop's next turn.
    await new Promise((resolve) => setImmediate(resolve));
    results["dialled after its end"] = dialled() - before;
  }
  {
    await using sandbox = await Sandbox.create({ workdir, policy, mode });
    results["names"] = await run(sandbox, askNames);
    results["questions"] = questions > 0;
  }
} finally {
  close();
  nameServer.close();
  silence.kill();
  rmSync(workdir, { recursive: true, force: true });
  rmSync(trusted);
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
