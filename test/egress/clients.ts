// The scenario of clients.test.ts, run where the servers' addresses are this namespace's own.
import { execFile } from "node:child_process";
import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import {
  login,
  programs,
  startGrpc,
  startPostgres,
  startRedis,
  startSsh,
  startWeb,
  undici,
  undiciFolder,
} from "./client-servers.ts";
import { type Client, clients, lacks } from "./client-table.ts";

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "holdfast-clients-"));
chmodSync(folder, 0o755);
const closers: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
const [workdir, tools] = [join(folder, "work"), join(folder, "tools")];
for (const path of [workdir, tools]) mkdirSync(path);
chmodSync(workdir, 0o777);
// Root's sandbox without namespaces is its workspace's owner.
if (process.geteuid?.() === 0) chownSync(workdir, 65_533, 65_533);

/** What is granted by its program must lie where the sandbox cannot write. */
async function makeTools(runs: (name: string) => boolean): Promise<void> {
  for (const name of ["client.py", "client.mjs"]) copyFileSync(join(programs, name), join(tools, name));
  for (const name of ["permitted", "refused"]) {
    mkdirSync(join(tools, name, "src"), { recursive: true });
    writeFileSync(join(tools, name, "src/lib.rs"), "");
    const repository = name === "permitted" ? "allowed" : "refused";
    const manifest = `[package]\nname = "user"\nversion = "1.0.0"\n[dependencies]\ntiny = { git = "https://api.example.test/git/${repository}.git" }\n`;
    writeFileSync(join(tools, name, "Cargo.toml"), manifest);
  }
  const go = ["build", "-o", join(tools, "client-go"), join(programs, "client.go")];
  const musl = ["-static", "-O1", "-o", join(tools, "client-musl"), join(programs, "client.c")];
  await Promise.all([
    runs("a static Go binary") ? run("go", go, { env: { ...process.env, CGO_ENABLED: "0" } }) : null,
    runs("a static musl binary") ? run("musl-gcc", musl) : null,
    runs("Java's HttpClient and URLConnection") ? run("javac", ["-d", tools, join(programs, "Client.java")]) : null,
  ]);
}

const policyText = `${runnable(tools, dirname(process.execPath), undiciFolder)}network_policies:
  web:
    endpoints:
      - host: api.example.test
        ports: [80, 443, 8443]
        protocol: rest
        enforcement: enforce
        rules:
          - allow: { method: GET, path: "/allowed/**" }
          - allow: { method: "*", path: "/git/allowed.git/**" }
          - allow: { method: GET, path: /git/readonly.git/info/refs, query: { service: git-upload-pack } }
          - allow: { method: POST, path: /git/readonly.git/git-upload-pack }
          - allow: { method: GET, path: "/pypi/simple/**" }
          - allow: { method: GET, path: "/pypi/tiny-*.whl" }
          - allow: { method: GET, path: /npm/tiny }
          - allow: { method: GET, path: "/npm/tarballs/**" }
          - allow: { method: GET, path: "/go/example.test/tiny/**" }
      - host: api.example.test
        port: 443
        path: "/ws/**"
        protocol: websocket
        enforcement: enforce
        rules:
          - allow: { method: GET, path: /ws/talk }
          - allow: { method: WEBSOCKET_TEXT, path: /ws/talk }
      - host: other.example.test
        port: 50051
        protocol: rest
        enforcement: enforce
        rules:
          - allow: { method: POST, path: /demo.Echo/Say }
          - allow: { method: POST, path: /demo.Echo/Talk }
    binaries: [{ path: "/usr/**" }, { path: "${tools}/**" }, { path: "${process.execPath}" }]
  tcp:
    endpoints: [{ host: api.example.test, ports: [22, 5432, 6379], protocol: tcp }]
    binaries: [{ path: "/usr/**" }]
`;

interface Result {
  readonly said: string;
  readonly refused: string;
  readonly ms: number;
}

async function tryClient(sandbox: Sandbox, { run: line, refused }: Client): Promise<Result> {
  const filled = (text: string): string =>
    text
      .replaceAll("TOOLS", tools)
      .replaceAll("UNDICI_MODULE", undici)
      .replaceAll("NODE ", `${process.execPath} `)
      .replaceAll("LOGIN", login);
  const say = async (text: string): Promise<string> => {
    const { stdout, stderr, timedOut } = await sandbox.exec(
      "/bin/sh",
      ["-c", `: "\${TMPDIR:=/tmp}"; ${filled(text)}`],
      {
        timeout: 30_000,
      },
    );
    return `${stdout}${stderr}${timedOut ? "\n(it hung)" : ""}`;
  };
  const began = performance.now();
  const said = await say(line);
  return { said, refused: refused === undefined ? said : await say(refused), ms: performance.now() - began };
}

try {
  const there = clients.filter((client) => lacks(client) === undefined);
  const runs = (name: string): boolean => there.some((client) => client.name === name);
  const [authority, grpc] = await Promise.all([
    startWeb(folder, closers),
    runs("gRPC of Python") ? startGrpc(folder, closers) : undefined,
    startPostgres(folder, closers),
    startRedis(closers),
    startSsh(folder, tools, closers),
    makeTools(runs),
  ]);
  // The launcher trusts what its host trusts.
  const trusted = join(folder, "host-trust.pem");
  writeFileSync(trusted, authority.certificate + (grpc ?? ""));
  process.env["SSL_CERT_FILE"] = trusted;
  const results: Record<string, Record<string, Result>> = {};
  for (const mode of ["namespaces", "landlock"] as const) {
    const own: Record<string, Result> = {};
    results[mode] = own;
    await using sandbox = await Sandbox.create({ workdir, policy: sound(policyText), mode });
    const left = there.filter(({ needsNamespaces }) => mode === "namespaces" || needsNamespaces !== true);
    const worker = async (): Promise<void> => {
      for (let client = left.shift(); client !== undefined; client = left.shift())
        own[client.name] = await tryClient(sandbox, client);
    };
    await Promise.all([worker(), worker(), worker()]);
  }
  console.log(JSON.stringify(results));
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);
