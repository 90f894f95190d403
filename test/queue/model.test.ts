import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { QueueClient, type SessionResults } from "../../lib/queue/client.ts";
import { ModelClient } from "../../lib/queue/model/client.ts";
import { QueueServer, type QueueServerOptions } from "../../lib/queue/server.ts";
import type { Task } from "../../lib/queue/task.ts";
import { startSocksProxy } from "../egress/proxies.ts";
import { WorkerProcess, workspace } from "../worker/worker-process.ts";
import { completion, modelServer, refused, type Said } from "./model-server.ts";

const key = "sk-local-key-that-nobody-may-repeat";
process.env["HOLDFAST_TEST_MODEL_KEY"] = key;

/** What of a queue makes a test slow when it is as it is used. */
const hurried = { timeoutMs: 5000, backoffMs: 5 };

async function openQueue(
  t: ExecutionContext,
  url: string,
  bounds: NonNullable<QueueServerOptions["model"]>["bounds"] = {},
  more: Partial<QueueServerOptions> = {},
): Promise<{ queue: QueueServer; client: QueueClient }> {
  const client = new ModelClient({ url, key: { kind: "env", name: "HOLDFAST_TEST_MODEL_KEY" }, ...hurried });
  const queue = await QueueServer.start({ ...more, model: { client, name: "tiny", bounds } });
  t.teardown(() => queue.close());
  return { queue, client: new QueueClient(queue.url, queue.operatorKey) };
}

/** What came of a session when it has ended, and what happened in it. */
async function ended(
  client: QueueClient,
  id: string,
): Promise<{ results: SessionResults; events: Record<string, unknown>[] }> {
  const events: Record<string, unknown>[] = [];
  for await (const event of client.follow(id)) {
    events.push(event);
    const reason = (event["stop_reason"] as { type?: string } | undefined)?.type;
    if (event["type"] === "session.status_idle" && reason !== "requires_action") break;
  }
  return { results: await client.results(id), events };
}

/** Claims the queue's item without doing anything for it. */
async function claim({ url, environmentId, environmentKey }: QueueServer): Promise<(verb: string) => Promise<unknown>> {
  const call = async (path: string, method: string): Promise<Record<string, string> | null> => {
    const response = await fetch(`${url}/v1/environments/${environmentId}/work/${path}`, {
      method,
      headers: {
        authorization: `Bearer ${environmentKey}`,
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "managed-agents-2026-04-01",
      },
      ...(path.endsWith("stop") ? { body: '{"force":true}' } : {}),
    });
    return (await response.json()) as Record<string, string> | null;
  };
  const item = await call("poll", "GET");
  await call(`${item?.["id"]}/ack`, "POST");
  return (verb) => call(`${item?.["id"]}/${verb}`, "POST");
}

const bash = (command: string): readonly [string, unknown] => ["bash", { command }];
const done = completion("done");

test("A model's calls are made by the worker in its sandbox, whatever else it says or its server does", async (t) => {
  const server = await modelServer(t, {
    work: [
      completion("I look.", [bash("echo one > a.txt; pwd"), ["read", { file_path: "missing" }]]),
      completion(null, [["read", { file_path: "a.txt" }]]),
      completion("It holds one."),
    ],
    wrong: [
      completion(null, [
        ["bash", '{"command": "touch never'],
        ["bash", "[1]"],
        ["launch_missiles", {}],
        ["glob", { pattern: "never*" }],
      ]),
      done,
    ],
  });
  const { queue, client } = await openQueue(t, `${server.url}/v1/`);
  const tasks = ["work", "wrong"];
  const ids = tasks.map((message) => queue.submit({ message }));
  const workdir = workspace(t);
  const worker = WorkerProcess.start(
    t,
    ["poll", "--workdir", workdir, "--base-url", queue.url, "--environment-id", queue.environmentId, "--drain"],
    { ANTHROPIC_ENVIRONMENT_KEY: queue.environmentKey },
  );
  const all = await Promise.all(ids.map((id) => ended(client, id)));
  t.is((await worker.ended).code, 0);
  const of = (task: string): SessionResults => all[tasks.indexOf(task)]?.results as SessionResults;

  t.like(of("work"), { outcome: "passed", answer: "It holds one.", fault: null });
  t.deepEqual(
    of("work").calls.map(({ text, is_error }) => [text, is_error]),
    [
      [workdir, false],
      ["read: missing: no such file or directory", true],
      ["one\n", false],
    ],
  );
  const last = server.asked("work").at(-1);
  t.is(last?.path, "/v1/chat/completions");
  t.is(last?.headers.authorization, `Bearer ${key}`);
  t.is(last?.body.model, "tiny");
  t.is(last?.body.tools.length, 6);
  t.deepEqual(last?.body.messages.map(({ role, content }) => [role, content]).slice(1), [
    ["user", "work"],
    ["assistant", "I look."],
    ["tool", workdir],
    ["tool", "error: read: missing: no such file or directory"],
    ["assistant", null],
    ["tool", "one\n"],
  ]);

  t.is(of("wrong").outcome, "passed");
  const [cut, list, unknown, never] = of("wrong").calls;
  t.regex(cut?.text ?? "", /^bash: the arguments are not valid JSON .*touch never/);
  t.regex(list?.text ?? "", /^bash: the arguments are no object/);
  t.regex(unknown?.text ?? "", /^there is no tool "launch_missiles": bash, read/);
  t.is(never?.text, "no matches");
  t.deepEqual(
    all[1]?.events.filter(({ type }) => type === "agent.tool_use").map((event) => event["evaluated_permission"]),
    ["deny", "deny", "deny", "allow"],
    "no worker takes up what was answered here",
  );

  t.false(JSON.stringify(all).includes(key) || worker.said.includes(key));
});

