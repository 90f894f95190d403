// The scenario of half-open.test.ts: a sandbox holds a thousand connections that have only begun, and what that costs others.
import { once } from "node:events";
import { chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Authority } from "../../lib/egress/authority.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { addresses } from "./world.ts";

/** Begins a thousand connections in four ways, says so, and holds them until it is told to stop. */
const begin = `
import socket, ssl, sys
context = ssl.create_default_context()
hello = ssl.MemoryBIO()
try: context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="api.example.test").do_handshake()
except ssl.SSLWantReadError: pass
half = hello.read()[:100]
held = []
for i in range(1000):
    s = socket.create_connection(("api.example.test", 443))
    if i % 4 == 1: s.sendall(half)
    if i % 4 == 2: s.sendall(b"GET / HTTP/1.1\\r\\nHost: ")
    if i % 40 == 3:
        s = context.wrap_socket(s, server_hostname="api.example.test")
        s.sendall(b"POST / HTTP/1.1\\r\\nHost: api.example.test\\r\\nContent-Length: 9\\r\\n\\r\\nhalf" if i % 80 == 3 else b"GET /")
    held.append(s)
print(len(held), flush=True)
sys.stdin.read()
alive = 0
for s in held:
    s.setblocking(False)
    try: alive += s.recv(1) != b""
    except (BlockingIOError, ssl.SSLWantReadError): alive += 1
    except OSError: pass
print(alive)
`;

/** How long a hundred requests take on one connection, and ten on one each, in milliseconds. */
const request = `
import http.client, ssl, time
context = ssl.create_default_context()
def ask(c):
    c.request("GET", "/")
    return c.getresponse().read() == b"served"
def new(): return http.client.HTTPSConnection("api.example.test", timeout=20, context=context)
def took(act):
    began = time.monotonic()
    assert act()
    return 1000 * (time.monotonic() - began)
one = new()
ask(one)
ask(new())
print(took(lambda: all(ask(one) for _ in range(100))), took(lambda: all(ask(new()) for _ in range(10))))
`;

const authority = new Authority("the test's servers", 3_600_000);
const workdir = mkdtempSync(join(tmpdir(), "holdfast-half-open-"));
if (process.geteuid?.() === 0) chownSync(workdir, 65_533, 65_533);
// The launcher trusts what its host trusts.
const trusted = `${workdir}-trust.pem`;
writeFileSync(trusted, authority.certificate);
process.env["SSL_CERT_FILE"] = trusted;
const context = authority.contextFor("api.example.test");
const server = createServer({ SNICallback: (_, done) => done(null, context) }, (request, response) => {
  request.resume();
  response.end("served");
}).listen(443, addresses.api);
await once(server, "listening");
const policy = sound(`${runnable()}network_policies:
  one:
    endpoints: [{ host: api.example.test, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/python3* }]
`);

const results: Record<string, unknown> = {};
try {
  for (const mode of ["namespaces", "landlock"] as const) {
    await using sandbox = await Sandbox.create({ workdir, policy, mode });
    await using other = await Sandbox.create({ workdir, policy, mode });
    const measure = async (where: Sandbox): Promise<number[]> => {
      const { stdout, stderr } = await where.exec("python3", ["-c", request], { timeout: 30_000 });
      if (stdout.length === 0) throw new Error(String(stderr));
      return stdout.toString().trim().split(" ").map(Number);
    };
    const alone = await measure(sandbox);
    const before = process.memoryUsage().rss;
    const holder = sandbox.spawn("python3", ["-c", begin], { stdio: ["pipe", "pipe", "inherit"] });
    const closed = once(holder, "close");
    let said = "";
    const begun = new Promise<void>((resolve, reject) => {
      holder.stdout?.on("data", (part: Buffer) => {
        said += part;
        resolve();
      });
      closed.then(() => reject(new Error(`the holder has gone: ${said}`)));
    });
    await begun;
    const beside = await measure(sandbox);
    const elsewhere = await measure(other);
    const grown = process.memoryUsage().rss - before;
    holder.stdin?.end();
    await closed;
    results[mode] = { alone, beside, elsewhere, grown, said: said.trim().split("\n"), denials: sandbox.takeDenials() };
  }
} finally {
  rmSync(workdir, { recursive: true, force: true });
  rmSync(trusted);
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
