import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer as createHttpServer } from "node:http";
import { createSecureServer } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import type { Duplex, Readable } from "node:stream";
import { promisify } from "node:util";
import { Authority } from "../../lib/egress/authority.ts";
import { postgres } from "./client-table.ts";
import { addresses } from "./world.ts";

const run = promisify(execFile);
export const programs: string = join(import.meta.dirname, "programs");
const has = (...paths: readonly string[]): boolean => paths.every((path) => existsSync(path));

/** Ends what was started, last first. */
export type Closers = (() => unknown)[];

/** HTTP with and without TLS, HTTP/2, WebSockets, repositories of git, and files of the registries. */
export async function startWeb(folder: string, closers: Closers): Promise<Authority> {
  const authority = new Authority("the clients' servers", 3_600_000);
  const repositories = join(folder, "git");
  const files = join(folder, "registries");
  const python = run("python3", [join(programs, "packages.py"), files, "https://api.example.test"]);
  const seed = has("/usr/lib/git-core/git-http-backend") ? seedRepositories(repositories) : undefined;
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const { pathname } = new URL(request.url ?? "/", "http://x");
    const file = join(files, pathname.endsWith("/") ? `${pathname}index.html` : pathname);
    if (pathname.startsWith("/git/")) serveGit(repositories, request, response);
    else if (statSync(file, { throwIfNoEntry: false })?.isFile() === true) {
      if (file.endsWith(".html")) response.setHeader("Content-Type", "text/html");
      response.end(readFileSync(file));
    } else response.end(`${request.method} ${request.url}`);
  };
  const certified = {
    SNICallback: (name: string, done: (error: null, context: ReturnType<Authority["contextFor"]>) => void) =>
      done(null, authority.contextFor(name)),
  };
  const web = createHttpsServer(certified, onRequest).on("upgrade", echoWebSocket).listen(443, addresses.api);
  const h2 = createSecureServer(certified, (request, response) => {
    response.end(`${request.method} ${request.url}`);
  }).listen(8443, addresses.api);
  const plain = createHttpServer(onRequest).listen(80, addresses.api);
  closers.push(() => [web, h2, plain].map((server) => server.close()));
  await Promise.all([...[web, h2, plain].map((server) => once(server, "listening")), python, seed]);
  return authority;
}

async function seedRepositories(folder: string): Promise<void> {
  const seed = join(folder, "seed");
  mkdirSync(join(seed, "src"), { recursive: true });
  writeFileSync(join(seed, "Cargo.toml"), '[package]\nname = "tiny"\nversion = "1.0.0"\nedition = "2021"\n');
  writeFileSync(join(seed, "src/lib.rs"), "");
  const git = (...args: string[]): Promise<unknown> =>
    run("git", ["-C", seed, "-c", "user.name=a", "-c", "user.email=a@b", ...args]);
  await git("init", "-q", "-b", "main");
  await git("add", ".");
  await git("commit", "-q", "-m", "first");
  for (const name of ["allowed", "readonly"]) {
    await git("clone", "-q", "--bare", seed, join(folder, `${name}.git`));
    await git("-C", join(folder, `${name}.git`), "config", "http.receivepack", "true");
  }
}

