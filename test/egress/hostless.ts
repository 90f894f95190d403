// The scenario of hostless.test.ts: grants that name addresses and no host, where the servers' addresses are this namespace's own.
import { once } from "node:events";
import { chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TLSSocket } from "node:tls";
import { Audit } from "../../lib/audit/audit.ts";
import { Authority } from "../../lib/egress/authority.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { startNameServer } from "./name-server.ts";
import { addresses } from "./world.ts";

/** Private, and the first of the two that hostless.test.ts makes this namespace's own is granted. */
const inner = "10.1.2.3";
const beside = "10.2.0.1";
const ranges = `allowed_ips: ["${addresses.api}", "10.1.2.0/24"]`;
const rules = 'protocol: rest, enforcement: enforce, rules: [{ allow: { method: GET, path: "/allowed/**" } }]';
const policy = sound(`${runnable()}dns: { servers: ["${addresses.other}"] }
network_policies:
  raw:
    endpoints: [{ port: 7, ${ranges} }]
    binaries: [{ path: /usr/bin/python3* }]
  read:
    endpoints: [{ ports: [80, 443], ${rules}, ${ranges} }]
    binaries: [{ path: /usr/bin/python3* }]
`);

/** Asks each URL, or connects to each HOST:PORT, and prints what came back, or how it failed. */
const ask = `
import socket, sys, urllib.error, urllib.request
def get(url):
    try:
        with urllib.request.urlopen(url, timeout=20) as answer: return answer.read().decode()
    except urllib.error.HTTPError as error:
        return str(error.code)
def connect(where):
    host, port = where.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 20) as s:
        s.sendall(b"hello")
        return s.recv(100).decode()
for where in sys.argv[1:]:
    try:
        print(get(where) if "/" in where else connect(where))
    except OSError as error:
        print("reset" if error.errno in (104, 107, 32) else f"{type(error).__name__} {error}")
`;

const authority = new Authority("the test's servers", 3_600_000);
const names: Readonly<Record<string, readonly string[]>> = {
  "inner.corp.test": [inner],
  "mixed.corp.test": [inner, beside],
  "beside.corp.test": [beside],
  "cloud.corp.test": ["169.254.169.254"],
};
const nameServer = await startNameServer(addresses.other, 53, (name) => names[name] ?? "no such name");

const answer = (socket: Socket): void => {
  socket.once("data", (request: Buffer) => {
    const body = `served ${/^Host: .*$/m.exec(request.toString())}`.trim();
    socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
  });
};
const hosts = [addresses.api, addresses.other, inner, beside];
const servers = [
  ...hosts.map((host) => createServer((socket) => socket.on("error", () => {}).pipe(socket)).listen(7, host)),
  createServer(answer).listen(80, inner),
  createServer((socket) =>
    answer(
      new TLSSocket(socket, {
        isServer: true,
        secureContext: authority.contextFor(inner),
        SNICallback: (name, done) => done(null, authority.contextFor(name)),
      }),
    ),
  ).listen(443, inner),
];
await Promise.all(servers.map((server) => once(server, "listening")));

const places = [
  ...["inner.corp.test:7", "api.example.test:7", `${inner}:7`, `${addresses.api}:7`],
  ...["beside.corp.test:7", "mixed.corp.test:7", "cloud.corp.test:7", "other.example.test:7", "absent.corp.test:7"],
  ...[`${beside}:7`, `${addresses.other}:7`, "host.holdfast.internal:7", "inner.corp.test:8"],
  ...["http://inner.corp.test/allowed/a", "http://inner.corp.test/no", `http://${inner}/allowed/a`],
  ...["http://beside.corp.test/allowed/a", "https://inner.corp.test/allowed/a", `https://${inner}/allowed/a`],
];

const workdir = mkdtempSync(join(tmpdir(), "holdfast-hostless-"));
if (process.geteuid?.() === 0) chownSync(workdir, 65_533, 65_533);
// The launcher trusts what its host trusts.
const trusted = `${workdir}-trust.pem`;
writeFileSync(trusted, authority.certificate);
process.env["SSL_CERT_FILE"] = trusted;
const results: Record<string, unknown> = {};
try {
  for (const mode of ["namespaces", "landlock"] as const) {
    const details: Record<string, string> = {};
    const audit = new Audit({
      write: (line) => {
        const { type, host, port, verdict, detail } = JSON.parse(line);
        if (type === "connection") details[`${host}:${port}`] = detail ?? verdict;
      },
      close: () => {},
    });
    await using sandbox = await Sandbox.create({ workdir, policy, mode, audit });
    const { stdout, stderr } = await sandbox.exec("python3", ["-c", ask, ...places]);
    const said = stdout.toString().trimEnd().split("\n");
    if (said.length !== places.length) throw new Error(`${stdout}${stderr}`);
    const script = "exec 3<>/dev/tcp/inner.corp.test/7 && echo hello >&3 && head -c 5 <&3";
    const other = await sandbox.exec("bash", ["-c", script]);
    results[mode] = {
      said: Object.fromEntries(places.map((place, index) => [place, said[index]])),
      "another program": other.stdout.toString(),
      details,
    };
  }
} finally {
  nameServer.close();
  rmSync(workdir, { recursive: true, force: true });
  rmSync(trusted);
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
