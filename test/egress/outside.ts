// The scenario of upstream.test.ts: where granted names lead, in a network of the test's own.
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Audit } from "../../lib/audit/audit.ts";
import { parsePolicy } from "../../lib/policy/load.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";

function policyOf(endpoints: string, more = ""): Policy {
  const text = `holdfast: 1
version: 1
landlock: { compatibility: best_effort }
filesystem_policy: { include_workdir: true, read_only: [/usr, /bin, /lib, /lib64, /etc] }
network_policies:
  one:
    endpoints: ${endpoints}
    binaries: [{ path: /usr/bin/python3* }]
${more}`;
  const { policy, problems } = parsePolicy(Buffer.from(text), "test.yaml");
  if (policy === null) throw new Error(problems.map(({ message }) => message).join("\n"));
  return policy;
}

/** Connects to each HOST:PORT at once, and prints what was heard from each, or how it failed. */
const ask = `
import concurrent.futures, socket, sys
def ask(where):
    host, port = where.rsplit(":", 1)
    try:
        s = socket.create_connection((host, int(port)), 20)
        s.settimeout(20)
        s.sendall(b"hello")
        s.shutdown(socket.SHUT_WR)
        got = b""
        while part := s.recv(65536): got += part
        return "got " + got.decode()
    except OSError as error:
        return "reset" if error.errno in (104, 107, 32) else type(error).__name__
with concurrent.futures.ThreadPoolExecutor(32) as pool:
    for answer in pool.map(ask, sys.argv[1:]): print(answer.strip())
`;

const results: Record<string, unknown> = {};
const closers: (() => unknown)[] = [];
/** Of each destination, what the last record says. */
const details = new Map<string, string>();
const audit = new Audit({
  write: (line) => {
    const { type, host, port, detail } = JSON.parse(line);
    if (type === "connection") details.set(`${host}:${port}`, detail);
  },
  close: () => {},
});

/** A server that says a word to everyone; its port. */
async function saying(word: string, address: string, port = 0): Promise<number> {
  const server = createServer((socket) => socket.on("error", () => {}).end(word));
  server.listen(port, address);
  await once(server, "listening");
  closers.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

const workdir = mkdtempSync(join(tmpdir(), "holdfast-outside-"));
chmodSync(workdir, 0o777);
closers.push(() => rmSync(workdir, { recursive: true, force: true }));

try {
  const port = await saying("host", "127.0.0.1");
  const closed = await saying("not granted", "127.0.0.1");
  const sandbox = await Sandbox.create({
    workdir,
    audit,
    policy: policyOf(`
      - { host: host.holdfast.internal, port: ${port}, protocol: tcp }
      - { host: host.docker.internal, port: ${port} }
      - { host: host.openshell.internal, port: ${port}, protocol: tcp, allowed_ips: ["172.17.0.0/16"] }
      - { host: "*.containers.internal", port: ${port}, protocol: tcp }
      - { host: loopback.example.test, port: ${port}, protocol: tcp }
      - { host: "127.0.0.1", port: ${port} }`),
  });
  closers.push(() => sandbox.dispose());
  const reach = async (...places: string[]): Promise<Record<string, string>> => {
    const { stdout, stderr } = await sandbox.exec("python3", ["-c", ask, ...places]);
    const answers = stdout.toString().trimEnd().split("\n");
    if (answers.length !== places.length) throw new Error(`${stdout}${stderr}`);
    return Object.fromEntries(places.map((place, index) => [place.replace(/:\d+$/, ""), answers[index] ?? ""]));
  };
  results["this host"] = await reach(
    ...["host.holdfast.internal", "host.docker.internal", "host.openshell.internal", "host.containers.internal"].map(
      (name) => `${name}:${port}`,
    ),
    `loopback.example.test:${port}`,
    `127.0.0.1:${port}`,
  );
  results["this host's other port"] = await reach(`host.holdfast.internal:${closed}`);
  results["details"] = Object.fromEntries([...details].map(([place, detail]) => [place.replace(/:\d+$/, ""), detail]));
} finally {
  for (const close of closers.reverse()) await close();
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
