// The scenario of secret-memory.test.ts, run where the server's address is this namespace's own. No process of it but the
// server's and the one that searches ever reads the secret but by way of the gateway.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Authority } from "../../lib/egress/authority.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { processesBelow } from "../secrets/world-search.ts";
import { addresses } from "./world.ts";

const closers: (() => unknown)[] = [];
const [workdir, outside] = [
  mkdtempSync(join(tmpdir(), "holdfast-memory-")),
  mkdtempSync(join(tmpdir(), "holdfast-kept-")),
];
chmodSync(workdir, 0o777);
closers.push(
  () => rmSync(workdir, { recursive: true, force: true }),
  () => rmSync(outside, { recursive: true, force: true }),
);
const node = process.execPath;
const file = join(outside, "key");
execFileSync("sh", [
  "-c",
  `printf 'sk-ant-api03-%s\\n' "$(head -c 60 /dev/urandom | base64 -w 0 | tr +/ -_)" > ${file}`,
]);

const authority = new Authority("the server", 3_600_000);
process.env["SSL_CERT_FILE"] = join(outside, "trust.pem");
writeFileSync(join(outside, "trust.pem"), authority.certificate);
writeFileSync(join(outside, "server.pem"), authority.leafFor("api.example.test"));
writeFileSync(join(outside, "server.key"), authority.leafKey);
/** Says how often the secret came, and never repeats it: that would be in the TLS library's memory until it reads again. */
const serverScript = `
const { readFileSync } = require("node:fs");
const at = (name) => readFileSync("${outside}/" + name);
const key = at("key").toString().trim();
let count = 0;
require("node:https").createServer({ cert: at("server.pem"), key: at("server.key") }, (request, response) => {
  let body = "";
  request.on("data", (part) => (body += part));
  request.on("end", () => {
    const { authorization = "" } = request.headers;
    const plain = authorization.startsWith("Basic ") ? atob(authorization.slice(6)) : authorization;
    if ((request.url + plain + body).includes(key)) count++;
    response.end(JSON.stringify({ count }));
  });
}).listen(443, "${addresses.api}", () => console.log("ready"));`;
const server = spawn(node, ["-e", serverScript], { stdio: ["ignore", "pipe", "inherit"] });
closers.push(() => server.kill());
await once(server.stdout, "data");

const policy = sound(`${runnable(dirname(node))}network_policies:
  api:
    endpoints:
      - { host: api.example.test, port: 443, protocol: rest, enforcement: enforce, access: full, request_body_credential_rewrite: true }
    binaries: [{ path: "${node}" }]
credentials:
  key: { source: { file: ${file} }, env: KEY, network_policy: api }
`);

/** What the programs inside do; they stay until their input ends, so that they can be searched. */
const clientScript = `
const { request } = require("node:https");
const key = process.env.KEY;
const agent = new (require("node:https").Agent)({ keepAlive: true });
const ask = (path, headers, body) => new Promise((resolve, reject) => {
  const asked = request({ host: "api.example.test", path, method: body ? "POST" : "GET", headers, agent }, (response) => {
    let text = "";
    response.on("data", (part) => (text += part));
    response.on("end", () => resolve(text));
  });
  asked.on("error", reject);
  asked.end(body);
});
(async () => {
  let last;
  for (let i = 0; i < 20; i++) {
    await ask("/", { authorization: "Bearer " + key });
    await ask("/", { authorization: "Basic " + btoa("me:" + key) });
    await ask("/?key=" + key, {});
    last = await ask("/", { "content-type": "application/json" }, JSON.stringify({ key }));
  }
  console.log(JSON.parse(last).count);
  process.stdin.resume();
})();`;

/** Null where its memory may not be read. */
function scan(pid: number): unknown {
  const script = join(import.meta.dirname, "..", "secrets", "memory-scan.ts");
  const ran = spawnSync(node, [script, String(pid), file], { encoding: "utf8" });
  return ran.status === 0 ? JSON.parse(ran.stdout) : null;
}

try {
  const sandbox = await Sandbox.create({ workdir, policy });
  closers.push(() => sandbox.dispose());
  const child = sandbox.spawn(node, ["-e", clientScript]);
  const [count] = await once(child.stdout as NodeJS.ReadableStream, "data");
  const { init } = sandbox.description as { init: number };
  const pids = processesBelow(init);
  const inside = pids.map(scan);
  const launcher = scan(process.pid);
  child.stdin?.end();
  await once(child, "close");
  await sandbox.dispose();
  const afterwards = scan(process.pid);
  process.stdout.write(
    JSON.stringify({ count: Number(String(count)), processes: pids.length, inside, launcher, afterwards }),
  );
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);
