// The scenario of upstream.test.ts: where granted names lead, in a network of the test's own.
import { execFile } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createSecureServer } from "node:http2";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Audit } from "../../lib/audit/audit.ts";
import { Authority } from "../../lib/egress/authority.ts";
import { Upstream } from "../../lib/egress/upstream.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { holdfast } from "../e2e/holdfast.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { type Said, startNameServer } from "./name-server.ts";
import { startConnectProxy, startSocksProxy } from "./proxies.ts";
import { addresses, listening } from "./world.ts";

function policyOf(endpoints: string, more = ""): Policy {
  const text = `${runnable()}network_policies:
  one:
    endpoints: ${endpoints}
    binaries: [{ path: /usr/bin/python3* }]
${more}`;
  return sound(text);
}

/** Connects to each HOST:PORT at once, and prints what was heard from each, or how it failed. */
const ask = `
import concurrent.futures, socket, sys
def ask(where):
    host, port = where.rsplit(":", 1)
    try:
        s = socket.create_connection((host, int(port)), 20)
        s.settimeout(20)
        s.sendall(b"hello")
        s.shutdown(socket.SHUT_WR)
        got = b""
        while part := s.recv(65536): got += part
        return "got " + got.decode()
    except OSError as error:
        return "reset" if error.errno in (104, 107, 32) else type(error).__name__
with concurrent.futures.ThreadPoolExecutor(32) as pool:
    for answer in pool.map(ask, sys.argv[1:]): print(answer.strip())
`;

/** Asks twice on one connection without TLS and on one with it. */
const askWeb = `
import http.client, ssl, sys
for make, port in ((http.client.HTTPConnection, sys.argv[1]), (http.client.HTTPSConnection, sys.argv[2])):
    connection = make("api.example.test", int(port), timeout=20)
    for method, body in (("GET", None), ("POST", b"x" * 300000)):
        connection.request(method, "/", body)
        print(connection.getresponse().read().decode(), end=" ")
`;

const results: Record<string, Record<string, string>> = {};
const closers: (() => unknown)[] = [];
/** Of each destination, what the last record says. */
const details = new Map<string, string>();
const audit = new Audit({
  write: (line) => {
    const { type, host, port, detail } = JSON.parse(line);
    if (type === "connection") details.set(`${host}:${port}`, detail);
  },
  close: () => {},
});

