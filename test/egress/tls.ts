// The scenario of tls.test.ts, run where the servers' addresses are this namespace's own.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer, type RequestListener } from "node:http";
import { createSecureServer } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { connect, type SecureContext, type TlsOptions } from "node:tls";
import { Audit } from "../../lib/audit/audit.ts";
import { Authority } from "../../lib/egress/authority.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { addresses } from "./world.ts";

const workdir = mkdtempSync(join(tmpdir(), "holdfast-tls-"));
chmodSync(workdir, 0o755);
const closers: (() => unknown)[] = [() => rmSync(workdir, { recursive: true, force: true })];
const put = (name: string, content: string | Uint8Array): void => writeFileSync(join(workdir, name), content);

const hour = 3_600_000;
const authority = new Authority("servers", hour);
const past = new Authority("past", -1000);
/** A key, and a certificate that is its own authority. */
function certify(file: string, subject: string, ...more: readonly string[]): readonly string[] {
  const [key, certificate] = [join(workdir, `${file}.key`), join(workdir, `${file}.pem`)];
  const self = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject, ...more];
  execFileSync("openssl", ["req", ...self, "-keyout", key, "-out", certificate], { stdio: "ignore" });
  chmodSync(key, 0o644);
  return ["-key", key, "-cert", certificate];
}
certify("client", "/CN=a client");
const renegotiating = certify("renegotiating", "/CN=a server", "-addext", "subjectAltName=DNS:api.example.test");

put("servers.pem", authority.certificate);
put(
  "host-trust.pem",
  authority.certificate + past.certificate + readFileSync(join(workdir, "renegotiating.pem"), "latin1"),
);
// The launcher trusts what its host trusts.
process.env["SSL_CERT_FILE"] = join(workdir, "host-trust.pem");

/** A server of TLS 1.2 that wants a second handshake before it answers its first request; its port, and what it says of that. */
async function listenAndRenegotiate(): Promise<{ readonly port: number; readonly said: () => string }> {
  const args = ["-accept", `${addresses.api}:0`, "-tls1_2", "-crlf", ...renegotiating];
  const server = spawn("openssl", ["s_server", ...args], { stdio: ["pipe", "pipe", "pipe"] });
  closers.push(() => server.kill());
  let said = "";
  let requests = 0;
  const port = new Promise<number>((resolve) => {
    const look = (part: Buffer): void => {
      said += part;
      const found = /^ACCEPT \S+:(\d+)$/m.exec(said)?.[1];
      if (found !== undefined) resolve(Number(found));
      const seen = said.match(/^GET /gm)?.length ?? 0;
      if (seen === requests) return;
      requests = seen;
      // Commands of s_server(1): renegotiate; end.
      server.stdin.write(requests === 1 ? "R\n" : "HTTP/1.1 200 OK\nContent-Length: 6\n\nserved");
    };
    server.stdout.on("data", look);
    server.stderr.on("data", look);
  });
  return { port: await port, said: () => said };
}

