// The scenario of kill-network.test.ts, run where the servers' addresses are this namespace's own.
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Writable } from "node:stream";
import { Audit } from "../../lib/audit/audit.ts";
import { killNetworks } from "../../lib/sandbox/network.ts";
import { Sandbox, thisHost } from "../../lib/sandbox/sandbox.ts";
import { holdfast } from "../e2e/holdfast.ts";
import { sound } from "../policy/policy-text.ts";
import { addresses } from "./world.ts";

/** Reads streams that do not end, one from each port. */
const stream = `
import select, socket, sys
open_ = [socket.create_connection(("api.example.test", int(port)), 10) for port in sys.argv[1:]]
for s, port in zip(open_, sys.argv[1:]):
    if port == "80": s.sendall(b"GET / HTTP/1.1\\r\\nHost: api.example.test\\r\\n\\r\\n")
    s.recv(1)
print("streaming", flush=True)
ended = []
while open_:
    for s in select.select(open_, [], [])[0]:
        try:
            if s.recv(65536): continue
            ended.append("end")
        except ConnectionResetError: ended.append("reset")
        open_.remove(s)
print(*sorted(ended), flush=True)
`;

const ask = `
import socket, sys
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
    print("connected", flush=True)
    print(s.recv(1))
except OSError as error:
    print(type(error).__name__)
`;

/** Listens, takes nothing, and fills its own queue: whoever connects gets no answer. */
const deaf = `
import socket
s = socket.socket(); s.bind(("${addresses.other}", 9)); s.listen(0)
kept = []
for _ in range(4):
    c = socket.socket(); c.setblocking(False); c.connect_ex(("${addresses.other}", 9)); kept.append(c)
print("deaf", flush=True); input()
`;

const top = mkdtempSync(join(tmpdir(), "holdfast-killed-"));
const [workdir, runtime] = [join(top, "work"), join(top, "run")];
for (const folder of [workdir, runtime]) mkdirSync(folder, { mode: 0o700 });
for (const folder of [top, workdir]) chmodSync(folder, 0o777);
process.env["XDG_RUNTIME_DIR"] = runtime;

const results: Record<string, unknown> = {};
const records: Record<string, unknown>[] = [];
const audit = new Audit({ write: (line) => void records.push(JSON.parse(line)), close: () => {} });
const text = `holdfast: 1
version: 1
filesystem_policy: { include_workdir: true, read_only: [/usr, /bin, /lib, /lib64, /etc] }
dns: { servers: ["${addresses.other}"] }
network_policies:
  one:
    endpoints:
      - { host: api.example.test, port: 19, protocol: tcp }
      - { host: api.example.test, port: 80, protocol: rest, access: full }
      - { host: other.example.test, ports: [7, 9], protocol: tcp }
    binaries: [{ path: /usr/bin/python3* }]
`;
const policy = sound(text);

/** Without end, as fast as it is taken. */
function flood(to: Writable): void {
  const chunk = Buffer.alloc(16_384, "x");
  const more = (): void => {
    while (to.write(chunk));
  };
  to.on("drain", more);
  to.on("error", () => {});
  more();
}
const chargen = createServer(flood).listen(19, addresses.api);
const web = createHttpServer((_, response) => flood(response)).listen(80, addresses.api);
const reached: Socket[] = [];
const late = createServer((socket) => void reached.push(socket)).listen(7, addresses.other);
const silence = spawn("python3", ["-c", deaf], { stdio: ["pipe", "pipe", "inherit"] });
await Promise.all([...[chargen, web, late].map((server) => once(server, "listening")), once(silence.stdout, "data")]);

/** Connections of the launcher that wait for an answer (SYN_SENT of include/net/tcp_states.h). */
const waitingForAnswer = (): number =>
  readFileSync("/proc/self/net/tcp", "utf8")
    .split("\n")
    .filter((line) => / [0-9A-F]{8}:0009 02 /.test(line)).length;
const before = waitingForAnswer();
const dialling = (): number => waitingForAnswer() - before;

const sandboxOf = (): Promise<Sandbox> => Sandbox.create({ workdir, policy, audit });
const sandbox = await sandboxOf();
/** Starts a script inside; its lines as they come. */
const script = (where: Sandbox, code: string, ...args: string[]): AsyncIterator<string> => {
  const child = where.spawn("python3", ["-c", code, ...args]);
  if (child.stdout === null) throw new Error("no pipe");
  return createInterface({ input: child.stdout })[Symbol.asyncIterator]();
};
const next = async (lines: AsyncIterator<string>): Promise<string> => String((await lines.next()).value);
const until = async (isSo: () => boolean): Promise<void> => {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
};

