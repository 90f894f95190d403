// The scenario of gateway.test.ts, run where the servers' addresses are this namespace's own.
import { execFile } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdtempSync, rmSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { Audit } from "../../lib/audit/audit.ts";
import { Authority } from "../../lib/egress/authority.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { holdfast } from "../e2e/holdfast.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { addresses } from "./world.ts";

function policyOf(endpoints: string, binaries = "[{ path: /usr/bin/python3* }]"): Policy {
  const text = `${runnable()}network_policies:
  one:
    endpoints: ${endpoints}
    binaries: ${binaries}
`;
  return sound(text);
}

/** Connects, says something, and prints what came back, or how it failed. */
const ask = `
import socket, sys
host, port, text = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
try:
    s = socket.create_connection((host, port), 10)
    s.sendall(text)
    s.shutdown(socket.SHUT_WR)
    got = b""
    while True:
        part = s.recv(65536)
        if not part: break
        got += part
    print("got", got.decode())
except OSError as error:
    # By when it comes a reset is one error or another.
    print("reset" if error.errno in (104, 107, 32) else type(error).__name__)
`;

/** What becomes of TLS to a granted name that asks for it, for another, and for none. */
async function speakTls(sandbox: Sandbox): Promise<Record<string, string>> {
  const script = `
import socket, ssl
context = ssl._create_unverified_context()
for name in "api.example.test", "other.example.test", None:
    try:
        s = context.wrap_socket(socket.create_connection(("api.example.test", 443), 10), server_hostname=name)
        print(s.recv(100).decode().strip())
    except OSError as error:
        print("refused")
`;
  const { stdout } = await sandbox.exec("python3", ["-c", script]);
  const said = stdout.toString().split("\n");
  return Object.fromEntries(
    ["tls", "tls, another name", "tls, no name"].map((what, index) => [what, said[index] ?? ""]),
  );
}

/** The same policy in a sandbox that has no network of its own. */
async function withoutNamespaces(policy: Policy): Promise<Record<string, string>> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-egress-"));
  if (process.geteuid?.() === 0) chownSync(folder, 65_533, 65_533);
  try {
    await using sandbox = await Sandbox.create({ workdir: folder, policy, mode: "landlock" });
    const python = async (host: string, port: number): Promise<string> => {
      const { stdout, stderr } = await sandbox.exec("python3", ["-c", ask, host, String(port), "hello"]);
      return (stdout.toString() || stderr.toString()).trim();
    };
    return {
      "by name": await python("api.example.test", 7),
      "by address": await python(addresses.other, 7),
      "other name": await python("other.example.test", 7),
      "address of a name": await python(addresses.api, 7),
      "other port": await python("api.example.test", 8),
      metadata: await python("metadata.example.test", 80),
      ...(await speakTls(sandbox)),
      "host's loopback": await python("127.0.0.1", hostPort),
      "another program": String(
        (await sandbox.exec("bash", ["-c", "exec 3<>/dev/tcp/api.example.test/7 && echo hi >&3 && cat <&3"])).stdout,
      ),
      "a copy": String(
        (
          await sandbox.exec("bash", [
            "-c",
            `cp "$(readlink -f "$(command -v python3)")" ./copy && ./copy -c "$0" api.example.test 7 hello`,
            ask,
          ])
        ).stdout,
      ).trim(),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const results: Record<string, unknown> = {};
const closers: (() => unknown)[] = [];
const refused: unknown[] = [];
const lines: Record<string, unknown>[] = [];
const audit = new Audit({ write: (line) => void lines.push(JSON.parse(line)), close: () => {} });

const echo = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  socket.pipe(socket);
});
echo.listen(7, addresses.api);
const other = createServer((socket) => socket.end("other\n"));
other.listen(7, addresses.other);
const greeting = createServer((socket) => socket.end("220 hello\r\n"));
greeting.listen(25, addresses.api);
const web = createHttpServer((request, response) => response.end(`web ${request.url}\n`));
web.listen(80, addresses.api);
const authority = new Authority("test", 3_600_000);
const secure = createTlsServer({ SNICallback: (name, done) => done(null, authority.contextFor(name)) }, (socket) => {
  socket.on("error", () => {});
  socket.end("secure\n");
});
secure.listen(443, addresses.api);
const inside = createServer();
inside.listen(0, "127.0.0.1");
const servers = [echo, other, greeting, web, secure, inside];
await Promise.all(servers.map((server) => once(server, "listening")));
closers.push(() => {
  for (const server of servers) server.close();
});
const hostPort = (inside.address() as AddressInfo).port;

