// The scenario of inspect.test.ts, run where the servers' addresses are this namespace's own.
import { createHash, X509Certificate } from "node:crypto";
import { chmodSync, chownSync, copyFileSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createSecureServer } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Duplex } from "node:stream";
import { isDeepStrictEqual } from "node:util";
import { Audit } from "../../lib/audit/audit.ts";
import { Authority } from "../../lib/egress/authority.ts";
import { hostTrust } from "../../lib/host/trust.ts";
import { Sandbox, thisHost } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { addresses, listening } from "./world.ts";

const policyText = `${runnable(dirname(process.execPath))}network_policies:
  one:
    endpoints:
      - host: api.example.test
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: { method: GET, path: "/allowed/**" }
          - allow: { method: POST, path: /upload }
        deny_rules:
          - { method: GET, path: /allowed/secret }
      - host: api.example.test
        port: 443
        path: /ws/**
        protocol: websocket
        enforcement: enforce
        rules:
          - allow: { method: GET, path: "/ws/**" }
          - allow: { method: WEBSOCKET_TEXT, path: /ws/talk }
      - { host: api.example.test, port: 80, path: /audited/**, protocol: rest, enforcement: audit, access: read-only, deny_rules: [{ method: GET, path: "/audited/**" }] }
      - { host: api.example.test, port: 80, path: /plain, protocol: rest, enforcement: enforce, access: read-only }
      - { host: api.example.test, ports: [8443, 8444], protocol: rest, enforcement: enforce, rules: [{ allow: { method: "*", path: "/allowed/**" } }] }
      - { host: other.example.test, port: 444, protocol: rest, enforcement: enforce, access: full }
      - { host: mixed.example.test, port: 443, protocol: rest, enforcement: enforce, access: full }
    binaries: [{ path: "${process.execPath}" }, { path: /usr/bin/curl }, { path: /usr/bin/wget }, { path: "/usr/bin/python3*" }, { path: /usr/bin/openssl }, { path: "/usr/lib/git-core/*" }]
  two:
    endpoints: [{ host: other.example.test, ports: [80, 443], protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/false }]
`;

const largeText = Array.from({ length: 500_000 }, (_, at) => String(at).padStart(8)).join("");
/** What waits for a request to another path. */
let goOn = (): void => {};

function onRequest(request: IncomingMessage, response: ServerResponse): void {
  const { pathname } = new URL(request.url ?? "/", "http://x");
  if (pathname === "/allowed/cut") {
    response.writeHead(200, { "Content-Length": 100 });
    response.write("half", () => response.destroy());
  } else if (pathname === "/allowed/odd") {
    response.socket?.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: content-length\r\n\r\nhi");
  } else if (pathname === "/allowed/x.git/info/refs") {
    const line = (text: string): string => `${(text.length + 4).toString(16).padStart(4, "0")}${text}`;
    response.writeHead(200, { "Content-Type": "application/x-git-upload-pack-advertisement" });
    response.end(
      `${line("# service=git-upload-pack\n")}0000${line(`${"a".repeat(40)} refs/heads/client\0agent=test\n`)}0000`,
    );
  } else if (pathname === "/allowed/trailers") {
    response.writeHead(200, { Trailer: "X-End" });
    response.write("body");
    response.addTrailers({ "X-End": "yes" });
    response.end();
  } else if (pathname === "/allowed/large") response.end(largeText);
  else if (pathname === "/allowed/begun") {
    response.write(largeText.slice(0, 16_000));
    goOn = () => response.end(largeText.slice(16_000));
  } else if (pathname === "/allowed/go-on") {
    goOn();
    response.end();
  } else if (pathname === "/allowed/events") {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write("data: first\n\n");
  } else {
    let size = 0;
    request.on("data", (part: Buffer) => {
      size += part.length;
    });
    request.on("end", () => response.end(`${request.method} ${request.url} ${size}`));
  }
}

/** Answers a WebSocket's frame with one like it. */
function onUpgrade(request: IncomingMessage, socket: Duplex): void {
  const accept = createHash("sha1")
    .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.on("data", (part: Buffer) => socket.write(Buffer.from([part[0] ?? 0, 2, 0x68, 0x69])));
  socket.on("error", () => {});
}

