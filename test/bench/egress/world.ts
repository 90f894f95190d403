// The scenario of egress.ts, run where the server's address is this namespace's own: world.ts SCALE
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Audit, fileSink } from "../../../lib/audit/audit.ts";
import { explicitProxy } from "../../../lib/plan/explicit-proxy.ts";
import { Sandbox } from "../../../lib/sandbox/sandbox.ts";
import { addresses } from "../../egress/world.ts";
import { sound } from "../../policy/policy-text.ts";
import { runChild } from "../child.ts";
import { inRounds } from "../rounds.ts";
import type { Found, Kind, Slice } from "./lines.ts";
import {
  certified,
  isInstalled,
  startMitmproxy,
  startNodeTunnel,
  startOrigin,
  startSquid,
  startTlsProxy,
} from "./peers.ts";
import { policyText } from "./policy.ts";

const server = "api.example.test";
/** Where the server listens: the endpoints of the policy are inspected, skipped and tcp. */
const ports = { inspected: 443, skipped: 444, tcp: 445 };
const downloadBytes = 256 * 1024 * 1024;
const smallPath = "/repos/acme/widgets/contents/readme";

const scale = Number(process.argv[2] ?? 1);
const rounds = Math.ceil(3 * scale);
const sliceMs = scale < 1 ? 200 : 700;

/** What each slice does: the words of load.cc, and with how many connections. */
const kinds = {
  "kept alive": { words: ["keep", "16"], path: smallPath },
  "one connection": { words: ["keep", "1"], path: smallPath },
  "new connections": { words: ["new", "8"], path: smallPath },
  download: { words: ["bulk", "1"], path: "/large" },
} as const satisfies Record<Kind, unknown>;

/** One way from the client to the server. */
interface Way {
  readonly name: string;
  readonly kinds: readonly Kind[];
  /** The proxy's process. */
  readonly pid?: number;
  /** Starts the client; its descriptors 0 and 1 are pipes. */
  start(words: readonly string[]): Pick<ChildProcess, "stdin" | "stdout" | "stderr" | "once">;
  /** Where it connects, and whether it asks for the server there by CONNECT. */
  readonly to: readonly [via: "direct" | "proxy", host: string, port: number];
  readonly serverPort?: number;
  readonly trust: string;
}

const all = Object.keys(kinds) as Kind[];
const tunnelled: readonly Kind[] = ["kept alive", "download"];

const closers: (() => unknown)[] = [];
const folder = mkdtempSync(join(tmpdir(), "holdfast-bench-egress-"));
chmodSync(folder, 0o755);
closers.push(() => rmSync(folder, { recursive: true, force: true }));

/** Processor time of all of a process's threads, in microseconds (proc(5), schedstat). */
function processorUs(pid: number): number {
  let ns = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "latin1").split(" ")[0]);
  }
  return ns / 1000;
}

/** One slice of a way: what the client counted, and what its proxy took. */
async function take(way: Way, kind: Kind): Promise<Slice> {
  const { words, path } = kinds[kind];
  const [via, host, port] = way.to;
  const client = way.start([
    ...[...words, String(sliceMs), via, host, String(port)],
    ...[server, String(way.serverPort ?? 443), way.trust, path],
  ]);
  let said = "";
  let failure = "";
  client.stderr?.on("data", (part: Buffer) => (failure += part));
  const ended = once(client as ChildProcess, "close");
  let before = 0;
  client.stdout?.on("data", (part: Buffer) => {
    said += part;
    if (said !== "ready\n") return;
    before = way.pid === undefined ? 0 : processorUs(way.pid);
    client.stdin?.write("\n");
  });
  await ended;
  const after = way.pid === undefined ? 0 : processorUs(way.pid);
  const [count = 0, bytes = 0, us = 0, medianUs = 0] = (said.split("\n")[1] ?? "").split(" ").map(Number);
  if (count === 0) throw new Error(`${way.name}, ${kind}: the client failed: ${failure}`);
  return { count, bytes, us, medianUs, processorUs: after - before };
}

