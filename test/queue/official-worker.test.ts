import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Anthropic } from "@anthropic-ai/sdk";
import test from "ava";
import type { SessionResults } from "../../lib/queue/client.ts";
import { QueueClient } from "../../lib/queue/client.ts";
import { QueueServer } from "../../lib/queue/server.ts";
import { parseTask } from "../../lib/queue/task.ts";

/** Runs the SDK's own worker against a queue until `done` resolves. */
async function withOfficialWorker(queue: QueueServer, workdir: string, done: () => Promise<void>): Promise<void> {
  const client = new Anthropic({ authToken: queue.environmentKey, baseURL: queue.url, logLevel: "off" });
  const stop = new AbortController();
  const running = client.beta.environments.work
    .worker({ environmentId: queue.environmentId, environmentKey: queue.environmentKey, workdir })
    .run(stop.signal)
    .catch((error: unknown) => {
      if (!stop.signal.aborted) throw error;
    });
  try {
    await Promise.race([done(), running.then(() => Promise.reject(new Error("the worker ended early")))]);
  } finally {
    stop.abort();
    await running.catch(() => undefined);
  }
}

async function finished(queue: QueueServer, sessionId: string): Promise<SessionResults> {
  const client = new QueueClient(queue.url, queue.operatorKey);
  for await (const event of client.follow(sessionId)) {
    if (event["type"] === "session.status_terminated") break;
  }
  return client.results(sessionId);
}

test("the SDK's own worker serves a task's calls, skills and memory from the embedded queue", async (t) => {
  const workdir = await mkdtemp(join(tmpdir(), "holdfast-queue-"));
  t.teardown(() => rm(workdir, { recursive: true, force: true }));
  const skill = join(workdir, "..", `${workdir.split("/").pop()}-skill`);
  await (await import("node:fs/promises")).mkdir(skill, { recursive: true });
  t.teardown(() => rm(skill, { recursive: true, force: true }));
  await writeFile(join(skill, "SKILL.md"), "say hello\n");
  const queue = await QueueServer.start();
  t.teardown(() => queue.close());
  const session = queue.submit(
    parseTask(
      JSON.stringify({
        name: "official",
        agent: { skills: [{ name: "greet", folder: skill }] },
        memory: [{ name: "notes", memories: { "/a.md": "remember\n" } }],
        calls: [
          {
            tool: "write",
            input: { file_path: "a.txt", content: "one\n" },
            expect: { equals: "wrote 4 bytes to a.txt" },
          },
          {
            together: [
              { tool: "read", input: { file_path: "a.txt" }, expect: { is_error: false, equals: "one\n" } },
              { tool: "read", input: { file_path: "missing" }, expect: { is_error: true, contains: "no such file" } },
            ],
          },
          { tool: "bash", input: { command: "cat skills/greet/SKILL.md" }, expect: { equals: "say hello" } },
          {
            tool: "bash",
            input: { command: "cat memory/notes/a.md; echo new > memory/notes/b.md" },
            expect: { equals: "remember" },
          },
          {
            tool: "bash",
            input: { command: "echo held" },
            permission: "ask",
            confirm: "allow",
            expect: { equals: "held" },
          },
          { tool: "bash", input: { command: "echo never" }, permission: "ask", confirm: "deny" },
          { tool: "bash", input: { command: "echo never" }, permission: "deny" },
          { tool: "ticket", custom: true, answer: "42" },
          { tool: "glob", input: { pattern: "*.txt" }, expect: { matches: "a\\.txt$" } },
        ],
      }),
      "task",
    ),
  );
  let results: SessionResults | undefined;
  await withOfficialWorker(queue, workdir, async () => {
    results = await finished(queue, session);
    // The item's last call is its stop; the worker polls again after it.
    const client = new Anthropic({ authToken: queue.operatorKey, baseURL: queue.url, logLevel: "off" });
    for (;;) {
      const stats = await client.beta.environments.work.stats(queue.environmentId);
      const list = await fetch(`${queue.url}/v1/environments/${queue.environmentId}/work`, {
        headers: { authorization: `Bearer ${queue.operatorKey}` },
      });
      const items = (await list.json()) as { data: { state: string }[] };
      if (stats.depth === 0 && items.data.every((item) => item.state === "stopped")) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });
  t.is(results?.outcome, "passed", JSON.stringify(results, null, 1));
  t.deepEqual(
    results?.calls.map((call) => call.state),
    [
      "answered",
      "answered",
      "answered",
      "answered",
      "answered",
      "answered",
      "denied",
      "denied",
      "answered",
      "answered",
    ],
  );
  t.deepEqual((await readdir(workdir)).sort(), ["a.txt", "memory", "skills"].sort());
  const operator = new Anthropic({ authToken: queue.operatorKey, baseURL: queue.url, logLevel: "off" });
  const stored = await operator.beta.sessions.retrieve(session);
  const store = stored.resources.find((resource) => resource.type === "memory_store");
  const paths: string[] = [];
  for await (const memory of operator.beta.memoryStores.memories.list(store?.memory_store_id ?? "")) {
    if (memory.type === "memory") paths.push(memory.path);
  }
  t.deepEqual(paths, ["/a.md", "/b.md"]);
});