/** A server that says a word to everyone; its port. */
async function saying(word: string, address: string, port = 0): Promise<number> {
  const server = createServer((socket) => socket.on("error", () => {}).end(word));
  server.listen(port, address);
  await once(server, "listening");
  closers.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

const workdir = mkdtempSync(join(tmpdir(), "holdfast-outside-"));
chmodSync(workdir, 0o777);
closers.push(() => rmSync(workdir, { recursive: true, force: true }));

try {
  const port = await saying("host", "127.0.0.1");
  const closed = await saying("not granted", "127.0.0.1");
  const sandbox = await Sandbox.create({
    workdir,
    audit,
    policy: policyOf(`
      - { host: host.holdfast.internal, port: ${port}, protocol: tcp }
      - { host: host.docker.internal, port: ${port} }
      - { host: host.openshell.internal, port: ${port}, protocol: tcp, allowed_ips: ["172.17.0.0/16"] }
      - { host: "*.containers.internal", port: ${port}, protocol: tcp }
      - { host: loopback.example.test, port: ${port}, protocol: tcp }
      - { host: "127.0.0.1", port: ${port} }`),
  });
  closers.push(() => sandbox.dispose());
  const reach = async (...places: string[]): Promise<Record<string, string>> => {
    const { stdout, stderr } = await sandbox.exec("python3", ["-c", ask, ...places]);
    const answers = stdout.toString().trimEnd().split("\n");
    if (answers.length !== places.length) throw new Error(`${stdout}${stderr}`);
    return Object.fromEntries(places.map((place, index) => [place.replace(/:\d+$/, ""), answers[index] ?? ""]));
  };
  results["this host"] = await reach(
    ...["host.holdfast.internal", "host.docker.internal", "host.openshell.internal", "host.containers.internal"].map(
      (name) => `${name}:${port}`,
    ),
    `loopback.example.test:${port}`,
    `127.0.0.1:${port}`,
  );
  results["this host's other port"] = await reach(`host.holdfast.internal:${closed}`);

  // Names: each of its own kind, all asked for at once.
  const service = await saying("service", addresses.api);
  const asked = new Map<string, number>();
  const said: Readonly<Record<string, Said>> = {
    "plain.example.test": [addresses.api],
    "long.example.test": { long: [addresses.api] },
    "chain.example.test": ["=end.example.test", addresses.api],
    "alias.example.test": ["=plain.example.test"],
    "circle.example.test": ["=circle.example.test"],
    "hosts.example.test": [addresses.other],
    "private-chain.example.test": ["=inner.example.test", "10.0.0.1"],
    "private-alias.example.test": ["=private.example.test"],
    "private.example.test": ["10.0.0.1"],
    "mixed.other.test": [addresses.api, "169.254.169.254"],
    "zero.example.test": ["0.0.0.0"],
    "mapped.example.test": ["::ffff:127.0.0.1"],
    "nat64.example.test": ["64:ff9b::a9fe:a9fe"],
    "none.example.test": [],
    "absent.example.test": "no such name",
    "garbage.example.test": "garbage",
    "loop.example.test": "loop",
    "silent.example.test": "silence",
    "api.corp.test": [addresses.other],
  };
  const main = await startNameServer(addresses.other, 53, (name, type) => {
    if (name === "rebinding.example.test") {
      const times = (asked.get(`${name} ${type}`) ?? 0) + 1;
      asked.set(`${name} ${type}`, times);
      return times === 1 ? [addresses.api] : ["127.0.0.1"];
    }
    return said[name] ?? "no such name";
  });
  const corp = await startNameServer(addresses.other, 5353, (name) =>
    name === "api.corp.test" || name === "host.docker.internal" ? [addresses.api] : "no such name",
  );
  closers.push(main.close, corp.close);
  const odd = ["2130706433", "0177.0.0.1", "0x7f.1", "0x7f000001"];
  const places = (names: readonly string[]): string[] => names.map((name) => `${name}:${service}`);
  // By a pattern, so that nothing but a public address will do.
  sandbox.applyPolicy(
    policyOf(
      `
      - { host: "*.example.test", port: ${service}, protocol: tcp }
      - { host: "*.other.test", port: ${service}, protocol: tcp }
      - { host: "*.corp.test", port: ${service}, protocol: tcp }`,
      `dns:
  servers: ["${addresses.other}"]
  split: [{ domains: [corp.test], servers: ["${addresses.other}:5353"] }]
`,
    ),
  );
  results["names"] = await reach(...places(Object.keys(said)));
  const rebinding = places(["rebinding.example.test"]);
  results["rebinding"] = { first: Object.values(await reach(...rebinding))[0] ?? "" };
  results["rebinding"]["second"] = Object.values(await reach(...rebinding))[0] ?? "";
  const upstream = new Upstream({});
  results["odd spellings"] = Object.fromEntries(
    await Promise.all(
      odd.map(async (name) => [name, await upstream.resolve(name, 80).then(String, (error: Error) => error.message)]),
    ),
  );
  results["transports"] = Object.fromEntries(
    ["plain.example.test", "long.example.test", "hosts.example.test", "api.corp.test"].map((name) => [
      name,
      [...new Set([...main.questions, ...corp.questions.map((question) => `corp ${question}`)])]
        .filter((question) => question.endsWith(` ${name}`))
        .map((question) => question.slice(0, -name.length - 1))
        .join(", "),
    ]),
  );

  // Proxies: the world has no other way to 198.51.100.1 than through one that knows what it is.
  process.env["PROXY_LOGIN"] = "build:s3cret:word";
  process.env["OTHER_LOGIN"] = "http://build:other%20word@proxy.example.test/";
  const authority = new Authority("test", 3_600_000);
  // The launcher trusts what its host trusts.
  const trusted = join(workdir, "host-trust.pem");
  writeFileSync(trusted, authority.certificate);
  process.env["SSL_CERT_FILE"] = trusted;
  const names = { "only-there.example.net": addresses.api };
  const login = { address: addresses.other, credentials: "build:s3cret:word", names };
  const plain = await startConnectProxy(login);
  const secure = await startConnectProxy(login, (name) => authority.contextFor(name));
  const stranger = new Authority("stranger", 3_600_000);
  const untrusted = await startConnectProxy(login, (name) => stranger.contextFor(name));
  const socks = await startSocksProxy(login);
  const babbling = await saying("220 mail.example.test ESMTP\r\n\r\n", addresses.other);
  const shutting = await saying("", addresses.other);
  const endless = await saying(`HTTP/1.1 200 OK\r\n${"A: b\r\n".repeat(5000)}`, addresses.other);
  closers.push(plain.close, secure.close, untrusted.close, socks.close);
  // As the command is given it, with the credentials in the URL.
  const run = promisify(execFile)(
    holdfast,
    [
      ...["run", "--workdir", workdir, "--upstream-proxy", "env", "--allow", `only-there.example.net:${service}`, "--"],
      ...["python3", "-c", `${ask}import os; print("PROXY" in str(os.environ))`, `only-there.example.net:${service}`],
    ],
    { env: { ...process.env, ALL_PROXY: `socks5h://build:s3cret%3Aword@${addresses.other}:${socks.port}` } },
  );
  results["command"] = { said: (await run).stdout };
  const through = async (proxy: string, ...names: string[]): Promise<string> => {
    sandbox.applyPolicy(
      policyOf(
        `
      - { host: api.example.test, ports: [${service}, 9], protocol: tcp }
      - { host: "*.example.test", port: ${service}, protocol: tcp }
      - { host: only-there.example.net, port: ${service}, protocol: tcp }
      - { host: host.holdfast.internal, port: ${port}, protocol: tcp }`,
        `upstream_proxy: ${proxy}
`,
      ),
    );
    return Object.entries(await reach(...names))
      .map(([name, said]) =>
        said === "reset" ? details.get(names.find((each) => each.startsWith(`${name}:`)) ?? "") : said,
      )
      .join(" | ");
  };
  const api = `api.example.test:${service}`;
  const there = `only-there.example.net:${service}`;
  const secret = "credentials: { env: PROXY_LOGIN }";
  const plainUrl = `http://${addresses.other}:${plain.port}`;
  results["proxies"] = {
    connect: await through(`{ url: "${plainUrl}", ${secret} }`, api),
    "connect over TLS": await through(`{ url: "https://proxy.example.test:${secure.port}", ${secret} }`, api),
    socks: await through(`{ url: "socks5://${addresses.other}:${socks.port}", ${secret} }`, api),
    "connect, named there": await through(`{ url: "${plainUrl}", ${secret}, resolve: proxy }`, there),
    "socks, named there": await through(
      `{ url: "socks5://${addresses.other}:${socks.port}", ${secret}, resolve: proxy }`,
      there,
    ),
    "what was asked": [plain, secure, socks]
      .map(({ asked: targets }) => targets.map((target) => target.replace(/:\d+$/, "")).join(" "))
      .join(" | "),
    "without credentials": await through(`{ url: "${plainUrl}" }`, api),
    "wrong credentials": await through(`{ url: "${plainUrl}", credentials: { env: OTHER_LOGIN } }`, api),
    "socks, without": await through(`{ url: "socks5://${addresses.other}:${socks.port}" }`, api),
    "credentials not there": await through(`{ url: "${plainUrl}", credentials: { env: NO_LOGIN } }`, api),
    "nothing there": await through(`{ url: "${plainUrl}", ${secret} }`, "api.example.test:9"),
    babbling: await through(`{ url: "http://${addresses.other}:${babbling}" }`, api),
    "babbling socks": await through(`{ url: "socks5://${addresses.other}:${babbling}" }`, api),
    shutting: await through(`{ url: "http://${addresses.other}:${shutting}" }`, api),
    endless: await through(`{ url: "http://${addresses.other}:${endless}" }`, api),
    "another certificate": await through(`{ url: "https://proxy.example.test:${untrusted.port}" }`, api),
    "a private address": await through(`{ url: "${plainUrl}", ${secret} }`, `loopback.example.test:${service}`),
    "no_proxy by name": await through(`{ url: "http://192.0.2.1:1", no_proxy: [example.test] }`, api),
    "no_proxy by address": await through(`{ url: "http://192.0.2.1:1", no_proxy: [93.184.0.0/16] }`, api),
    "no_proxy by port": await through(`{ url: "http://192.0.2.1:1", no_proxy: ["example.test:${service}"] }`, api),
    "no_proxy by address and port": await through(
      `{ url: "http://192.0.2.1:1", no_proxy: ["${addresses.api}:${service}"], resolve: here }`,
      api,
    ),
    "no_proxy by another port": await through(
      `{ url: "http://${addresses.other}:${shutting}", no_proxy: ["api.example.test:1", "${addresses.api}:1"] }`,
      api,
    ),
    "this host": await through(`{ url: "http://192.0.2.1:1" }`, `host.holdfast.internal:${port}`),
  };
  // The same for what is read on the way: each request by its own connection, and several by one.
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    let size = 0;
    request.on("data", (part: Buffer) => {
      size += part.length;
    });
    request.on("end", () => response.end(`${request.method} ${size}`));
  };
  const web = createHttpServer(answer).listen(0, addresses.api);
  const secureWeb = createSecureServer(
    { allowHTTP1: true, SNICallback: (name, done) => done(null, authority.contextFor(name)) },
    (request, response) => answer(request as unknown as IncomingMessage, response as unknown as ServerResponse),
  ).listen(0, addresses.api);
  closers.push(await listening([web, secureWeb]));
  const [webPort, securePort] = [web, secureWeb].map((server) => (server.address() as AddressInfo).port);
  const readPolicy = (proxy: string): Policy =>
    policyOf(
      `
      - { host: api.example.test, ports: [${webPort}, ${securePort}], protocol: rest, enforcement: enforce, access: full }`,
      `upstream_proxy: { url: "${proxy}", ${secret} }
`,
    );
  const proxies = [plainUrl, `https://proxy.example.test:${secure.port}`, `socks5://${addresses.other}:${socks.port}`];
  const reading = await Sandbox.create({ workdir, audit, policy: readPolicy(plainUrl) });
  closers.push(() => reading.dispose());
  results["read, through proxies"] = {};
  for (const proxy of proxies) {
    reading.applyPolicy(readPolicy(proxy));
    const { stdout, stderr } = await reading.exec("python3", ["-c", askWeb, `${webPort}`, `${securePort}`]);
    results["read, through proxies"][new URL(proxy).protocol] = stdout.toString().trim() || String(stderr);
  }
  results["details"] = Object.fromEntries([...details].map(([place, detail]) => [place.replace(/:\d+$/, ""), detail]));
} finally {
  for (const close of closers.reverse()) await close();
}
process.stdout.write(JSON.stringify(results));
process.exit(0);
