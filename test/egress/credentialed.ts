// The scenario of credentials.test.ts, run where the servers' addresses are this namespace's own.
import { createHash, generateKeyPairSync } from "node:crypto";
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createSecureServer } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Duplex } from "node:stream";
import { gunzipSync, gzipSync } from "node:zlib";
import { Audit } from "../../lib/audit/audit.ts";
import { Authority } from "../../lib/egress/authority.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { searchSandbox } from "../secrets/world-search.ts";
import { addresses, listening } from "./world.ts";

const closers: (() => unknown)[] = [];
const workdir = mkdtempSync(join(tmpdir(), "holdfast-credentialed-"));
chmodSync(workdir, 0o777);
const outside = mkdtempSync(join(tmpdir(), "holdfast-outside-"));
closers.push(() => rmSync(workdir, { recursive: true, force: true }));
closers.push(() => rmSync(outside, { recursive: true, force: true }));

/** With what has to be escaped in a URL. */
const secrets = {
  token: "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",
  narrow: 'n4rrow/se"cret+with=odd&characters%\\here',
  injected: "pw: with a colon / and %",
  others: "sk-ant-api03-others-secret-is-not-for-this-program-AA",
} as const;
process.env["HOLDFAST_TEST_TOKEN"] = secrets.token;
process.env["HOLDFAST_TEST_OTHERS"] = secrets.others;
const narrowFile = join(outside, "narrow");
const brokenFile = join(outside, "broken");
writeFileSync(narrowFile, `${secrets.narrow}\n`);
writeFileSync(brokenFile, "two\nlines\n");

const node = process.execPath;
process.env["HOLDFAST_TEST_INJECTED"] = secrets.injected;
const at = (path: string): string =>
  `endpoints: [{ host: api.example.test, port: 8443, path: "${path}" }], binaries: [{ path: "${node}" }]`;
const policyText = `${runnable(dirname(node))}network_policies:
  api:
    endpoints:
      - { host: api.example.test, ports: [443, 8080, 8444], protocol: rest, enforcement: enforce, access: full }
      - { host: api.example.test, ports: [443, 8444], path: /body/**, protocol: rest, enforcement: enforce, access: full, request_body_credential_rewrite: true }
      - { host: api.example.test, port: 443, path: /ws/**, protocol: websocket, enforcement: enforce, access: full, websocket_credential_rewrite: true }
    binaries: [{ path: "${node}" }]
  rest:
    endpoints:
      - { host: other.example.test, port: 443, protocol: rest, enforcement: enforce, access: full }
      - { host: api.example.test, ports: [80, 8443], protocol: rest, enforcement: enforce, access: full }
    binaries: [{ path: "${node}" }]
credentials:
  token: { source: { env: HOLDFAST_TEST_TOKEN }, env: TOKEN, network_policy: api }
  narrow:
    source: { file: ${narrowFile} }
    env: NARROW
    endpoints: [{ host: api.example.test, ports: [443, 8444], path: /only/** }]
    binaries: [{ path: "${node}" }]
  narrow-body: { source: { file: ${narrowFile} }, env: NARROW_BODY, network_policy: api }
  others:
    source: { env: HOLDFAST_TEST_OTHERS }
    env: OTHERS
    endpoints: [{ host: api.example.test }]
    binaries: [{ path: /usr/bin/false }]
  bearer: { source: { env: HOLDFAST_TEST_INJECTED }, inject: { as: bearer }, ${at("/inject/bearer")} }
  basic: { source: { env: HOLDFAST_TEST_INJECTED }, inject: { as: basic, username: me }, ${at("/inject/basic")} }
  header: { source: { env: HOLDFAST_TEST_INJECTED }, inject: { as: header, name: X-Api-Key, prefix: "Token " }, ${at("/inject/header")} }
  query: { source: { env: HOLDFAST_TEST_INJECTED }, inject: { as: query, name: key }, ${at("/inject/query")} }
  path: { source: { env: HOLDFAST_TEST_INJECTED }, inject: { as: path, template: "/bot{}/" }, ${at("/**")} }
  clear:
    source: { env: HOLDFAST_TEST_TOKEN }
    env: CLEAR
    endpoints: [{ host: api.example.test, port: 8080, path: /clear, scheme: http }]
    binaries: [{ path: "${node}" }]
  broken: { source: { file: ${brokenFile} }, env: BROKEN, format: gitlab, network_policy: api }
  missing: { source: { file: ${join(outside, "missing")} }, env: MISSING, format: npm, network_policy: api }
`;