try {
  const www = join(folder, "www");
  const programs = join(folder, "programs");
  const workdir = join(folder, "work");
  for (const each of [www, programs, workdir]) mkdirSync(each);
  chmodSync(workdir, 0o777);
  writeFileSync(join(www, "large"), "");
  truncateSync(join(www, "large"), downloadBytes);
  const load = join(programs, "load");
  const source = join(import.meta.dirname, "load.cc");
  await runChild(process.env["CXX"] ?? "g++", [
    "-O2",
    "-std=c++17",
    source,
    "-o",
    load,
    "-lssl",
    "-lcrypto",
    "-pthread",
  ]);

  // As servers have it: every client checks a signature of an authority's.
  const authority = certified(folder, "authority", "authority.example.test");
  const identity = certified(folder, "server", server, authority);
  // Where the sandbox sees it too.
  const trust = join(programs, "authority.pem");
  copyFileSync(authority.certificate, trust);
  // The launcher trusts what its host trusts.
  process.env["SSL_CERT_FILE"] = trust;
  const origin = await startOrigin(folder, { address: addresses.api, ports: Object.values(ports), identity });
  closers.push(() => origin.stop());

  const audit = new Audit(fileSink(join(folder, "audit.jsonl")));
  closers.push(() => audit.close());
  const sandbox = await Sandbox.create({
    ...{ workdir, audit, proxyEnv: true },
    policy: sound(policyText({ folder: programs, program: load, host: server, ports })),
  });
  closers.push(() => sandbox.dispose());

  const outside = (words: readonly string[]): ChildProcess => spawn(load, words, { stdio: ["pipe", "pipe", "pipe"] });
  const inside = (words: readonly string[]): ChildProcess => sandbox.spawn(load, words) as unknown as ChildProcess;
  const bundle = "/etc/holdfast/ca-bundle.pem";
  const own = { start: inside, pid: process.pid };
  const at = (port: number): Pick<Way, "to" | "serverPort"> => ({ to: ["direct", server, port], serverPort: port });
  const ways: Way[] = [
    { name: "direct", kinds: all, start: outside, ...at(443), trust },
    { ...own, name: "holdfast", kinds: all, ...at(ports.inspected), trust: bundle },
    {
      ...own,
      ...{ name: "holdfast, explicit proxy", kinds: ["kept alive"], trust: bundle },
      to: ["proxy", explicitProxy.name, explicitProxy.port],
    },
    { ...own, name: "holdfast, tls: skip", kinds: tunnelled, ...at(ports.skipped), trust },
    { ...own, name: "holdfast, tcp", kinds: tunnelled, ...at(ports.tcp), trust },
  ];
  const skipped: string[] = [];
  const add = (name: string, pid: number, to: Way["to"], trusted: string, kinds: readonly Kind[] = all): void =>
    void ways.push({ name, kinds, pid, start: outside, to, trust: trusted });

  const proxied = { name: server, trust, identity };
  const nginx = await startTlsProxy(folder, { ...proxied, port: 8443 });
  closers.push(() => nginx.stop());
  add("nginx, TLS to TLS", nginx.pid, ["direct", "127.0.0.1", 8443], trust);
  const tunnel = await startNodeTunnel(8080);
  closers.push(() => tunnel.stop());
  add("Node tunnel", tunnel.pid, ["proxy", "127.0.0.1", 8080], trust, tunnelled);
  if (isInstalled("squid")) {
    const bumper = certified(folder, "squid-ca", "squid.example.test");
    const squid = await startSquid(folder, { ...proxied, identity: bumper, port: 3128 });
    closers.push(() => squid.stop());
    add("squid, tunnel", squid.pid, ["proxy", "127.0.0.1", 3128], trust, tunnelled);
    add("squid, ssl-bump", squid.pid, ["proxy", "127.0.0.1", 3129], bumper.certificate);
  } else skipped.push("squid is not installed (squid-openssl)");
  if (isInstalled("mitmdump")) {
    const { peer, certificate } = await startMitmproxy(folder, { ...proxied, port: 8081 });
    closers.push(() => peer.stop());
    add("mitmproxy", peer.pid, ["proxy", "127.0.0.1", 8081], certificate);
  } else skipped.push("mitmproxy is not installed (mitmproxy)");

  const found: Found["slices"] = {};
  for (const kind of all) {
    const those = ways.filter((way) => way.kinds.includes(kind));
    // A download is over in a quarter of a second, in which any neighbour shows; new connections keep both processors busy.
    const isShaky = kind === "download" || kind === "new connections";
    await inRounds(those, isShaky ? 2 * rounds : rounds, 3, async (way, counts) => {
      const slice = await take(way, kind);
      if (!counts) return;
      const key = `${way.name}: ${kind}`;
      found[key] = [...(found[key] ?? []), slice];
    });
  }
  const result: Found = { names: ways.map(({ name }) => name), skipped, slices: found };
  console.log(JSON.stringify(result));
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);