test("A server that is busy, broken or silent is asked again, and what is no answer is none", async (t) => {
  const server = await modelServer(t, {
    unwell: [
      refused(429, "{}", { "retry-after-ms": "1" }),
      refused(500, "<h1>no</h1>"),
      (response) => response.writeHead(200, { "content-length": 1000 }).write('{"choices":', () => response.destroy()),
      () => {}, // Nothing, ever.
      { choices: [{ message: { content: "" } }] },
      done,
    ],
  });
  const { queue, client } = await openQueue(t, server.url);
  const id = queue.submit({ message: "unwell" });
  await claim(queue);
  const { results, events } = await ended(client, id);
  t.like(results, { outcome: "passed", answer: "done" });
  t.is(server.asked("unwell").length, 6);
  const faults = events.filter(({ type }) => type === "session.error");
  t.deepEqual(
    faults.map(({ error }) => (error as { message: string }).message),
    [
      "the model is asked again: it answers 429: {}",
      "the model is asked again: it answers 500: <h1>no</h1>",
      "the model is asked again: the server closed the connection in the middle of its answer",
      "the model is asked again: it does not answer within 5 s",
      "the model is asked again: its answer cannot be used: it is empty",
    ],
  );
});

test("What no model can go on with ends its session, with the reason and without the key", async (t) => {
  const echo: Said = (response, { headers }) => {
    response.writeHead(400).end(JSON.stringify({ error: { message: `too long, ${headers.authorization}` } }));
  };
  const dear = completion(null, [["nothing", {}]], { usage: { prompt_tokens: 4000, completion_tokens: 2000 } });
  const cases: Readonly<Record<string, readonly [said: Said, fault: RegExp]>> = {
    garbage: [refused(200, "data: [DONE]"), /it is no object of JSON: data: \[DONE\]; it was asked 6 times$/],
    refusing: [echo, /^the model cannot be asked: it answers 400: too long, Bearer \*+$/],
    endless: [completion(null, [["nothing", {}]]), /^the model was asked 8 times and has not ended$/],
    dear: [dear, /^the model has used 6000 tokens; 5000 are what a session may$/],
    short: [completion("It is", [], { finish_reason: "length" }), /^the model's answer was cut off/],
    unwilling: [completion("", [], { finish_reason: "content_filter" }), /^the model refuses$/],
  };
  const scripts = Object.fromEntries(Object.entries(cases).map(([task, [said]]) => [task, [said]]));
  const server = await modelServer(t, scripts);
  const { queue, client } = await openQueue(t, server.url, { turns: 8, tokens: 5000 });
  for (const [task, [, fault]] of Object.entries(cases)) {
    const id = queue.submit({ message: task });
    await claim(queue);
    const { results, events } = await ended(client, id);
    t.is(results.outcome, "failed");
    t.regex(results.fault ?? "", fault);
    t.false(JSON.stringify(events).includes(key));
  }
  t.is(server.asked("refusing").length, 1);
  t.is(server.asked("garbage").length, 6);
});

/** `holdfast queue`, as people start it. */
async function oneCommand(
  t: ExecutionContext,
  home: string,
  args: readonly string[],
  variables: Readonly<Record<string, string>> = {},
): Promise<{ status: number | null; said: string; errors: string }> {
  const command = join(dirname(dirname(import.meta.dirname)), "bin", "holdfast");
  const child = spawn(command, ["queue", ...args], {
    env: { PATH: process.env["PATH"], HOME: home, ...variables },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  let [said, errors] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const [status] = (await once(child, "close")) as [number | null];
  return { status, said, errors };
}

test("One command whose model fails, or whose worker does not stay, says so last and answers nothing", async (t) => {
  const server = await modelServer(t, {
    "do it": [refused(400, '{"error":{"message":"too much"}}')],
    wait: [() => {}],
  });
  const home = mkdtempSync(join(tmpdir(), "holdfast-model-"));
  t.teardown(() => rmSync(home, { recursive: true, force: true }));
  const model = ["--model", server.url, "--model-name", "tiny"];
  const failed = await oneCommand(t, home, [...model, "--task", "do it", "--worker", "--", "--workdir", workspace(t)]);
  t.like(failed, { status: 1, said: "" });
  t.regex(failed.errors, /^holdfast: do it: failed: the model cannot be asked: it answers 400: too much$/m);
  const lost = await oneCommand(t, home, [
    ...model,
    "--task",
    "wait",
    "--worker",
    "--",
    "--workdir",
    join(home, "nowhere"),
  ]);
  t.like(lost, { status: 125, said: "" });
  t.regex(
    lost.errors,
    /nowhere does not exist[\s\S]*the worker has ended \(status 125\)\n.*\[ERR_HOLDFAST_WORKER_ENDED\]/,
  );
});

test("One command has a model of Anthropic's interface do a task, and prints its answer", async (t) => {
  const usage = { input_tokens: 1, output_tokens: 1 };
  const server = await modelServer(t, {
    "count the files": [
      refused(529, '{"type":"error","error":{"type":"overloaded_error","message":"busy"}}', { "retry-after": "0" }),
      {
        content: [
          { type: "text", text: "Let me see." },
          { type: "tool_use", id: "toolu_1", name: "bash", input: { command: "cat /proc/self/environ; exit 3" } },
        ],
        ...{ stop_reason: "tool_use", usage },
      },
      { content: [{ type: "text", text: "There are two." }], stop_reason: "end_turn", usage },
    ],
  });
  const workdir = workspace(t);
  const home = mkdtempSync(join(tmpdir(), "holdfast-model-"));
  t.teardown(() => rmSync(home, { recursive: true, force: true }));
  const keyFile = join(home, "model.key");
  writeFileSync(keyFile, `${key}\n`, { mode: 0o600 });
  // What it keeps is not to be seen by the sessions of its own worker.
  symlinkSync(workdir, join(home, "alias"));
  for (const kept of [
    ["--key-file", join(workdir, "environment.key")],
    ["--operator-key-file", join(home, "alias", "operator.key")],
    ["--state", join(workdir, "queue.db")],
    ["--model-key", `file:${join(workdir, "model.key")}`],
  ]) {
    const words = ["--model", server.url, "--model-name", "claude", ...kept, "--task", "x", "--worker"];
    const shown = await oneCommand(t, home, [...words, "--", "--workdir", workdir]);
    t.is(shown.status, 125, kept[0]);
    t.regex(shown.errors, /lies in the workspace .*, where the worker's sessions can read it\n.*ERR_HOLDFAST_KEY_FILE/);
    t.deepEqual(
      readdirSync(workdir).filter((name) => /key|db/.test(name)),
      [],
    );
  }
  const { status, said, errors } = await oneCommand(t, home, [
    ...["--model", server.url, "--model-api", "anthropic", "--model-name", "claude", "--model-key"],
    ...[`file:${keyFile}`, "--task", "count the files", "--worker", "--", "--workdir", workdir],
  ]);
  t.is(status, 0, errors);
  t.is(said, "There are two.\n");
  t.regex(errors, /→ bash .*environ/);
  t.false(errors.includes(key));
  const [, first, last] = server.asked("count the files");
  t.like(last, { path: "/v1/messages", headers: { "x-api-key": key, "anthropic-version": "2023-06-01" } });
  t.deepEqual(first?.body.messages, [{ role: "user", content: [{ type: "text", text: "count the files" }] }]);
  const [, call, answer] = (last?.body.messages ?? []) as { content: Record<string, unknown>[] }[];
  t.like(call?.content[1], { type: "tool_use", name: "bash", input: { command: "cat /proc/self/environ; exit 3" } });
  t.like(answer?.content[0], { type: "tool_result", tool_use_id: call?.content[1]?.["id"], is_error: true });
});

test("A model is asked through the proxy that is named for it, which may alone know its server's name", async (t) => {
  const server = await modelServer(t, { hello: [completion("Hello from afar.")] });
  const proxy = await startSocksProxy({ address: "127.0.0.1", names: { "models.test": "127.0.0.1" } });
  t.teardown(() => proxy.close());
  const home = mkdtempSync(join(tmpdir(), "holdfast-model-"));
  t.teardown(() => rmSync(home, { recursive: true, force: true }));
  const url = `http://models.test:${new URL(server.url).port}/v1`;
  const args = ["--model", url, "--model-name", "tiny", "--upstream-proxy", "env", "--task", "hello", "--worker"];
  const variables = { ALL_PROXY: `socks5h://127.0.0.1:${proxy.port}` };
  const { said, errors } = await oneCommand(t, home, [...args, "--", "--workdir", workspace(t)], variables);
  t.is(said, "Hello from afar.\n", errors);
  t.deepEqual(proxy.asked, [`models.test:${new URL(server.url).port}`]);
  const lone = await oneCommand(t, home, ["--upstream-proxy", "env"], variables);
  t.is(lone.status, 125);
  t.regex(lone.errors, /^holdfast: --upstream-proxy is of a model, and none is named/);
});

test("A session that its worker does nothing for, or gives back again and again, ends all the same", async (t) => {
  const server = await modelServer(t, { wait: [completion(null, [bash("true")])], hang: [() => {}] });
  const { queue, client } = await openQueue(t, server.url, { timeMs: 1500 });
  const id = queue.submit({ message: "wait" });
  t.is(server.asked("wait").length, 0, "nobody asks for a session that no worker has");
  await claim(queue);
  const { results } = await ended(client, id);
  t.like(results, { outcome: "failed", fault: "the session has not ended within 1.5 s" });
  // On a busy machine the model has not even answered by then.
  t.true(results.calls.every(({ state }) => state === "void"));

  const patient = await openQueue(t, server.url);
  const given = patient.queue.submit({ message: "hang" });
  for (let times = 1; times <= 4; times++) await (await claim(patient.queue))("stop");
  t.regex((await ended(patient.client, given)).results.fault ?? "", /^4 times a worker gave the session back/);
});

test("A queue that is started again goes on where the model was, and the user can say more", async (t) => {
  let say = async (_text: string): Promise<void> => {};
  const interrupted: Said = (response) => {
    void say("third").then(() => response.end(JSON.stringify(completion("two"))));
  };
  const server = await modelServer(t, { first: [() => {}, completion("one"), interrupted, completion("three")] });
  const folder = mkdtempSync(join(tmpdir(), "holdfast-model-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const stateFile = join(folder, "queue.db");
  const before = await openQueue(t, server.url, {}, { stateFile });
  const id = before.queue.submit({ message: "first", end: "idle" });
  await claim(before.queue);
  await before.queue.close();
  const { queue, client } = await openQueue(t, server.url, {}, { stateFile });
  t.is((await ended(client, id)).results.answer, "one");
  say = async (text) => {
    const response = await fetch(`${queue.url}/v1/sessions/${id}/events`, {
      method: "POST",
      headers: { authorization: `Bearer ${queue.operatorKey}` },
      body: JSON.stringify({ events: [{ type: "user.message", content: [{ type: "text", text }] }] }),
    });
    t.is(response.status, 200);
  };
  await say("second");
  for await (const event of client.follow(id)) if (JSON.stringify(event).includes('"three"')) break;
  t.deepEqual(
    server
      .asked("first")
      .at(-1)
      ?.body.messages.map(({ content }) => content)
      .slice(1),
    ["first", "one", "second", "two", "third"],
  );
  t.false(readFileSync(stateFile).includes(key));
});

test("A model that cannot be used is said at the start, and a task that it cannot be given", async (t) => {
  const server = await modelServer(t, { "": [{ data: [{ id: "a" }, { id: "b" }] }] });
  const named = (url: string): Promise<string> => new ModelClient({ url }).name(AbortSignal.timeout(5000));
  await t.throwsAsync(named(server.url), { code: "ERR_HOLDFAST_MODEL", message: /several models: a, b/ });
  await t.throwsAsync(named("http://127.0.0.1:1/v1"), { code: "ERR_HOLDFAST_MODEL", message: /refuses connections/ });
  t.throws(() => new ModelClient({ url: "http://user:word@host/" }), { message: /holds credentials/ });
  t.is(new ModelClient({ url: "https://models.example/anthropic" }).api, "anthropic");
  t.is(new ModelClient({ url: "https://models.example/v1/messages" }).api, "anthropic");
  t.is(new ModelClient({ url: "https://models.example/v1" }).api, "openai");
  const { queue } = await openQueue(t, server.url);
  const bad: readonly Task[] = [
    {},
    { message: "x", agent: { tools: [{ type: "mcp_toolset" }] } },
    { message: "x", agent: { tools: [{ type: "agent_toolset_20260401", configs: [{ name: "bsh" }] }] } },
  ];
  for (const task of bad) t.throws(() => queue.submit(task), { code: "ERR_HOLDFAST_TASK_INVALID" });
});
