import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";

/** A program as people use it. None is told of a proxy or of a certificate authority. */
export interface Client {
  /** What the test's title calls it. */
  readonly name: string;
  /** Programs without which it is skipped. */
  readonly needs: readonly string[];
  /** Modules of the system's Python without which it is skipped. */
  readonly modules?: readonly string[];
  /** A line of the shell; `TOOLS` is the folder of what the test has made. Both a permitted and a refused request, or: */
  readonly run: string;
  /** the refused one by itself. */
  readonly refused?: string;
  /** What it prints where it is permitted, and where it is refused. */
  readonly says: RegExp;
  readonly refusal: RegExp;
  /** Without them it finds no names, no authority or not its own user (docs/clients.md). */
  readonly needsNamespaces?: true;
}

const api = "https://api.example.test";
const [permitted, refused] = [`${api}/allowed/x`, `${api}/refused`];
const both = `${permitted} ${refused}`;
const [permittedH2, refusedH2] = [`${api}:8443/allowed/x`, `${api}:8443/refused`];
const bothH2 = `${permittedH2} ${refusedH2}`;
const served = /GET \/allowed\/x/;
const denied = /"error":"policy_denied".*"rule_missing"/;
const raw = (path: string): string =>
  String.raw`printf 'GET ${path} HTTP/1.1\r\nHost: api.example.test\r\nConnection: close\r\n\r\n'`;
const openssl =
  "openssl s_client -quiet -verify_return_error -servername api.example.test -connect api.example.test:443";
const git = "export GIT_CONFIG_GLOBAL=/dev/null; cd $TMPDIR && git";
const commit = "git -c user.name=a -c user.email=a@b commit -q --allow-empty -m pushed";
const python = (library: string, urls: string): string => `/usr/bin/python3 TOOLS/client.py ${library} ${urls}`;
const node = (kind: string, urls: string): string => `UNDICI=UNDICI_MODULE NODE TOOLS/client.mjs ${kind} ${urls}`;
const pip = `PIP_CONFIG_FILE=/dev/null HOME=$TMPDIR /usr/bin/python3 -m pip install -q --disable-pip-version-check --no-cache-dir --no-deps --target $TMPDIR/pip --index-url ${api}/pypi/simple`;
const npm = `HOME=$TMPDIR npm_config_cache=$TMPDIR/npm /usr/bin/npm --registry ${api}/npm/ --no-audit --no-fund --no-update-notifier`;
const go = `HOME=$TMPDIR GOPATH=$TMPDIR/go GOFLAGS=-mod=mod GOSUMDB=off GOPROXY=${api}/go go`;
const cargo = (folder: string): string =>
  `export HOME=$TMPDIR CARGO_HOME=$TMPDIR/cargo && cp -r TOOLS/${folder} $TMPDIR && cd $TMPDIR/${folder} && /usr/bin/cargo fetch -q`;

