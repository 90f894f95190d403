import { execFileSync, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer, TLSSocket } from "node:tls";
import test from "ava";
import { Authority } from "../../lib/egress/authority.ts";

const hour = 3_600_000;

test("The authority signs leaves for one name or address each, valid no longer than itself", (t) => {
  const authority = new Authority("hf-test", hour);
  const ca = new X509Certificate(authority.certificate);
  t.true(ca.ca);
  t.true(ca.verify(ca.publicKey));
  t.regex(ca.subject, /CN=holdfast hf-test/);
  for (const [name, shown] of [
    ["api.example.com", "DNS:api.example.com"],
    ["10.1.2.3", "IP Address:10.1.2.3"],
    ["2001:db8::1", "IP Address:2001:DB8:0:0:0:0:0:1"],
    [`${"a".repeat(60)}.${"b".repeat(60)}.example.com`, `DNS:${"a".repeat(60)}.${"b".repeat(60)}.example.com`],
  ] as const) {
    const leaf = new X509Certificate(authority.leafFor(name));
    t.true(leaf.checkIssued(ca) && leaf.verify(ca.publicKey) && !leaf.ca, name);
    t.is(leaf.subjectAltName, shown);
    t.true(Date.parse(leaf.validTo) - Date.now() <= hour && Date.parse(leaf.validTo) > Date.now());
    t.true(Date.parse(leaf.validFrom) < Date.now());
  }
  t.not(
    new X509Certificate(authority.leafFor("a.b.c")).serialNumber,
    new X509Certificate(authority.leafFor("a.b.c")).serialNumber,
  );
});

test("Clients that trust the authority take its leaves for their name only, others none", async (t) => {
  const authority = new Authority("hf-test", hour);
  const server = createServer({ SNICallback: (name, done) => done(null, authority.contextFor(name)) }, (socket) =>
    socket.end("x"),
  );
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const dial = async (ca: string | undefined, servername: string, checked: string): Promise<string> => {
    const socket = connect({
      host: "127.0.0.1",
      port,
      servername,
      ...(ca === undefined ? {} : { ca }),
      checkServerIdentity: (_, certificate) =>
        certificate.subjectaltname === `DNS:${checked}` ? undefined : new Error("another name"),
    });
    try {
      await once(socket, "secureConnect");
      return "connected";
    } catch (error) {
      return error instanceof Error ? error.message : "";
    } finally {
      socket.destroy();
    }
  };
  t.is(await dial(authority.certificate, "h.example", "h.example"), "connected");
  t.regex(await dial(authority.certificate, "h.example", "other.example"), /another name/);
  t.regex(await dial(undefined, "h.example", "h.example"), /unable to|self.signed/);
  t.regex(
    await dial(new Authority("hf-other", hour).certificate, "h.example", "h.example"),
    /unable to|self.signed|signature/,
  );
});

test("OpenSSL finds nothing to complain about", (t) => {
  if (spawnSync("openssl", ["version"]).error !== undefined) {
    t.log("skipped: openssl is not installed");
    t.pass();
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "holdfast-ca-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const authority = new Authority("hf-test", hour);
  writeFileSync(join(folder, "ca.pem"), authority.certificate);
  writeFileSync(join(folder, "leaf.pem"), authority.leafFor("h.example"));
  const args = [
    "verify",
    "-x509_strict",
    "-purpose",
    "sslserver",
    "-verify_hostname",
    "h.example",
    "-CAfile",
    "ca.pem",
    "leaf.pem",
  ];
  t.regex(execFileSync("openssl", args, { cwd: folder, encoding: "utf8" }), /leaf\.pem: OK/);
});

test("A client of TLS 1.2 has one handshake", async (t) => {
  const authority = new Authority("test", hour);
  const server = createTcpServer((client) => {
    const secured = new TLSSocket(client, { isServer: true, secureContext: authority.contextFor("h.test") });
    secured.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const ca = authority.certificate;
  const client = connect({ port, host: "127.0.0.1", servername: "h.test", ca, maxVersion: "TLSv1.2" });
  t.teardown(() => client.destroy());
  await once(client, "secureConnect");
  const said = new Promise<string>((resolve) => {
    client.on("error", (error: NodeJS.ErrnoException) => resolve(String(error.code)));
    client.renegotiate({}, (error) => resolve(error === null ? "renegotiated" : String(error)));
  });
  t.is(await said, "ERR_SSL_NO_RENEGOTIATION");
});

test("Only what a sandbox's authority answers with is without tickets, not what its embedder serves", async (t) => {
  const authority = new Authority("hf-test", hour);
  authority.contextFor("api.example.com");
  const context = { key: authority.leafKey, cert: authority.leafFor("api.example.com") };
  const server = createServer(context, (socket) => socket.on("error", () => {}).end("x")).listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const socket = connect({ host: "127.0.0.1", port, servername: "api.example.com", ca: authority.certificate });
  socket.resume();
  await once(socket, "session");
  t.is(socket.getProtocol(), "TLSv1.3");
});

test("A client that comes again shakes hands anew: no ticket is worth its price here", async (t) => {
  const authority = new Authority("hf-test", hour);
  const server = createTcpServer((socket) => {
    const secured = new TLSSocket(socket, { isServer: true, secureContext: authority.contextFor("api.example.com") });
    secured.on("error", () => {});
    secured.end("x");
  }).listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  for (const maxVersion of ["TLSv1.3", "TLSv1.2"] as const) {
    let session: Buffer | undefined;
    for (const time of ["first", "second"]) {
      const socket = connect({
        ...{ host: "127.0.0.1", port, maxVersion, servername: "api.example.com", ca: authority.certificate },
        ...(session === undefined ? {} : { session }),
      });
      socket.on("session", (made) => (session = made));
      socket.resume();
      await once(socket, "secureConnect");
      t.is(socket.getProtocol(), maxVersion);
      t.false(socket.isSessionReused(), `${maxVersion}, the ${time}`);
      await once(socket, "close");
      // A ticket of TLS 1.3 would be one; one of 1.2 has an identifier, which nobody keeps.
      t.is(session === undefined, maxVersion === "TLSv1.3");
    }
  }
});
