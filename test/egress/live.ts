// The scenario of live.test.ts: streams of every kind, and what another policy or the kill switch makes of them.
import { once } from "node:events";
import { chmodSync, chownSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createSecureServer } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import type { Duplex, Writable } from "node:stream";
import { createServer as createTlsServer } from "node:tls";
import { Authority } from "../../lib/egress/authority.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { addresses, listening } from "./world.ts";

const mode = process.argv[2] === "landlock" ? "landlock" : "namespaces";

const everything = {
  rest: '{ method: "*", path: "/**" }',
  socket: "/ws/**",
  tcp: "{ host: api.example.test, port: 7, protocol: tcp }",
  skip: "{ host: api.example.test, port: 9443, tls: skip }",
};

function policyOf({ rest, socket, tcp, skip }: typeof everything, more = ""): Policy {
  const read = `host: api.example.test, ports: [80, 443, 8443]`;
  return sound(`${runnable(dirname(process.execPath))}network_policies:
  one:
    endpoints:
      - { ${read}, protocol: rest, enforcement: enforce, rules: [{ allow: ${rest} }] }
      - { ${read}, path: "/ws/**", protocol: websocket, enforcement: enforce, rules: [{ allow: { method: GET, path: "${socket}" } }] }
      - ${tcp}
      - ${skip}
    binaries: [{ path: "${process.execPath}" }]
${more}`);
}

/** Grants the same places once more, by another entry, and others. */
const more = `  two:
    endpoints:
      - { host: api.example.test, ports: [443, 80, 8443], path: "/more/**", protocol: rest, enforcement: enforce, access: read-only }
      - { host: "*.example.test", ports: [7, 8], protocol: tcp }
    binaries: [{ path: "${process.execPath}" }]
`;

const policies: Readonly<Record<string, (sandbox: Sandbox) => unknown>> = {
  "the same again": (sandbox) => sandbox.applyPolicy(policyOf(everything)),
  "all and more": (sandbox) =>
    sandbox.applyPolicy(
      policyOf({ ...everything, skip: "{ host: api.example.test, port: 9443, protocol: tcp }" }, more),
    ),
  "a part": (sandbox) =>
    sandbox.applyPolicy(
      policyOf({
        rest: '{ method: GET, path: "/large/**" }',
        socket: "/ws/a",
        tcp: everything.tcp,
        skip: "{ host: other.example.test, port: 9443, tls: skip }",
      }),
    ),
  nothing: (sandbox) =>
    sandbox.applyPolicy(
      sound(`${runnable(dirname(process.execPath))}network_policies:
  one:
    endpoints: [{ host: other.example.test, port: 80, protocol: rest, access: full }]
    binaries: [{ path: "${process.execPath}" }]
`),
    ),
  "the kill switch": (sandbox) => sandbox.killNetwork(),
};

const words = new Set<Writable>();
setInterval(() => {
  for (const each of words) each.write("data: word\n\n");
}, 50).unref();

/** A word again and again. */
function speak(to: Writable): void {
  words.add(to);
  to.on("error", () => {});
  to.on("close", () => words.delete(to));
}

/** Without end, as fast as it is taken. */
function flood(to: Writable): void {
  const chunk = Buffer.alloc(16_384, "x");
  const more = (): void => {
    while (!to.destroyed && to.write(chunk));
  };
  to.on("drain", more);
  to.on("error", () => {});
  more();
}

function answer({ url = "" }: IncomingMessage, response: ServerResponse): void {
  response.writeHead(200);
  if (url.startsWith("/large/")) flood(response);
  else speak(response);
}

function upgrade(_: IncomingMessage, socket: Duplex): void {
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
  );
  const ping = setInterval(() => socket.write(Buffer.of(0x82, 2, 0x68, 0x69)), 50);
  socket.on("error", () => {});
  socket.on("close", () => clearInterval(ping));
  socket.resume();
}

const authority = new Authority("the test's servers", 3_600_000);
const workdir = mkdtempSync(join(tmpdir(), "holdfast-live-"));
chmodSync(workdir, 0o755);
const client = join(workdir, "live-client.mjs");
copyFileSync(join(import.meta.dirname, "live-client.mjs"), client);
if (process.geteuid?.() === 0) chownSync(workdir, 65_533, 65_533);
// The launcher trusts what its host trusts.
const trusted = `${workdir}-trust.pem`;
writeFileSync(trusted, authority.certificate);
process.env["SSL_CERT_FILE"] = trusted;
const context = authority.contextFor("api.example.test");
const certified = {
  SNICallback: (_: string, done: (error: null, given: typeof context) => void) => done(null, context),
};
const h2 = createSecureServer(certified);
h2.on("stream", (stream, headers) => {
  stream.respond({ ":status": 200 });
  if (headers[":path"]?.startsWith("/large/")) flood(stream);
  else speak(stream);
});
const close = await listening([
  createHttpServer(answer).on("upgrade", upgrade).listen(80, addresses.api),
  createHttpsServer(certified, answer).on("upgrade", upgrade).listen(443, addresses.api),
  h2.listen(8443, addresses.api),
  createServer(speak).listen(7, addresses.api),
  createTlsServer(certified, speak).listen(9443, addresses.api),
]);

const results: Record<string, unknown> = {};
try {
  for (const [title, change] of Object.entries(policies)) {
    await using sandbox = await Sandbox.create({ workdir, policy: policyOf(everything), mode, proxyEnv: true });
    const child = sandbox.spawn(process.execPath, [client], { stdio: ["pipe", "pipe", "inherit"] });
    if (child.stdout === null || child.stdin === null) throw new Error("no pipes");
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async (): Promise<string> => String((await lines.next()).value);
    await next();
    change(sandbox);
    const said: string[] = [];
    // All fourteen have ended, or said that they go on.
    const goesOn = title === "the same again" || title === "all and more" ? 14 : title === "a part" ? 7 : 0;
    while (said.length < 14 - goesOn) said.push(await next());
    if (goesOn > 0) child.stdin.write("who goes on?\n");
    for (let left = goesOn; left > 0; left--) said.push(await next());
    // Whether Node's client of HTTP/2 meets the reset of its connection when it writes, and then reads an end, is chance: to
    // those who read its streams both are said to be their end.
    const isCut = title === "nothing" || title === "the kill switch";
    const met = (line: string): string => (isCut ? line.replace(/^(h2 .*): end$/, "$1: error") : line);
    results[title] = {
      said: said
        .filter((line) => !line.endsWith("goes on"))
        .map(met)
        .sort(),
      "goes on": said.flatMap((line) => (line.endsWith(": goes on") ? line.slice(0, -9) : [])).sort(),
      denials: new Set(sandbox.takeDenials().map(({ subject }) => subject.replace(/ \(by .*/, ""))).size,
    };
    child.kill("SIGKILL");
    await once(child, "exit");
  }
} finally {
  close();
  rmSync(workdir, { recursive: true, force: true });
  rmSync(trusted);
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
