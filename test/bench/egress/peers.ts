import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { findOnPath } from "../path.ts";

/** A certificate and its key, in PEM, by their paths. */
export interface Identity {
  readonly certificate: string;
  readonly key: string;
}

/** A server or proxy of the benchmark's own. It dies with the process that started it. */
export interface Peer {
  readonly pid: number;
  stop(): Promise<void>;
}

const readyMs = 15_000;

async function start(
  file: string,
  args: readonly string[],
  address: string,
  port: number,
  as: readonly string[] = [],
): Promise<Peer> {
  const bound = [...as, "--pdeathsig", "KILL", "--", file, ...args];
  const child = spawn("setpriv", bound, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stdout.on("data", (part: Buffer) => (said += part));
  child.stderr.on("data", (part: Buffer) => (said += part));
  const { pid } = child;
  if (pid === undefined) throw new Error(`${file} cannot be started`);
  const deadline = performance.now() + readyMs;
  while (!(await answers(address, port))) {
    if (hasEnded(child) || performance.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`${file} does not answer at ${address}:${port}: ${said}`);
    }
  }
  return {
    pid,
    stop: async () => {
      if (hasEnded(child)) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

/** Tries again after a moment: there is no event to wait for. */
function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => setTimeout(() => resolve(false), 20));
  });
}

/**
 * A certificate and its key.
 *
 * @param authority who signs it; left out, it is an authority itself
 */
export function certified(folder: string, label: string, name: string, authority?: Identity): Identity {
  const identity = { certificate: join(folder, `${label}.pem`), key: join(folder, `${label}-key.pem`) };
  const args = [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
    ...["-subj", `/CN=${name}`, "-keyout", identity.key, "-out", identity.certificate],
    ...(authority === undefined
      ? []
      : ["-CA", authority.certificate, "-CAkey", authority.key, "-addext", `subjectAltName=DNS:${name}`]),
  ];
  const ran = spawnSync("openssl", args, { encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`openssl: ${ran.stderr}`);
  chmodSync(identity.key, 0o644); // for squid's user
  return identity;
}

/** nginx as one process, without a log. */
async function startNginx(folder: string, label: string, server: string, address: string, port: number): Promise<Peer> {
  const prefix = join(folder, label);
  mkdirSync(prefix);
  const bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((each) => `${each}_temp_path ${each};`);
  const settings = `daemon off; master_process off; pid nginx.pid; error_log stderr error;
    events { worker_connections 1024; }
    http { access_log off; keepalive_requests 100000000; tcp_nodelay on; ${bodies.join(" ")} ${server} }`;
  writeFileSync(join(prefix, "nginx.conf"), settings);
  return start("nginx", ["-p", prefix, "-e", "stderr", "-c", join(prefix, "nginx.conf")], address, port);
}

function nginxTls({ certificate, key }: Identity): string {
  return `ssl_certificate ${certificate}; ssl_certificate_key ${key}; ssl_protocols TLSv1.3;`;
}

/** The server: 1 KiB at /small, and the files of a folder. */
export function startOrigin(
  folder: string,
  options: { readonly address: string; readonly ports: readonly number[]; readonly identity: Identity },
): Promise<Peer> {
  const { address, ports, identity } = options;
  const listen = ports.map((port) => `listen ${address}:${port} ssl;`).join(" ");
  const server = `server { ${listen} ${nginxTls(identity)} root ${folder}/www;
    location /repos/ { return 200 "${"x".repeat(1024)}"; } }`;
  return startNginx(folder, "origin", server, address, ports[0] ?? 0);
}

interface Proxied {
  readonly port: number;
  /** The server's name. */
  readonly name: string;
  /** Whom the server is proved by. */
  readonly trust: string;
  /** Of the proxy. */
  readonly identity: Identity;
}

/** nginx that ends TLS and speaks it again to the server, which it verifies, on connections that it keeps. */
export function startTlsProxy(folder: string, { port, name, trust, identity }: Proxied): Promise<Peer> {
  const server = `upstream origin { server ${name}:443; keepalive 32; keepalive_requests 100000000; }
    server { listen 127.0.0.1:${port} ssl; ${nginxTls(identity)}
      location / { proxy_pass https://origin; proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_set_header Host ${name}; proxy_max_temp_file_size 0; proxy_ssl_server_name on; proxy_ssl_name ${name};
        proxy_ssl_verify on; proxy_ssl_trusted_certificate ${trust}; proxy_ssl_protocols TLSv1.3; } }`;
  return startNginx(folder, "proxy", server, "127.0.0.1", port);
}

/** squid with one port that tunnels and the next one that reads (ssl-bump); no cache, no log. */
export async function startSquid(folder: string, { port, trust, identity }: Proxied): Promise<Peer> {
  const own = join(folder, "squid");
  mkdirSync(own);
  const certificates = join(own, "certificates");
  const maker = "/usr/lib/squid/security_file_certgen";
  const made = spawnSync(maker, ["-c", "-s", certificates, "-M", "4MB"], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`${maker}: ${made.stderr}`);
  // It would become this user by itself, and no longer die with this process.
  const user = process.getuid?.() === 0 ? ["--reuid", "proxy", "--regid", "proxy", "--clear-groups"] : [];
  if (user.length > 0) spawnSync("chown", ["-R", "proxy:proxy", own]);
  const { certificate, key } = identity;
  writeFileSync(
    join(own, "squid.conf"),
    `http_port 127.0.0.1:${port} name=tunnel
http_port 127.0.0.1:${port + 1} name=bump ssl-bump tls-cert=${certificate} tls-key=${key} generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program ${maker} -s ${certificates} -M 4MB
sslcrtd_children 1 startup=1 idle=1
acl bump myportname bump
ssl_bump bump bump
ssl_bump splice all
tls_outgoing_options cafile=${trust}
http_access allow all
cache deny all
cache_mem 8 MB
access_log none
cache_log /dev/null
cache_store_log none
pid_filename none
coredump_dir ${own}
netdb_filename none
visible_hostname localhost
shutdown_lifetime 0 seconds
`,
  );
  return start("squid", ["-N", "-f", join(own, "squid.conf")], "127.0.0.1", port + 1, user);
}

/** mitmproxy without a console; large bodies as they come. */
export async function startMitmproxy(
  folder: string,
  { port, trust }: Proxied,
): Promise<{ peer: Peer; certificate: string }> {
  const own = join(folder, "mitmproxy");
  mkdirSync(own);
  const settings = [`confdir=${own}`, `ssl_verify_upstream_trusted_ca=${trust}`, "stream_large_bodies=1m"];
  const args = ["-q", "--listen-host", "127.0.0.1", "-p", String(port), ...settings.flatMap((each) => ["--set", each])];
  const peer = await start("mitmdump", args, "127.0.0.1", port);
  return { peer, certificate: join(own, "mitmproxy-ca-cert.pem") };
}

export function startNodeTunnel(port: number): Promise<Peer> {
  return start(process.execPath, [join(import.meta.dirname, "tunnel.ts"), String(port)], "127.0.0.1", port);
}

export function isInstalled(program: string): boolean {
  return findOnPath(program) !== null;
}
