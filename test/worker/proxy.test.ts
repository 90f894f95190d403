// The worker's own way out, and that it is the worker's alone.
import test from "ava";
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
      input: { command: `${tries}; ls /sys/class/net 2>/dev/null; env; cut -d: -f1 /proc/net/dev` },
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
  t.regex(result?.text ?? "", /^ *lo$/m, "its own loopback is all the network that it has");
  // What came to the proxy, with whatever the sandbox tried, was for the queue and from the worker.
  t.true(proxy.asked.length > 0);
  t.deepEqual([...new Set(proxy.asked)], [`queue.example.test:${port}`]);
  t.true(server.requests.every(({ headers }) => (headers["authorization"] ?? "").startsWith("Bearer ")));
  t.false(worker.said.includes("pr0xyword"));
});