export const clients: readonly Client[] = [
  { name: "curl", needs: ["/usr/bin/curl"], run: `curl -sS ${both}`, says: served, refusal: denied },
  {
    name: "curl over HTTP/2",
    needs: ["/usr/bin/curl"],
    run: `curl -sS -w ' HTTP/%{http_version} %{http_code}\n' ${bothH2}`,
    says: /GET \/allowed\/x HTTP\/2 200/,
    refusal: /"error":"policy_denied"[\s\S]*HTTP\/2 403/,
  },
  {
    name: "wget",
    needs: ["/usr/bin/wget"],
    run: `wget -qO- ${permitted}; wget -qO- --content-on-error ${refused}`,
    says: served,
    refusal: denied,
  },
  {
    name: "openssl s_client",
    needs: ["/usr/bin/openssl"],
    run: `${raw("/allowed/x")} | ${openssl}; ${raw("/refused")} | ${openssl}`,
    says: served,
    refusal: denied,
  },
  {
    name: "gnutls-cli",
    needsNamespaces: true,
    needs: ["/usr/bin/gnutls-cli"],
    run: `(${raw("/allowed/x")}; sleep 0.2) | gnutls-cli api.example.test; (${raw("/refused")}; sleep 0.2) | gnutls-cli api.example.test`,
    says: /The certificate is trusted[\s\S]*GET \/allowed\/x/,
    refusal: denied,
  },
  {
    name: "git clone and push",
    needs: ["/usr/bin/git", "/usr/lib/git-core/git-http-backend"],
    run: `${git} clone -q ${api}/git/allowed.git a && cd a && ${commit} && git push -q origin HEAD:refs/heads/pushed; git ls-remote origin`,
    refused: `${git} clone -q ${api}/git/readonly.git b && cd b && ls && ${commit} && git push origin HEAD:refs/heads/pushed`,
    says: /refs\/heads\/pushed/,
    refusal: /Cargo\.toml[\s\S]*The requested URL returned error: 403/,
  },
  {
    name: "pip",
    needs: ["/usr/bin/python3"],
    modules: ["pip"],
    run: `${pip} tiny && PYTHONPATH=$TMPDIR/pip /usr/bin/python3 -c 'import tiny; print("installed", tiny.said)'`,
    refused: `${pip} hidden`,
    says: /installed tiny/,
    refusal: /HTTP error 403 while getting https:\/\/api\.example\.test\/pypi\/hidden/,
  },
  {
    name: "npm",
    needs: ["/usr/bin/npm"],
    // A site's settings name an authority that is not the sandbox's.
    run: `sed '/END/q' /etc/ssl/certs/ca-certificates.crt >$TMPDIR/one.pem; echo "cafile=$TMPDIR/one.pem" >$TMPDIR/.npmrc; mkdir $TMPDIR/n && cd $TMPDIR/n && ${npm} install tiny && ls node_modules/tiny`,
    refused: `mkdir $TMPDIR/r && cd $TMPDIR/r && ${npm} install refused`,
    says: /index\.js/,
    refusal: /403 Forbidden by policy - GET https:\/\/api\.example\.test\/npm\/refused - policy_denied/,
  },
  {
    name: "go mod download",
    needs: ["/usr/bin/go"],
    run: `${go} mod download -json example.test/tiny@v1.0.0`,
    refused: `${go} mod download -json example.test/refused@v1.0.0`,
    says: /"Sum": "h1:/,
    refusal: /403 Forbidden by policy/,
  },
  {
    name: "cargo",
    needsNamespaces: true,
    needs: ["/usr/bin/cargo", "/usr/lib/git-core/git-http-backend"],
    run: `${cargo("permitted")} && ls $TMPDIR/cargo/git/checkouts`,
    refused: cargo("refused"),
    says: /allowed-/,
    refusal: /(?:got|code:) 403/,
  },
  {
    name: "a static Go binary",
    needsNamespaces: true,
    needs: ["/usr/bin/go"],
    run: `TOOLS/client-go ${both} ${bothH2}`,
    says: /HTTP\/1\.1 200 GET \/allowed\/x[\s\S]*HTTP\/2\.0 200 GET \/allowed\/x/,
    refusal: /HTTP\/1\.1 403 .*policy_denied[\s\S]*HTTP\/2\.0 403 .*policy_denied/,
  },
  {
    name: "a static musl binary",
    needsNamespaces: true,
    needs: ["/usr/bin/musl-gcc"],
    run: "TOOLS/client-musl api.example.test /allowed/x /refused",
    says: served,
    refusal: denied,
  },
  {
    name: "Python's urllib",
    needs: ["/usr/bin/python3"],
    run: python("urllib", both),
    says: served,
    refusal: /403 .*policy_denied/,
  },
  {
    name: "Python's requests",
    needs: ["/usr/bin/python3"],
    modules: ["requests"],
    run: python("requests", both),
    says: /200 GET/,
    refusal: /403 .*policy_denied/,
  },
  {
    name: "Python's httpx",
    needs: ["/usr/bin/python3"],
    modules: ["httpx", "h2"],
    run: python("httpx", `${both} ${bothH2}`),
    says: /HTTP\/1\.1 200 GET[\s\S]*HTTP\/2 200 GET/,
    refusal: /HTTP\/1\.1 403 .*policy_denied[\s\S]*HTTP\/2 403 .*policy_denied/,
  },
  {
    name: "gRPC of Python",
    needs: ["/usr/bin/python3"],
    modules: ["grpc"],
    run: python("grpc", "other.example.test:50051"),
    says: /b'said one'\n\[b'said two', b'said three'\]/,
    refusal: /PERMISSION_DENIED no rule allows POST \/demo\.Echo\/Refused .*; add to the endpoint's rules: - allow:/,
  },
  {
    name: "Python's websockets",
    needs: ["/usr/bin/python3"],
    modules: ["websockets"],
    run: python("websockets", "wss://api.example.test/ws/talk wss://api.example.test/refused"),
    says: /hello/,
    refusal: /HTTP 403/,
  },
  { name: "Node's https", needs: [], run: node("https", both), says: /200 GET/, refusal: /403 .*policy_denied/ },
  { name: "Node's fetch", needs: [], run: node("fetch", both), says: /200 GET/, refusal: /403 .*policy_denied/ },
  {
    name: "undici over HTTP/2",
    needs: [],
    run: node("undici", bothH2),
    says: /200 GET/,
    refusal: /403 .*policy_denied/,
  },
  {
    name: "Node's WebSocket",
    needs: [],
    run: node("WebSocket", "wss://api.example.test/ws/talk wss://api.example.test/refused"),
    says: /hello/,
    refusal: /failed/,
  },
  {
    name: "Java's HttpClient and URLConnection",
    needs: ["/usr/bin/java", "/usr/bin/javac"],
    run: `java -cp TOOLS Client ${both} ${bothH2}`,
    says: /HTTP_1_1 200 GET[\s\S]*URLConnection 200 GET[\s\S]*HTTP_2 200 GET/,
    refusal: /HTTP_1_1 403 .*policy_denied[\s\S]*URLConnection 403 .*policy_denied[\s\S]*HTTP_2 403 .*policy_denied/,
  },
  {
    name: "psql",
    needs: ["/usr/bin/psql", ...postgres()],
    run: `psql -qAt -d postgres -U postgres -h api.example.test -c "select 'an' || 'swer'"`,
    refused: "psql -d postgres -U postgres -h api.example.test -p 5433 -c 'select 1'",
    says: /^answer$/m,
    refusal: /reset by peer|closed the connection unexpectedly/,
  },
  {
    name: "redis-cli",
    needs: ["/usr/bin/redis-cli", "/usr/bin/redis-server"],
    run: "redis-cli -h api.example.test set a b",
    refused: "redis-cli -h api.example.test -p 6380 get a",
    says: /OK/,
    refusal: /reset by peer|closed the connection/,
  },
  {
    name: "ssh",
    needsNamespaces: true,
    needs: ["/usr/bin/ssh", "/usr/sbin/sshd", "/usr/bin/ssh-keygen"],
    run: ssh(22),
    refused: ssh(23),
    says: /logged in/,
    refusal: /reset by|closed by remote host/i,
  },
];

