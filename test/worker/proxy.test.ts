// The worker's own way out, and that it is the worker's alone.
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import test from "ava";
import { Authority } from "../../lib/egress/authority.ts";
import { startConnectProxy } from "../egress/proxies.ts";
import { environmentKey, FaultyServer, terminated, toolUse } from "./faulty-server.ts";
import { WorkerProcess, workspace } from "./worker-process.ts";

test("A worker polls through its environment's proxy, and its sandboxes reach neither proxy nor queue nor anything", async (t) => {
  const server = await FaultyServer.start("");
  const proxy = await startConnectProxy({
    address: "127.0.0.1",
    credentials: "worker:pr0xyword",
    names: { "queue.example.test": "127.0.0.1" },
  });
  t.teardown(() => {
    proxy.close();
    return server.close();
  });
  const { port } = new URL(server.url);
  const places = [`127.0.0.1/${proxy.port}`, `127.0.0.1/${port}`, `queue.example.test/${port}`, "192.0.2.1/443"];
  const tries = places.map((place) => `(exec 3<>/dev/tcp/${place}) 2>/dev/null && echo "reached ${place}"`).join("; ");
  server.enqueue({ id: "work_1" });
  server.happen(
    toolUse("sevt_1", "bash", {
      input: {
        command: `echo "it is pr0x"yword; ${tries}; ls /sys/class/net 2>/dev/null; env; cut -d: -f1 /proc/net/dev`,
      },
    }),
  );
  const worker = WorkerProcess.start(t, ["poll", "--workdir", workspace(t), "--once"], {
    ANTHROPIC_ENVIRONMENT_KEY: environmentKey,
    ANTHROPIC_ENVIRONMENT_ID: "env_test",
    ANTHROPIC_BASE_URL: `http://queue.example.test:${port}`,
    HTTP_PROXY: `http://worker:pr0xyword@127.0.0.1:${proxy.port}`,
  });
  await server.until(() => server.results().length === 1);
  server.happen(terminated);
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  const [result] = server.results();
  t.notRegex(result?.text ?? "", /reached|PROXY|pr0xyword|eth|wlan|en[ops]/);
  t.regex(result?.text ?? "", /^it is \[redacted\]$/m, "its password does not leave by a result");
  t.regex(result?.text ?? "", /^ *lo$/m, "its own loopback is all the network that it has");
  // What came to the proxy, with whatever the sandbox tried, was for the queue and from the worker.
  t.true(proxy.asked.length > 0);
  t.deepEqual([...new Set(proxy.asked)], [`queue.example.test:${port}`]);
  t.true(server.requests.every(({ headers }) => (headers["authorization"] ?? "").startsWith("Bearer ")));
  t.false(worker.said.includes("pr0xyword"));
});

test("A proxy over TLS is one that the host trusts", async (t) => {
  const server = await FaultyServer.start("");
  const authority = new Authority("the site", 3_600_000);
  const proxy = await startConnectProxy({ address: "127.0.0.1" }, (name) => authority.contextFor(name));
  t.teardown(() => {
    proxy.close();
    return server.close();
  });
  const workdir = workspace(t);
  const trusted = join(workdir, "host-trust.pem");
  writeFileSync(trusted, authority.certificate);
  const worker = WorkerProcess.start(t, ["poll", "--workdir", workdir, "--drain"], {
    ANTHROPIC_ENVIRONMENT_KEY: environmentKey,
    ANTHROPIC_ENVIRONMENT_ID: "env_test",
    ANTHROPIC_BASE_URL: server.url,
    HTTP_PROXY: `https://localhost:${proxy.port}`,
    SSL_CERT_FILE: trusted,
  });
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.true(proxy.asked.length > 0);
  t.notRegex(worker.said, /cannot be polled/);
});

test("A worker whose proxy never answers ends when it is asked to", async (t) => {
  const silent = createServer().listen(0, "127.0.0.1");
  t.teardown(() => void silent.close());
  await once(silent, "listening");
  const worker = WorkerProcess.start(t, ["poll", "--workdir", workspace(t)], {
    ANTHROPIC_ENVIRONMENT_KEY: environmentKey,
    ANTHROPIC_ENVIRONMENT_ID: "env_test",
    ANTHROPIC_BASE_URL: "http://queue.example.test",
    HTTP_PROXY: `http://127.0.0.1:${(silent.address() as AddressInfo).port}`,
  });
  const [client] = (await once(silent, "connection")) as [import("node:net").Socket];
  client.on("error", () => {});
  worker.child.kill("SIGTERM");
  t.deepEqual(await worker.ended, { code: 0, signal: null });
});

for (const url of [
  "proxy.example.test:3128",
  "u:pr0xyword@127.0.0.1:3128",
  "http://u:pr0xyword@",
  "http://u:pr0xyword@h:99999",
  "socks5h://127.0.0.1:1",
  "http://[::1",
  "http://u:pr0xyword@a b:1",
])
  test(`A proxy variable that is no URL is said to be none, without what it says: ${url}`, async (t) => {
    for (const name of ["HTTPS_PROXY", "http_proxy"]) {
      const worker = WorkerProcess.start(t, ["poll", "--workdir", workspace(t)], { [name]: url });
      t.deepEqual(await worker.ended, { code: 125, signal: null });
      t.regex(worker.said, new RegExp(`^holdfast: ${name} is no URL of a proxy\\n.*ERR_HOLDFAST_USAGE`));
      t.false(worker.said.includes(url));
      t.false(worker.said.includes("pr0xyword"));
    }
  });