/** git-http-backend(1), by CGI (RFC 3875). */
function serveGit(root: string, request: IncomingMessage, response: ServerResponse): void {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://x");
  const { headers, method } = request;
  const child = spawn("/usr/lib/git-core/git-http-backend", {
    env: {
      PATH: process.env["PATH"],
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: "1",
      PATH_INFO: pathname.slice("/git".length),
      QUERY_STRING: searchParams.toString(),
      REQUEST_METHOD: method,
      CONTENT_TYPE: headers["content-type"] ?? "",
      CONTENT_LENGTH: headers["content-length"] ?? "",
      HTTP_CONTENT_ENCODING: headers["content-encoding"] ?? "",
      GIT_PROTOCOL: String(headers["git-protocol"] ?? ""),
      REMOTE_USER: "client",
    },
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.on("error", () => {});
  request.pipe(child.stdin);
  answerAsCgi(child.stdout, response);
}

function answerAsCgi(output: Readable, response: ServerResponse): void {
  const parts: Buffer[] = [];
  output.on("data", (part: Buffer) => parts.push(part));
  output.on("end", () => {
    const all = Buffer.concat(parts);
    const end = all.indexOf("\r\n\r\n");
    for (const line of all.toString("latin1", 0, end).split("\r\n")) {
      const [name = "", value = ""] = line.split(/: */, 2);
      if (name === "Status") response.statusCode = Number.parseInt(value, 10);
      else response.setHeader(name, value);
    }
    response.end(all.subarray(end + 4));
  });
}

/** RFC 6455: short messages and the end are sent back. */
function echoWebSocket(request: IncomingMessage, socket: Duplex): void {
  const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  const accept = createHash("sha1").update(key).digest("base64");
  const fields = `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}`;
  socket.write(`HTTP/1.1 101 Switching Protocols\r\n${fields}\r\n\r\n`);
  let held = Buffer.alloc(0);
  socket.on("error", () => {});
  socket.on("data", (part: Buffer) => {
    held = Buffer.concat([held, part]);
    for (let size = 0; held.length >= 6; held = held.subarray(size)) {
      size = 6 + (held.readUInt8(1) & 0x7f);
      if (held.length < size) return;
      const mask = held.subarray(2, 6);
      const body = held.subarray(6, size).map((byte, i) => byte ^ (mask[i & 3] ?? 0));
      socket.write(Buffer.concat([Buffer.from([held.readUInt8(0), body.length]), body]));
      if ((held.readUInt8(0) & 15) === 8) socket.end();
    }
  });
}

function start(closers: Closers, file: string, args: readonly string[], stdio: "out" | "err" = "err"): ChildProcess {
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"] });
  closers.push(() => {
    child.kill();
    return once(child, "exit");
  });
  // What is not looked at must not stop it.
  (stdio === "err" ? child.stdout : child.stderr)?.resume();
  return child;
}

/** Waits for a server's own word that it is ready. */
async function says(output: Readable | null, words: RegExp): Promise<void> {
  if (output === null) return;
  const said: string[] = [];
  for await (const line of createInterface(output)) {
    said.push(line);
    if (words.test(line)) {
      output.resume();
      return;
    }
  }
  throw new Error(`a server ended: ${said.join("\n")}`);
}

/** As root those that refuse to be root's are another user's. */
const isRoot = process.getuid?.() === 0;

export async function startPostgres(folder: string, closers: Closers): Promise<void> {
  const [initdb = "", server = ""] = postgres();
  if (!has(initdb, server)) return;
  const data = join(folder, "postgres");
  mkdirSync(data);
  const id = Number(isRoot ? execFileSync("id", ["-u", "postgres"], { encoding: "utf8" }) : process.getuid?.());
  if (isRoot) chownSync(data, id, id);
  const as = isRoot ? ["setpriv", `--reuid=${id}`, "--clear-groups", "--"] : ["env"];
  const [first = "", ...rest] = as;
  await run(first, [...rest, initdb, "-D", data, "-U", "postgres", "-A", "trust", "-N", "--no-instructions"]);
  const settings = [`listen_addresses=${addresses.api}`, `unix_socket_directories=${data}`, "fsync=off"];
  writeFileSync(join(data, "pg_hba.conf"), "host all all all trust\n");
  const options = settings.flatMap((one) => ["-c", one]);
  await says(start(closers, first, [...rest, server, "-D", data, ...options]).stderr, /ready to accept connections/);
}

export async function startRedis(closers: Closers): Promise<void> {
  if (!has("/usr/bin/redis-server")) return;
  const options = ["--bind", addresses.api, "--protected-mode", "no", "--save", "", "--appendonly", "no"];
  await says(start(closers, "redis-server", options, "out").stdout, /[Rr]eady to accept connections/);
}

/** Logs in whoever has the key that it makes, and says so. */
export async function startSsh(folder: string, tools: string, closers: Closers): Promise<void> {
  if (!has("/usr/sbin/sshd", "/usr/bin/ssh-keygen")) return;
  const [hostKey, key] = [join(folder, "host-key"), join(tools, "ssh-key")];
  for (const path of [hostKey, key]) await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path]);
  // Whoever runs the sandbox's commands copies it.
  chmodSync(key, 0o644);
  const place = "/run/sshd";
  if (isRoot && !has(place)) {
    mkdirSync(place);
    closers.push(() => rmdirSync(place));
  }
  const settings = [
    `ListenAddress ${addresses.api}:22`,
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${key}.pub`,
    "StrictModes no",
    "UsePAM no",
    "PermitRootLogin yes",
    `PidFile ${join(folder, "sshd.pid")}`,
    "ForceCommand echo logged in",
  ];
  writeFileSync(join(folder, "sshd.conf"), `${settings.join("\n")}\n`);
  await says(start(closers, "/usr/sbin/sshd", ["-D", "-e", "-f", join(folder, "sshd.conf")]).stderr, /listening on/);
}

/** @returns PEM of its certificate, signed by itself; undefined where there is none */
export async function startGrpc(folder: string, closers: Closers): Promise<string | undefined> {
  const [certificate, key] = [join(folder, "grpc.pem"), join(folder, "grpc.key")];
  const self = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=grpc"];
  const name = ["-addext", "subjectAltName=DNS:other.example.test"];
  await run("openssl", ["req", ...self, ...name, "-keyout", key, "-out", certificate]);
  const args = [join(programs, "grpc-server.py"), `${addresses.other}:50051`, certificate, key];
  await says(start(closers, "/usr/bin/python3", args, "out").stdout, /ready/);
  return readFileSync(certificate, "utf8");
}

/** Whom sshd lets in: itself alone, where it is no root's. */
export const login: string = userInfo().username;
/** Where a module of Node's lies. */
export const undici: string = import.meta.resolve("undici");
export const undiciFolder: string = dirname(new URL(undici).pathname);
