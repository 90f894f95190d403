import { chmod, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { HoldfastError } from "../../lib/errors.ts";
import { QueueClient } from "../../lib/queue/client.ts";
import { checkAnswer } from "../../lib/queue/expectation.ts";
import { readKeyFile, readOrMakeKeyFile } from "../../lib/queue/keys.ts";
import { QueueServer } from "../../lib/queue/server.ts";
import { parseTask, readTask } from "../../lib/queue/task.ts";

test("A task file says everything that is wrong with it, each with its place", (t) => {
  const text = [
    "name: x",
    "calls:",
    "  - tol: bash",
    "    input: { command: echo }",
    "  - tool: bash",
    '    expect: { matches: "(" , is_eror: true }',
    "  - together: []",
    "end: never",
    "frob: 1",
  ].join("\n");
  const error = t.throws(() => parseTask(text, "bad.yaml"), {
    instanceOf: HoldfastError,
    code: "ERR_HOLDFAST_TASK_INVALID",
  });
  t.deepEqual(
    error?.message
      .split("\n")
      .slice(1)
      .map((line) => line.trim().replace(/: [A-Z].*/, "")),
    [
      "bad.yaml:3:5: calls.0.tool",
      'bad.yaml:3:5: calls.0: unknown word "tol"',
      "bad.yaml:6:24: calls.1.expect.matches: is not a regular expression",
      'bad.yaml:6:30: calls.1.expect: unknown word "is_eror"',
      "bad.yaml:7:15: calls.2.together",
      "bad.yaml:8:6: end",
      'bad.yaml:9:1: the task: unknown word "frob"',
    ],
  );
});

test("Broken YAML, doubled keys and aliases that explode are refused", (t) => {
  for (const text of [
    "calls: [",
    "name: a\nname: b\n",
    `a: &a [${"x,".repeat(10)}]\nb: &b [${"*a,".repeat(10)}]\nc: [${"*b,".repeat(30)}]\n`,
  ]) {
    t.throws(() => parseTask(text, "bad.yaml"), { code: "ERR_HOLDFAST_TASK_INVALID" });
  }
  t.throws(() => readTask("/nowhere/task.yaml"), { code: "ERR_HOLDFAST_TASK_UNREADABLE" });
  t.throws(() => readTask("/dev/zero"), { code: "ERR_HOLDFAST_TASK_UNREADABLE", message: /larger than/ });
});

test("An answer is held against what was expected of it", (t) => {
  const fine = { text: "one\ntwo", isError: false };
  t.deepEqual(checkAnswer(undefined, fine), []);
  t.deepEqual(
    checkAnswer(
      { is_error: false, equals: "one\ntwo", contains: ["one", "two"], excludes: "three", matches: "^one.two$" },
      fine,
    ),
    [],
  );
  for (const expected of [
    { is_error: true },
    { equals: "one" },
    { contains: ["one", "three"] },
    { excludes: ["three", "two"] },
    { matches: ["one", "^two"] },
  ]) {
    t.is(checkAnswer(expected, fine).length, 1);
  }
});

test("Key files are made for their owner alone, kept, and refused when others can read them", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-keys-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "sub", "key");
  const key = readOrMakeKeyFile(path, "sk-ant-oat01-");
  t.regex(key, /^sk-ant-oat01-[\w-]{43}$/);
  t.is((await stat(path)).mode & 0o777, 0o600);
  t.is((await readFile(path)).toString(), `${key}\n`);
  t.is(readOrMakeKeyFile(path, "sk-ant-oat01-"), key);
  await chmod(path, 0o640);
  t.throws(() => readKeyFile(path), { code: "ERR_HOLDFAST_KEY_FILE" });
  await chmod(path, 0o600);
  await writeFile(path, "two\nlines\n");
  t.throws(() => readKeyFile(path), { code: "ERR_HOLDFAST_KEY_FILE" });
});