function ssh(port: number): string {
  const options = "-F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";
  return `cp TOOLS/ssh-key $TMPDIR/k${port} && chmod 600 $TMPDIR/k${port} && ssh ${options} -i $TMPDIR/k${port} -p ${port} -l LOGIN api.example.test`;
}

/** The server's own programs; Debian has them in a folder for each version. */
export function postgres(): readonly string[] {
  const folder = "/usr/lib/postgresql";
  const [version] = existsSync(folder) ? readdirSync(folder) : [];
  return ["initdb", "postgres"].map((name) => `${folder}/${version ?? "VERSION"}/bin/${name}`);
}

let modulesFound: Readonly<Record<string, boolean>> | undefined;

/** What a client lacks on this host; undefined where it can run. */
export function lacks({ needs, modules = [] }: Client): string | undefined {
  const program = needs.find((path) => !existsSync(path));
  if (program !== undefined) return program;
  if (modules.length > 0) modulesFound ??= findModules();
  const module = modules.find((name) => modulesFound?.[name] !== true);
  return module === undefined ? undefined : `Python's ${module}`;
}

function findModules(): Readonly<Record<string, boolean>> {
  const all = clients.flatMap(({ modules = [] }) => modules);
  const script =
    "import sys, json, importlib.util as u; print(json.dumps({m: u.find_spec(m) is not None for m in sys.argv[1:]}))";
  const { stdout } = spawnSync("/usr/bin/python3", ["-c", script, ...all], { encoding: "utf8" });
  return JSON.parse(stdout);
}