const thiefScript = `
const key = require("node:fs").readFileSync("loot", "utf8");
const ask = (path, headers, body) => new Promise((resolve) => {
  const asked = require("node:https").request({ host: "api.example.test", path, method: "POST", headers }, (response) => {
    let text = "";
    response.on("data", (part) => (text += part));
    response.on("end", () => resolve([response.statusCode, JSON.parse(text).error]));
  });
  asked.end(body);
});
(async () => console.log(JSON.stringify([
  await ask("/stolen", { Authorization: "Bearer " + key }),
  await ask("/stolen/" + key, {}),
  await ask("/stolen", {}, "x".repeat(100) + Buffer.from("key=" + key).toString("base64")),
])))();`;

/** What came to the servers, by path. */
const came: Record<string, unknown[]> = {};

function note(path: string, what: unknown): void {
  const key = path.startsWith("/only/query") ? "only-query" : (path.split(/[/?]/)[1] ?? "");
  came[key] = [...(came[key] ?? []), what];
}

function onRequest(request: IncomingMessage, response: ServerResponse): void {
  const { url = "", headers } = request;
  if (url.startsWith("/body/") || url === "/no-body") {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const whole = Buffer.concat(parts);
      noteBody(url, headers["content-encoding"] === "gzip" ? gunzipSync(whole) : whole, headers["content-length"]);
      response.end("ok");
    });
    return;
  }
  note(url, { url, ...headers });
  if (url.includes("echo")) echo(url, headers.authorization ?? "", headers["accept-encoding"] ?? "", response);
  // Not before it is whole: an answer that has begun is not taken back.
  else request.resume().on("end", () => response.end("ok"));
}

/** What came in bodies: an `x` for many. */
const bodies: Record<string, { readonly body: string; readonly length: string | null }> = {};

function noteBody(url: string, body: Buffer, length: string | undefined): void {
  bodies[url.replace("/body/", "")] = { body: short(body), length: length ?? null };
}

function short(text: Buffer): string {
  return text.toString().replace(/x{100,}/, "x");
}

/** What was said to WebSockets, each message with its opcode. */
const texts: string[] = [];

/** Says each message back (RFC 6455); nothing is sent in fragments to it. */
function onUpgrade(request: IncomingMessage, socket: Duplex): void {
  note(request.url ?? "", { url: request.url, ...request.headers });
  const accept = createHash("sha1")
    .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  const fields = ["Upgrade: websocket", "Connection: Upgrade", `Sec-WebSocket-Accept: ${accept}`];
  socket.write(["HTTP/1.1 101 Switching Protocols", ...fields, "", ""].join("\r\n"));
  socket.on("error", () => {});
  let held = Buffer.alloc(0);
  socket.on("data", (part: Buffer) => {
    held = Buffer.concat([held, part]);
    for (;;) {
      const first = held.length < 2 ? 0 : held.readUInt8(1) & 0x7f;
      const size = 2 + (first === 127 ? 8 : first === 126 ? 2 : 0);
      if (held.length < size + 4) return;
      const length = first === 127 ? Number(held.readBigUInt64BE(2)) : first === 126 ? held.readUInt16BE(2) : first;
      if (held.length < size + 4 + length) return;
      const key = held.subarray(size, size + 4);
      const payload = Buffer.from(
        held.subarray(size + 4, size + 4 + length).map((byte, at) => byte ^ (key[at & 3] ?? 0)),
      );
      const opcode = held.readUInt8(0) & 0x0f;
      const header = Buffer.from(held.subarray(0, size));
      header.writeUInt8(first, 1);
      held = held.subarray(size + 4 + length);
      if (opcode !== 8) texts.push(`${opcode} ${short(payload)}`);
      socket.write(Buffer.concat([header, payload]));
      if (opcode === 8) socket.end();
    }
  });
}

let last = "";

/** As servers do that were not written with care. */
function echo(url: string, authorization: string, encodings: string, response: ServerResponse): void {
  const said = url === "/echo-last" ? last : authorization;
  last = said;
  const words = [said, encodeURIComponent(said), JSON.stringify({ said }), encodings];
  if (said !== "") response.setHeader("X-Echo", said);
  if (url === "/echo-gzip") {
    response.setHeader("Content-Encoding", "gzip");
    response.end(gzipSync(words.join("\n")));
  } else if (url === "/echo-chunks") {
    for (const word of words) for (const part of [word.slice(0, 20), word.slice(20)]) response.write(part);
    response.addTrailers({ "X-Trailer": said });
    response.end();
  } else if (url === "/echo-close") {
    response.socket?.end(`HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${words.join("\n")}`);
  } else response.end(words.join("\n"));
}