try {
  // Live, being dialled, and about to be resolved.
  const streams = script(sandbox, stream, "19", "19", "19", "80", "80");
  results["before"] = await next(streams);
  const unanswered = script(sandbox, ask, "other.example.test", "9");
  await next(unanswered);
  await until(() => dialling() === 1);
  // Every thread that could look into /etc/hosts waits for somebody to write (libuv has four).
  const pipe = join(top, "pipe");
  spawnSync("mkfifo", [pipe]);
  const waiting = Array.from({ length: 4 }, () => open(pipe, "r"));
  const resolving = script(sandbox, ask, "other.example.test", "7");
  results["begun"] = await next(resolving);
  const count = records.length;
  const reset = sandbox.killNetwork();
  // The last may not have been decided yet.
  results["killed"] = reset === 6 || reset === 7;
  results["record of the kill"] = records.slice(count).map(({ type, connections }) => [type, connections === reset]);
  results["dialling after it"] = dialling();
  results["streams"] = await next(streams);
  results["unanswered"] = await next(unanswered);
  results["resolving"] = await next(resolving);
  const writer = openSync(pipe, "w");
  for (const file of waiting) await (await file).close();
  closeSync(writer);
  await until(() => records.filter(({ reason }) => reason === "switched-off").length >= 2);
  sandbox.applyPolicy({ ...policy, source: "another file" });
  results["by name"] = await next(script(sandbox, ask, "api.example.test", "19"));
  // It may be cut off before it hears that it was connected.
  const direct = script(sandbox, ask, addresses.api, "19");
  const first = await next(direct);
  results["by address"] = first === "connected" ? await next(direct) : first;
  results["refused"] = records
    .filter(({ reason }) => reason === "switched-off")
    .map(({ host, port, allowed }) => [host, port, allowed]);
  results["reached"] = reached.length;
  results["denials"] = sandbox.takeDenials().map(({ subject }) => subject.replace(/ \(by .*/, ""));
  await sandbox.dispose();

  // From the command line.
  const command = (...args: string[]): Promise<unknown> =>
    new Promise((resolve) =>
      execFile(holdfast, args, (error, stdout, stderr) =>
        resolve([error === null ? 0 : error.code, stdout || stderr.trim()]),
      ),
    );
  const launcher = async (): Promise<{
    readonly name: string;
    readonly process: ReturnType<typeof spawn>;
    readonly lines: AsyncIterator<string>;
    readonly exited: Promise<unknown[]>;
  }> => {
    const args = [
      "--allow",
      "api.example.test:19",
      "--status-fd",
      "3",
      "--quiet",
      "--",
      "python3",
      "-c",
      stream,
      "19",
      "19",
    ];
    const process = spawn(holdfast, ["run", "--workdir", workdir, ...args], {
      stdio: ["ignore", "pipe", "inherit", "pipe"],
    });
    const exited = once(process, "exit");
    const [status] = (await once(process.stdio[3] as NodeJS.ReadableStream, "data")) as [Buffer];
    const { name } = JSON.parse(String(status).split("\n")[0] ?? "") as { name: string };
    if (process.stdout === null) throw new Error("no pipe");
    const lines = createInterface({ input: process.stdout })[Symbol.asyncIterator]();
    await next(lines);
    return { name, process, lines, exited };
  };
  const [one, two] = await Promise.all([launcher(), launcher()]);
  results["by command"] = [JSON.stringify(await command("kill-network", one.name, "--json")).replace(one.name, "NAME")];
  results["its streams"] = await next(one.lines);
  two.process.kill("SIGUSR1");
  results["by signal"] = await next(two.lines);
  results["statuses"] = [(await one.exited)[0], (await two.exited)[0]];
  const [three, four] = await Promise.all([launcher(), launcher()]);
  results["misspelt"] = String(await command("kill-network", `${three.name}x`)).replaceAll(three.name, "NAME");
  results["--all"] = String(await command("kill-network", "--all"))
    .replaceAll(three.name, "NAME")
    .replaceAll(four.name, "NAME");
  results["all streams"] = [await next(three.lines), await next(four.lines)];
  await Promise.all([three.exited, four.exited]);
  results["none"] = await command("kill-network", "--all");
  results["no name"] = await command("kill-network");
  const folder = join(runtime, "holdfast");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const stubborn = createServer((socket) => {
    socket.on("error", () => {});
    socket.end('{"ok":false,"error":"no"}\n');
  });
  await once(stubborn.listen(join(folder, "stubborn.sock")), "listening");
  results["stubborn"] = await command("kill-network", "stubborn");
  stubborn.close();

  // Without namespaces names are asked for by connections.
  const owned = join(top, "owned");
  mkdirSync(owned);
  if (process.geteuid?.() === 0) chownSync(owned, 65_533, 65_533);
  if (thisHost().landlockAbi >= 6) {
    const bare = await Sandbox.create({ workdir: owned, policy, mode: "landlock" });
    bare.killNetwork();
    const name = await next(script(bare, ask, "api.example.test", "19"));
    const denials = bare.takeDenials().filter(({ subject }) => subject !== "udp");
    results["without namespaces"] = [name, ...denials.map(({ subject, detail }) => `${subject}: ${detail}`)];
    await bare.dispose();
  }

  // Of a whole process, also what it makes later.
  const earlier = await sandboxOf();
  killNetworks();
  const later = await sandboxOf();
  results["the whole process"] = await Promise.all(
    [earlier, later].map((each) => next(script(each, ask, "api.example.test", "19"))),
  );
  await Promise.all([earlier.dispose(), later.dispose()]);
} finally {
  silence.kill();
  rmSync(top, { recursive: true, force: true });
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
