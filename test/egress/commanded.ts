// The scenario of run-network.test.ts, run where the servers' addresses are this namespace's own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { Authority } from "../../lib/egress/authority.ts";
import { holdfast } from "../e2e/holdfast.ts";
import { addresses } from "./world.ts";

const echo = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  socket.pipe(socket);
});
echo.listen(7, addresses.api);
const web = createHttpServer((request, response) => response.end(`${request.method} ${request.url}`));
web.listen(80, addresses.api);
const authority = new Authority("test", 3_600_000);
const secure = createTlsServer({ SNICallback: (name, done) => done(null, authority.contextFor(name)) }, (socket) => {
  socket.on("error", () => {});
  socket.end("secure\n");
});
secure.listen(443, addresses.api);
await Promise.all([echo, web, secure].map((server) => once(server, "listening")));

const workdir = mkdtempSync(join(tmpdir(), "holdfast-commanded-"));
chmodSync(workdir, 0o777);

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function holdfastRun(options: readonly string[], program: string, ...args: readonly string[]): Promise<Ran> {
  return command("run", "--workdir", workdir, ...options, "--", "python3", "-c", program, ...args);
}

async function command(...args: readonly string[]): Promise<Ran> {
  const child = spawn(holdfast, args, { cwd: workdir });
  const said = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk: Buffer) => (said.stdout += chunk));
  child.stderr.on("data", (chunk: Buffer) => (said.stderr += chunk));
  const [status] = (await once(child, "close")) as [number | null];
  return { status, ...said };
}

/** Asks for each of its arguments, and prints what it got. */
const fetches = `
import sys, urllib.request, urllib.error
for word in sys.argv[1:]:
    method, url = word.split(" ")
    try: print(urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10).read().decode())
    except urllib.error.HTTPError as error: print(error.code)
    except OSError as error: print("no connection")
`;

/** Connects to what is there, to what is not, and to what is never reached. */
const everywhere = `
import socket, ssl
def ask(host, port, name=None):
    try:
        s = socket.create_connection((host, port), 10)
        if name: s = ssl._create_unverified_context().wrap_socket(s, server_hostname=name)
        s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(host, port, s.recv(100)[:6])
    except OSError as error: print(host, port, "no")
ask("api.example.test", 80)
ask("${addresses.api}", 7)
ask("api.example.test", 443, "other.example.test")
ask("other.example.test", 9)
ask("loopback.example.test", 80)
ask("metadata.example.test", 80)
ask("127.0.0.1", 9)
`;

/** Looks names up all at once, and prints how many were found. */
const lookups = `
import concurrent.futures, socket, threading
together = threading.Barrier(200)
def look(n):
    together.wait()
    try: return len(socket.getaddrinfo("api.example.test", 80)) > 0
    except OSError: return False
with concurrent.futures.ThreadPoolExecutor(200) as pool: print(sum(pool.map(look, range(200))))
`;

/** getaddrinfo(3) for one family, of those that this host has. */
const oneFamily = `import socket
for family in (socket.AF_INET, socket.AF_INET6):
    try: print(len(socket.getaddrinfo("api.example.test", 80, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)))
    except OSError as error: print(error)
`;

/** By IPv6 and nothing else, bound or not, waiting or not. */
const ipv6Only = `
import select, socket
to = socket.getaddrinfo("api.example.test", 80, socket.AF_INET6, socket.SOCK_STREAM)[0][4]
for waits in True, False:
    for binds in False, True:
        s = socket.socket(socket.AF_INET6)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if binds: s.bind(("::", 0))
        s.setblocking(waits)
        s.connect_ex(to)
        select.select([], [s], [], 10)
        s.setblocking(True)
        try:
            s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            print(s.recv(100)[:4].decode())
        except OSError as error: print(error)
`;

const results: Record<string, unknown> = {};
try {
  const site = "http://api.example.test";
  results["--allow PATH"] = await holdfastRun(
    ["--allow", "api.example.test:80/x/**"],
    fetches,
    ...[`GET ${site}/x`, `DELETE ${site}/x/y?z=1`, `GET ${site}/y`],
  );
  const drafts = mkdtempSync(join(tmpdir(), "holdfast-drafts-"));
  const draft = join(drafts, "draft.yaml");
  for (const mode of ["namespaces", "landlock"]) {
    // Without namespaces a folder is its owner's.
    if (mode === "landlock" && process.geteuid?.() === 0) chownSync(workdir, 65_533, 65_533);
    const log = await holdfastRun(["--mode", mode, "--net", "log", "--net-draft", draft], everywhere);
    results[`--net log, ${mode}`] = log;
    results[`the draft, ${mode}`] = readFileSync(draft, "utf8");
    results[`IPv6 only, ${mode}`] = await holdfastRun(["--mode", mode, "--allow", "api.example.test:80"], ipv6Only);
    results[`one family, ${mode}`] = await holdfastRun(["--mode", mode, "--allow", "api.example.test:80"], oneFamily);
    results[`many names, ${mode}`] = await holdfastRun(["--mode", mode, "--allow", "api.example.test:80"], lookups);
    results[`by the draft, ${mode}`] = await holdfastRun(["--mode", mode, "--policy", draft], everywhere);
  }
  results["check"] = await command("policy", "check", draft);
  rmSync(drafts, { recursive: true });
  results["to standard error"] = await holdfastRun(
    ["--net", "log", "--allow", "api.example.test:80/x"],
    fetches,
    `GET ${site}/x`,
    `POST ${site}/y`,
  );
  results["--net off"] = await holdfastRun(["--net", "off"], fetches, `GET ${site}/`);
  results["not reached"] = await holdfastRun(
    [
      "--allow",
      "nowhere.example.test:80",
      "--allow",
      "api.example.test:81",
      "--allow",
      "api.example.test:82/x",
      "--json",
    ],
    fetches,
    ...["GET http://nowhere.example.test/", `GET ${site}:81/`, `GET ${site}:82/x`, "GET http://metadata.example.test/"],
  );
  results["never dialled"] = await holdfastRun(
    ["--allow", "metadata.example.test:80"],
    fetches,
    "GET http://metadata.example.test/",
  );
} finally {
  for (const server of [echo, web, secure]) server.close();
  rmSync(workdir, { recursive: true, force: true });
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
