import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { UpstreamProxy } from "../../lib/egress/upstream-proxy.ts";
import { secretsInUse } from "../../lib/secrets/secret-search.ts";
import { startConnectProxy } from "./proxies.ts";

test("An upstream proxy's password, as it was read last, is looked for in what leaves", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-proxy-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "login");
  const first = await startConnectProxy({ address: "127.0.0.1", credentials: "build:a first password" });
  const second = await startConnectProxy({ address: "127.0.0.1", credentials: "build:another password" });
  t.teardown(() => [first, second].forEach((each) => void each.close()));
  const { signal } = new AbortController();
  const settings = (port: number) =>
    ({ url: `http://127.0.0.1:${port}`, credentials: { file }, noProxy: [], resolve: "here" }) as const;
  const proxy = new UpstreamProxy(settings(first.port));
  const said = ["build: a first password", "another password"];
  const redacted = (): readonly string[] => said.map((text) => secretsInUse.redact(text));
  t.deepEqual(redacted(), said);
  writeFileSync(file, "build:a first password\n");
  (await proxy.connect("127.0.0.1", second.port, signal)).destroy();
  t.deepEqual(redacted(), ["build: [redacted]", "another password"]);
  // It is known though the proxy refuses it.
  writeFileSync(file, "http://build:another%20password@127.0.0.1/");
  await t.throwsAsync(proxy.connect("127.0.0.1", second.port, signal), { message: /407/ });
  t.deepEqual(redacted(), ["build: a first password", "[redacted]"]);
  proxy.close();
  t.deepEqual(redacted(), said);
});

test("Its login is read out of a proxy's variable as programs write that one, and a pipe is not waited for", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-proxy-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const { signal } = new AbortController();
  const logins: readonly (readonly [credentials: string, written: (address: string) => string])[] = [
    ["build:a password", (address) => `build:a%20password@${address}`],
    ["build:a password", (address) => `http://build:a%20password@${address}/`],
    ["build:100%sure", (address) => `http://build:100%sure@${address}`],
    ["build:one@two", () => "build:one@two"],
    ["a-token:", (address) => `http://a-token@${address}`],
    ["a-token:", () => "a-token:"],
  ];
  const name = "HOLDFAST_TEST_PROXY_LOGIN";
  t.teardown(() => delete process.env[name]);
  const settings = { noProxy: [], resolve: "here" } as const;
  for (const [credentials, written] of logins) {
    const server = await startConnectProxy({ address: "127.0.0.1", credentials });
    const address = `127.0.0.1:${server.port}`;
    process.env[name] = written(address);
    const proxy = new UpstreamProxy({ url: `http://${address}`, credentials: { env: name }, ...settings });
    const connected = proxy.connect("127.0.0.1", server.port, signal).then((socket) => void socket.destroy());
    await t.notThrowsAsync(connected, written("PROXY"));
    proxy.close();
    server.close();
  }
  const pipe = join(folder, "pipe");
  t.is(spawnSync("mkfifo", [pipe]).status, 0);
  const proxy = new UpstreamProxy({ url: "http://127.0.0.1:1", credentials: { file: pipe }, ...settings });
  await t.throwsAsync(proxy.connect("127.0.0.1", 1, signal), { message: /are not there as USER:PASSWORD/ });
  proxy.close();
});

test("What no_proxy names with a port is dialled without the proxy at that port alone", (t) => {
  const noProxy = [
    ...["git.example:8443", ".deep.example:1", "plain.example", "192.0.2.1:80", "2001:db8::1", "[2001:db8::2]:443"],
    ...["192.0.2.2:80", "10.0.0.0/8"],
  ];
  const proxy = new UpstreamProxy({ url: "http://127.0.0.1:1", noProxy, resolve: "here" });
  t.teardown(() => proxy.close());
  for (const [host, port, addresses, expected] of [
    ["git.example", 8443, [], true],
    ["a.git.example", 8443, [], true],
    ["git.example", 443, [], false],
    ["xgit.example", 8443, [], false],
    ["deep.example", 1, [], false],
    ["a.deep.example", 1, [], true],
    ["a.deep.example", 2, [], false],
    ["plain.example", 2, [], true],
    ["192.0.2.1", 80, ["192.0.2.1"], true],
    ["192.0.2.1", 81, ["192.0.2.1"], false],
    ["named.example", 80, ["192.0.2.1", "192.0.2.2"], true],
    ["named.example", 80, ["192.0.2.1", "10.0.0.1"], true],
    ["named.example", 81, ["192.0.2.1", "10.0.0.1"], false],
    ["named.example", 80, ["192.0.2.1", "192.0.2.3"], false],
    ["2001:db8::1", 1, [], true],
    ["2001:db8:0::2", 443, [], true],
    ["2001:db8::2", 444, [], false],
  ] as const)
    t.is(proxy.isDirect(host, port, addresses), expected, `${host} ${port}`);
});

test("What a proxy says before its answer is passed over, and what it says without end is none", async (t) => {
  const interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
  const answers = [`${interim}${interim}HTTP/1.1 200 OK\r\n\r\nfirst word`, interim.repeat(40)];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.write(answers.shift() ?? ""));
  }).listen(0, "127.0.0.1");
  t.teardown(() => server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const proxy = new UpstreamProxy({ url: `http://127.0.0.1:${port}`, noProxy: [], resolve: "here" });
  t.teardown(() => proxy.close());
  const { signal } = new AbortController();
  const socket = await proxy.connect("127.0.0.1", 1, signal);
  socket.resume();
  const [word] = (await once(socket, "data")) as [Buffer];
  t.is(word.toString(), "first word");
  socket.destroy();
  await t.throwsAsync(proxy.connect("127.0.0.1", 1, signal), { message: /it does not connect: 103 Early Hints$/ });
});