const lines: Record<string, unknown>[] = [];
const audit = new Audit({ write: (line) => void lines.push(JSON.parse(line)), close: () => {} });
const authority = new Authority("the test's servers", 3_600_000);
const trusted = join(outside, "host-trust.pem");
writeFileSync(trusted, authority.certificate);
process.env["SSL_CERT_FILE"] = trusted;
const certified = {
  SNICallback: (name: string, done: (error: null, context: ReturnType<Authority["contextFor"]>) => void) =>
    done(null, authority.contextFor(name)),
};
const h2 = createSecureServer({ ...certified, settings: { maxHeaderListSize: 65_536 } });
h2.on("sessionError", () => {});
h2.on("stream", (stream, headers) => {
  stream.on("error", () => {});
  const path = headers[":path"] ?? "";
  if (path.startsWith("/body/")) {
    const parts: Buffer[] = [];
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("end", () => {
      if (stream.aborted || stream.destroyed) return;
      noteBody(path, Buffer.concat(parts), headers["content-length"]);
      stream.respond({ ":status": 200 });
      stream.end("ok");
    });
    return;
  }
  note(path, { ...headers });
  const { authorization = "" } = headers;
  const isEcho = headers[":path"] === "/h2/echo";
  stream.respond({ ":status": 200, ...(isEcho ? { "x-echo": authorization } : {}) });
  if (!isEcho) {
    stream.end("ok");
    return;
  }
  stream.write(authorization.slice(0, 20));
  setImmediate(() => stream.end(`${authorization.slice(20)} ${headers["accept-encoding"]}`));
});
const servers = [
  createHttpServer(onRequest).listen(80, addresses.api),
  createHttpServer(onRequest).listen(8080, addresses.api),
  createHttpsServer(certified, onRequest).on("upgrade", onUpgrade).listen(443, addresses.api),
  createHttpsServer(certified, onRequest).listen(8443, addresses.api),
  createHttpsServer(certified, onRequest).listen(443, addresses.other),
  h2.listen(8444, addresses.api),
];
closers.push(await listening(servers));

try {
  copyFileSync(join(import.meta.dirname, "credentialed-client.mjs"), join(workdir, "client.mjs"));
  const { privateKey: receiptKey } = generateKeyPairSync("ed25519");
  const sandbox = await Sandbox.create({ workdir, policy: sound(policyText), audit, receiptKey });
  closers.push(() => sandbox.dispose());
  const { stdout, stderr, denials } = await sandbox.exec(node, [join(workdir, "client.mjs")], { timeout: 60_000 });
  if (stdout.length === 0) throw new Error(`the client failed: ${stderr}`);
  const seen = JSON.parse(stdout.toString());
  // However a program came by it: sent by itself it does not go on, not to the place that it is for either.
  const loot = join(workdir, "loot");
  writeFileSync(loot, secrets.token);
  const thief = await sandbox.exec(node, ["-e", thiefScript], { timeout: 30_000 });
  rmSync(loot);
  const asked = await sandbox.exec("getent", ["ahosts", "told-by-a-name.example.test"]);
  const second = await Sandbox.create({ workdir, policy: sound(policyText) });
  const { stdout: other } = await second.exec("sh", ["-c", 'printf %s "$TOKEN"']);
  await second.dispose();
  const everything = {
    seen: stdout.toString(),
    stderr: stderr.toString(),
    lines: JSON.stringify(lines),
    denials: JSON.stringify([denials, thief.denials]),
    thief: `${thief.stdout}${thief.stderr}`,
  };
  const all = await searchSandbox(sandbox, Object.values(secrets), everything);
  const found = Object.fromEntries(
    Object.keys(secrets).map((name, index) => [name, all.filter((line) => line.startsWith(`${index}: `))]),
  );
  await sandbox.dispose();
  const receipt = JSON.parse(Buffer.from(sandbox.receipt?.payload ?? "", "base64").toString());
  process.stdout.write(
    JSON.stringify({
      ...seen,
      ...{ receipt: receipt.predicate, named: asked.denials },
      came,
      bodies,
      said: texts,
      lines,
      denials,
      thief: JSON.parse(thief.stdout.toString()),
      secrets,
      found,
      otherSession: other.toString(),
    }),
  );
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);