const closers: (() => unknown)[] = [];
const lines: Record<string, unknown>[] = [];
const audit = new Audit({ write: (line) => void lines.push(JSON.parse(line)), close: () => {} });
const workdir = mkdtempSync(join(tmpdir(), "holdfast-inspected-"));
chmodSync(workdir, 0o777);
closers.push(() => rmSync(workdir, { recursive: true, force: true }));

const authority = new Authority("the test's servers", 3_600_000);
const stranger = new Authority("a stranger", 3_600_000);
// The launcher trusts what its host trusts.
const trusted = join(workdir, "host-trust.pem");
writeFileSync(trusted, authority.certificate);
process.env["SSL_CERT_FILE"] = trusted;

const certified = {
  SNICallback: (name: string, done: (error: null, context: ReturnType<Authority["contextFor"]>) => void) =>
    done(null, authority.contextFor(name)),
};
const plain = createHttpServer(onRequest).listen(80, addresses.api);
const web = createHttpsServer(certified, onRequest).on("upgrade", onUpgrade).listen(443, addresses.api);
const untrusted = createHttpsServer(
  { SNICallback: (name, done) => done(null, stranger.contextFor(name)) },
  onRequest,
).listen(444, addresses.other);
const h2 = createSecureServer(certified);
h2.on("sessionError", () => {});
/** The most that a server of HTTP/2 may send before it hears that it was read. */
const windows = { ofStream: 0, ofAll: 0 };
h2.on("stream", (stream, headers) => {
  const { remoteSettings, state } = stream.session ?? {};
  windows.ofStream = Math.max(windows.ofStream, remoteSettings?.initialWindowSize ?? 0);
  windows.ofAll = Math.max(windows.ofAll, state?.remoteWindowSize ?? 0);
  stream.on("error", () => {});
  stream.respond({ ":status": 200 }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  if (headers[":path"] === "/allowed/early") stream.end("early");
  else if (headers[":method"] === "POST") stream.pipe(stream);
  else stream.end(`h2 ${headers[":path"]}`);
});
h2.listen(8443, addresses.api);
// Every other session ends after one request, as those of servers do that count them; what came after it is not looked at.
const leaving = createSecureServer(certified);
leaving.on("sessionError", () => {});
let sessions = 0;
leaving.on("session", (session) => {
  const number = sessions++ % 2;
  session.on("stream", (stream) => {
    stream.on("error", () => {});
    if (number === 0 && stream.id !== 1) return session.goaway(0, 1);
    stream.respond({ ":status": 200 });
    stream.end(`session ${number + 1}`);
  });
});
leaving.listen(8444, addresses.api);
const servers = [plain, web, untrusted, h2, leaving];
await listening(servers);
closers.push(() => {
  for (const server of servers) server.close();
  web.closeAllConnections();
  plain.closeAllConnections();
});

/** What the same client and programs see in a sandbox that has no namespaces. */
async function withoutNamespaces(clients: Readonly<Record<string, readonly string[]>>): Promise<object | null> {
  if (thisHost().landlockAbi < 6) return null;
  const folder = mkdtempSync(join(tmpdir(), "holdfast-inspected-"));
  closers.push(() => rmSync(folder, { recursive: true, force: true }));
  copyFileSync(join(import.meta.dirname, "inspected-client.mjs"), join(folder, "client.mjs"));
  if (process.geteuid?.() === 0) chownSync(folder, 65_533, 65_533);
  await using sandbox = await Sandbox.create({ workdir: folder, policy: sound(policyText), mode: "landlock" });
  const { stdout, stderr } = await sandbox.exec(process.execPath, ["client.mjs"], { timeout: 60_000 });
  if (stdout.length === 0) throw new Error(`the client without namespaces failed: ${stderr}`);
  const programs: Record<string, string> = {};
  for (const [name, args] of Object.entries(clients)) {
    if (!existsSync(`/usr/bin/${name}`)) continue;
    const ran = await sandbox.exec(name, args, { timeout: 20_000 });
    programs[name] = `${ran.stdout}${ran.stderr}`;
  }
  return { ...JSON.parse(stdout.toString()), programs };
}

try {
  copyFileSync(join(import.meta.dirname, "inspected-client.mjs"), join(workdir, "client.mjs"));
  let own: Authority | undefined;
  const onAuthority = (made: Authority): void => {
    own = made;
  };
  const sandbox = await Sandbox.create({ workdir, policy: sound(policyText), audit }, { onAuthority });
  closers.push(() => sandbox.dispose());
  const { stdout, stderr, denials } = await sandbox.exec(process.execPath, [join(workdir, "client.mjs")], {
    timeout: 60_000,
  });
  if (stdout.length === 0) throw new Error(`the client failed: ${stderr}`);
  const seen = JSON.parse(stdout.toString());

  // Programs that look for authorities in different places; none is told of a proxy, or of an authority.
  const url = "https://api.example.test/allowed/client";
  const clients: Record<string, readonly string[]> = {
    curl: ["-sS", url],
    wget: ["-qO-", url],
    git: ["ls-remote", "https://api.example.test/allowed/x.git"],
    python3: ["-c", `import urllib.request as r; print(r.urlopen("${url}").read().decode())`],
    openssl: [
      "s_client",
      "-brief",
      "-verify_return_error",
      "-servername",
      "api.example.test",
      "-connect",
      "api.example.test:443",
    ],
  };
  const programs: Record<string, string> = {};
  for (const [name, args] of Object.entries(clients)) {
    if (!existsSync(`/usr/bin/${name}`)) continue;
    // By its variables, and by the system's places alone.
    for (const before of [[], ["-i", "PATH=/usr/bin:/bin"]]) {
      const { stdout, stderr } = await sandbox.exec("env", [...before, name, ...args], { timeout: 20_000 });
      programs[[name, ...before].join(" ")] = `${stdout}${stderr}`;
    }
  }
  const alone = await withoutNamespaces(clients);

  // As many as the host's programs trust, and one more.
  const list = "import ssl; print(*[c.hex() for c in ssl.create_default_context().get_ca_certs(binary_form=True)])";
  const inside = new Set(`${(await sandbox.exec("python3", ["-c", list])).stdout}`.trim().split(" "));
  const pem = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
  const hex = (text: string): string => new X509Certificate(text).raw.toString("hex");
  const folder = ["verify", "-no-CAfile", "-no-CAstore", "-CApath", "/etc/ssl/certs", "/etc/holdfast/ca.pem"];
  const trusts = {
    folder: existsSync("/usr/bin/openssl") ? `${(await sandbox.exec("openssl", folder)).stdout}`.trim() : null,
    own: inside.delete(hex(own?.certificate ?? "")),
    host: isDeepStrictEqual(inside, new Set(Buffer.from(hostTrust().bundle).toString().match(pem)?.map(hex))),
  };

  copyFileSync(join(import.meta.dirname, "proxied-client.mjs"), join(workdir, "proxied.mjs"));
  const second = await Sandbox.create({ workdir, policy: sound(policyText), proxyEnv: true });
  closers.push(() => second.dispose());
  const insisting = await second.exec(process.execPath, [join(workdir, "proxied.mjs")], { timeout: 20_000 });
  if (insisting.stdout.length === 0) throw new Error(`the client of the proxy failed: ${insisting.stderr}`);

  // A stream that is under way when the policy changes, and one request after it.
  const follow = `
    import { request } from "node:https";
    const r = request({ host: "api.example.test", path: "/allowed/events" }, (response) => {
      response.on("data", () => console.log("event"));
      response.on("error", () => console.log("cut"));
    });
    r.on("error", () => console.log("cut"));
    r.end();`;
  const following = sandbox.spawn(process.execPath, ["--input-type=module", "-e", follow]);
  let said = "";
  const events = new Promise<void>((resolve) => {
    following.stdout?.on("data", (part: Buffer) => {
      said += part;
      if (said.includes("event") && !said.includes("cut")) {
        sandbox.applyPolicy(
          sound(
            policyText.replace(
              'path: "/allowed/**" }\n          - allow: { method: POST',
              'path: "/else/**" }\n          - allow: { method: POST',
            ),
          ),
        );
      }
    });
    following.once("close", () => resolve());
  });
  await events;
  console.log(
    JSON.stringify({
      ...seen,
      programs,
      alone,
      trusts,
      proxy: JSON.parse(insisting.stdout.toString()),
      "new policy": said.trim().split("\n"),
      denials,
      lines,
      windows,
    }),
  );
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);