test("A session is submitted over HTTP, given further calls, followed and judged", async (t) => {
  const queue = await QueueServer.start();
  t.teardown(() => queue.close());
  const client = new QueueClient(queue.url, queue.operatorKey);
  const id = await client.submit({ name: "mine", end: "idle", calls: [{ tool: "a", custom: true, answer: "1" }] });
  t.deepEqual(await client.list(), [id]);
  t.like(await client.results(id), { outcome: "passed", status: "idle", title: "mine" });
  const seen: unknown[] = [];
  const following = (async () => {
    for await (const event of client.follow(id)) seen.push(event["type"]);
  })();
  const response = await fetch(`${queue.url}/v1/sessions/${id}/calls`, {
    method: "POST",
    headers: { authorization: `Bearer ${queue.operatorKey}` },
    body: JSON.stringify({
      calls: [{ tool: "b", custom: true, answer: "2", expect: { equals: "3" } }],
      end: "terminated",
    }),
  });
  t.is(response.status, 200);
  await following;
  t.deepEqual(seen, [
    "user.message",
    "session.status_running",
    "agent.custom_tool_use",
    "user.custom_tool_result",
    "agent.message",
    "session.status_idle",
    "session.status_running",
    "agent.custom_tool_use",
    "user.custom_tool_result",
    "agent.message",
    "session.status_idle",
    "session.status_terminated",
  ]);
  t.is((await client.results(id)).outcome, "failed");
  await t.throwsAsync(client.submit({ calls: [{ tol: "x" }] }), { code: "ERR_HOLDFAST_QUEUE_REFUSED" });
  await t.throwsAsync(new QueueClient("http://127.0.0.1:1", "k").list(), { code: "ERR_HOLDFAST_QUEUE_UNREACHABLE" });
});

test("Following is told when the queue goes away, and can be given up", async (t) => {
  const queue = await QueueServer.start();
  t.teardown(() => queue.close());
  const id = queue.submit({ calls: [{ tool: "bash" }] });
  const client = new QueueClient(queue.url, queue.operatorKey);
  const stop = new AbortController();
  for await (const event of client.follow(id, stop.signal)) {
    if (event["type"] === "session.status_idle") stop.abort();
  }
  await t.throwsAsync(
    async () => {
      for await (const event of client.follow(id)) {
        if (event["type"] === "session.status_idle") await queue.close();
      }
    },
    { code: "ERR_HOLDFAST_QUEUE_UNREACHABLE", message: /gone away/ },
  );
});

test("A session that is forgotten leaves nothing to claim", async (t) => {
  const queue = await QueueServer.start();
  t.teardown(() => queue.close());
  const id = queue.submit({ calls: [{ tool: "bash" }] });
  const headers = { authorization: `Bearer ${queue.operatorKey}` };
  const stats = async (): Promise<unknown> =>
    (await fetch(`${queue.url}/v1/environments/${queue.environmentId}/work/stats`, { headers })).json();
  t.like(await stats(), { depth: 1 });
  t.is((await fetch(`${queue.url}/v1/sessions/${id}`, { method: "DELETE", headers })).status, 200);
  t.like(await stats(), { depth: 0 });
});

test("Versions of a skill have a number too, for older SDKs, and are found by it", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-queue-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "SKILL.md"), "say hello\n");
  const queue = await QueueServer.start();
  t.teardown(() => queue.close());
  const id = queue.submit({ agent: { skills: [{ name: "greet", folder }] }, calls: [] });
  const get = async (path: string): Promise<Record<string, unknown>> =>
    (await fetch(`${queue.url}/v1/${path}`, { headers: { "x-api-key": queue.operatorKey } })).json() as Promise<
      Record<string, unknown>
    >;
  const { skills } = (await get(`sessions/${id}`))["agent"] as { skills: { skill_id: string }[] };
  const versions = `skills/${skills[0]?.skill_id}/versions`;
  const [listed] = (await get(versions))["data"] as { id: string; version: string }[];
  t.regex(listed?.version ?? "", /^\d+$/);
  t.is((await get(`${versions}/${listed?.version}`))["id"], listed?.id);
  t.is((await get(`${versions}/${Number(listed?.version) + 1}`))["type"], "error");
});

test("The history is given in pages, in either order, by type and by time", async (t) => {
  const queue = await QueueServer.start();
  t.teardown(() => queue.close());
  const id = queue.submit({ calls: Array.from({ length: 30 }, () => ({ tool: "a", custom: true, answer: "1" })) });
  const get = async (query: string): Promise<{ data: { type: string; id: string }[]; next_page: string | null }> =>
    (
      await fetch(`${queue.url}/v1/sessions/${id}/events?${query}`, {
        headers: { authorization: `Bearer ${queue.operatorKey}` },
      })
    ).json() as Promise<{ data: { type: string; id: string }[]; next_page: string | null }>;
  const all = (await get("limit=1000")).data;
  t.is(all.length, 65);
  const paged: string[] = [];
  for (let page: string | null = ""; page !== null; ) {
    const answer = await get(`limit=7${page === "" ? "" : `&page=${page}`}`);
    paged.push(...answer.data.map((event) => event.id));
    page = answer.next_page;
  }
  t.deepEqual(
    paged,
    all.map((event) => event.id),
  );
  t.deepEqual((await get("limit=1000&order=desc")).data, [...all].reverse());
  t.is((await get("limit=1000&types=user.message&types=session.status_terminated")).data.length, 2);
  t.is((await get("created_at[gt]=2999-01-01T00:00:00Z")).data.length, 0);
});