async function listen(server: Server): Promise<number> {
  server.listen(0, addresses.api);
  await once(server, "listening");
  closers.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** What a real client sends first, and the same with an encrypted client hello, which nobody can tell from padding. */
async function hellos(): Promise<{ readonly hello: Buffer; readonly hidden: Buffer }> {
  const server = createServer();
  const port = await listen(server);
  const client = connect({ host: addresses.api, port, servername: "api.example.test" });
  client.on("error", () => {});
  const [socket] = (await once(server, "connection")) as [Socket];
  const [hello] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  socket.destroy();
  const hidden = Buffer.from(hello);
  // In the place of session_ticket, which is empty (RFC 8446 section 4.2; draft-ietf-tls-esni).
  hidden.writeUInt16BE(0xfe0d, hidden.indexOf(Buffer.from([0, 0x23, 0, 0])));
  return { hello, hidden };
}

const onRequest: RequestListener = (request, response) => {
  request.resume();
  response.end("served");
};
const by = (context: SecureContext): TlsOptions => ({ SNICallback: (_name, done) => done(null, context) });
const good = authority.contextFor("api.example.test");
const asking: TlsOptions = { ...by(good), requestCert: true, rejectUnauthorized: true };

try {
  const inspected = await listen(createHttpsServer(by(good), onRequest));
  // Nobody's authority signed the client's certificate: it is enough that there is one.
  const skipped = await listen(
    createHttpsServer({ ...by(good), requestCert: true, rejectUnauthorized: false }, (request, response) => {
      const { socket } = request;
      response.end("getPeerCertificate" in socket ? String(Object(socket).getPeerCertificate().subject?.CN) : "");
    }),
  );
  const renegotiator = await listenAndRenegotiate();
  const h2 = createSecureServer(asking);
  h2.on("sessionError", () => {});
  const ports = [
    await listen(createHttpsServer(by(past.contextFor("api.example.test")), onRequest)),
    await listen(createHttpsServer(by(authority.contextFor("other.example.test")), onRequest)),
    await listen(createHttpServer(onRequest)),
    await listen(createHttpsServer(asking, onRequest)),
    await listen(createHttpsServer({ ...asking, maxVersion: "TLSv1.2" }, onRequest)),
    await listen(h2),
    renegotiator.port,
  ];
  const { hello, hidden } = await hellos();
  put("hello.bin", hello);
  put("hidden.bin", hidden);
  copyFileSync(join(import.meta.dirname, "tls-client.mjs"), join(workdir, "client.mjs"));

  const policy = sound(`${runnable(dirname(process.execPath))}network_policies:
  one:
    endpoints:
      - { host: api.example.test, ports: [${[inspected, ...ports].join(", ")}], protocol: rest, enforcement: enforce, access: full }
      - { host: api.example.test, port: ${skipped}, tls: skip }
    binaries: [{ path: "${process.execPath}" }, { path: "/usr/bin/python3*" }]
`);
  const details: string[] = [];
  const bothLeft = Promise.withResolvers<void>();
  const write = (line: string): void => {
    details.push(String(JSON.parse(line).detail));
    if (details.filter((detail) => detail.startsWith("the client left")).length === 2) bothLeft.resolve();
  };
  const audit = new Audit({ write, close: () => {} });
  const sandbox = await Sandbox.create({ workdir, policy });
  closers.push(() => sandbox.dispose());
  const args = [join(workdir, "client.mjs"), workdir, inspected, skipped, ...ports].map(String);
  const { stdout, stderr, denials } = await sandbox.exec(process.execPath, args, { timeout: 60_000 });
  if (stdout.length === 0) throw new Error(`the client failed: ${stderr}`);
  const second = await Sandbox.create({ workdir, policy, audit });
  closers.push(() => second.dispose());
  // Some that trust another authority alone: one that says so, and two that leave once they have seen the certificate.
  const distrusting = `import ssl, socket
c = ssl.create_default_context(cafile="${join(workdir, "servers.pem")}")
try: c.wrap_socket(socket.create_connection(("api.example.test", ${inspected})), server_hostname="api.example.test")
except ssl.SSLCertVerificationError as e: print(e.reason)
`;
  const alerting = await second.exec("python3", ["-c", distrusting], { timeout: 20_000 });
  const leaving = `const tls = require("node:tls");
    const options = { host: "api.example.test", port: ${inspected}, servername: "api.example.test" };
    tls.connect(options, function () { this.destroy(); });
    tls.connect(options, function () { this.end(); });`;
  const gone = await second.exec(process.execPath, ["-e", leaving], { timeout: 20_000 });
  // The program's end may be seen before its connections'.
  await Promise.race([bothLeft.promise, new Promise((resolve) => setTimeout(resolve, 5000).unref())]);
  console.log(
    JSON.stringify({
      ...JSON.parse(stdout.toString()),
      denials,
      alerting: { said: String(alerting.stdout).trim(), denials: alerting.denials },
      renegotiator: renegotiator.said(),
      left: [...gone.denials, ...second.takeDenials()],
      details: details.filter((detail) => detail.startsWith("the client ")),
    }),
  );
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);