const workdir = mkdtempSync(join(tmpdir(), "holdfast-egress-"));
chmodSync(workdir, 0o777);
closers.push(() => rmSync(workdir, { recursive: true, force: true }));

try {
  const policy = policyOf(`
      - { host: api.example.test, ports: [7, 25, 80], protocol: tcp }
      - { host: api.example.test, port: 443 }
      - { host: mixed.example.test, port: 7, protocol: tcp }
      - { host: metadata.example.test, port: 80, protocol: tcp }
      - { host: "${addresses.other}", port: 7 }`);
  const sandbox = await Sandbox.create({ workdir, policy, audit });
  closers.push(() => sandbox.dispose());
  const python = async (host: string, port: number, text = "hello"): Promise<string> => {
    const { stdout, stderr, denials } = await sandbox.exec("python3", ["-c", ask, host, String(port), text]);
    refused.push(
      ...denials.map(({ subject, grant }) =>
        [subject, grant ?? null].map((word) => word?.replace(/\/usr\/bin\/python3\.\d+/, "python3")),
      ),
    );
    return (stdout.toString() || stderr.toString()).trim();
  };
  const shell = async (script: string): Promise<string> => {
    const { stdout, stderr } = await sandbox.exec("bash", ["-c", script]);
    return `${stdout}${stderr}`.trim();
  };
  results["by name"] = await python("api.example.test", 7);
  results["by address"] = await python(addresses.other, 7);
  results["server first"] = await python("api.example.test", 25, "");
  results["large"] = (await python("api.example.test", 7, "x".repeat(100_000))).length;
  results["other name"] = await python("other.example.test", 7);
  results["address of a name"] = await python(addresses.api, 7);
  results["other port"] = await python("api.example.test", 8);
  results["mixed addresses"] = await python("mixed.example.test", 7);
  results["metadata"] = await python("metadata.example.test", 80);
  results["host's loopback"] = await python("127.0.0.1", hostPort);
  results["the listener itself"] = await python("127.0.0.1", 1);
  results["without namespaces"] = await withoutNamespaces(policy);
  Object.assign(results, await speakTls(sandbox));
  results["another program"] = await shell(
    "exec 3<>/dev/tcp/api.example.test/7 && echo hello 2>/dev/null >&3 && head -c 5 <&3 2>/dev/null; true",
  );
  results["a copy"] = await shell(
    `cp "$(readlink -f "$(command -v python3)")" ./copy && ./copy -c '${ask.replaceAll("'", "")}' api.example.test 7 hello`,
  );
  results["at once"] = await shell(
    `for i in $(seq 40); do python3 -c '${ask.replaceAll("'", "")}' api.example.test 7 "n$i" & done; wait`,
  );
  results["without waiting"] = await shell(`python3 -c '
import errno, select, socket
s = socket.socket(); s.setblocking(False)
first = s.connect_ex(("api.example.test", 7))
select.select([], [s], [], 10)
print(errno.errorcode.get(first, first), s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), s.connect_ex(("api.example.test", 7)) in (0, errno.EISCONN))
s.setblocking(True); s.sendall(b"later"); s.shutdown(socket.SHUT_WR); print(s.recv(10).decode())'`);
  results["interrupted"] = await shell(`python3 -c '
import signal, socket
signal.signal(signal.SIGALRM, lambda *_: None); signal.siginterrupt(signal.SIGALRM, False); signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
for _ in range(50):
    s = socket.create_connection(("api.example.test", 7), 10); s.sendall(b"x"); assert s.recv(1) == b"x"; s.close()
print("fine")'`);
  results["probed often"] = await shell(`python3 -c '
import socket, ssl
for _ in range(600): socket.create_connection(("api.example.test", 443), 10).close()
context = ssl._create_unverified_context()
s = context.wrap_socket(socket.create_connection(("api.example.test", 443), 10), server_hostname="api.example.test")
print(s.recv(100).decode().strip())'`);
  const recorded = (): number => lines.filter(({ type, port }) => type === "connection" && port === 443).length;
  const before = recorded();
  await shell(`python3 -c '
import socket, struct, time
held = []
for words in (b"", b"\\x16\\x03\\x01\\x02\\x00\\x01", b"hello") * 10:
    held.append(socket.create_connection(("api.example.test", 443), 10))
    held[-1].sendall(words)
time.sleep(0.3)  # until their servers are reached
for s in held:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()'`);
  const deadline = performance.now() + 5000;
  while (recorded() < before + 30 && performance.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 5));
  results["records of resets"] = recorded() - before;
  results["too many at once"] = await shell(`python3 -c '
import socket
def says(s):
    try: s.sendall(b"x"); return s.recv(1) == b"x"
    except OSError: return False
held = [socket.create_connection(("api.example.test", 7)) for _ in range(530)]
print({says(s) for s in held} == {True, False})
for s in held: s.close()
print(any(says(socket.create_connection(("api.example.test", 7))) for _ in range(1000)))'`);
  results["udp"] = await shell(`python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    s.connect(("${addresses.api}", 53)); print("connected")
except OSError as error: print(type(error).__name__)'`);
  results["denials"] = refused;
  results["records of too many"] = lines.some(({ reason }) => reason === "too-many");
  results["records"] = lines
    .filter(({ type, reason }) => type === "connection" && reason !== "too-many")
    .map(({ host, port, allowed, reason, sha256 }) => [
      host,
      port,
      allowed,
      reason ?? null,
      typeof sha256 === "string" && sha256.length === 64,
    ]);

  const command = (...options: string[]): Promise<string> => {
    const args = [
      "run",
      "--workdir",
      workdir,
      ...options,
      "--",
      "python3",
      "-c",
      ask,
      "api.example.test",
      "7",
      "hello",
    ];
    return new Promise((resolve) =>
      execFile(holdfast, args, (_, stdout, stderr) => resolve(`${stdout}${stderr}`.trim())),
    );
  };
  results["--allow"] = await command("--allow", "api.example.test:7");
  results["--allow of another port"] = await command("--allow", "api.example.test");
  results["--allow-binary of another"] = await command(
    "--allow",
    "api.example.test:7",
    "--allow-binary",
    "/usr/bin/curl",
  );

  const held = sandbox.spawn("python3", [
    "-c",
    'import socket\ns = socket.create_connection(("api.example.test", 7), 10); s.sendall(b"x"); s.recv(1); print("open", flush=True)\ntry: print(s.recv(1))\nexcept OSError as error: print("reset")',
  ]);
  const said: string[] = [];
  held.stdout?.on("data", (chunk: Buffer) => said.push(String(chunk)));
  await once(held.stdout ?? held, "data");
  sandbox.applyPolicy(policyOf(`[{ host: api.example.test, port: 80, protocol: tcp }]`));
  await once(held, "close");
  results["record of the reload"] = sandbox.takeDenials().map(({ subject }) => subject.replace(/ \(by .*/, ""));
  results["reload"] = said.join("").trim().split("\n");
  results["after the reload"] = await python("api.example.test", 7);
  results["still"] = (await python("api.example.test", 80, "GET /x HTTP/1.0\r\n\r\n")).split("\n").at(-1);
} finally {
  for (const close of closers.reverse()) await close();
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
