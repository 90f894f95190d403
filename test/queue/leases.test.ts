import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { QueueClient } from "../../lib/queue/client.ts";
import { QueueServer, type QueueServerOptions } from "../../lib/queue/server.ts";

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown>;
}

interface Desk {
  readonly queue: QueueServer;
  /** Moves the queue's clock on, in milliseconds. */
  pass(ms: number): void;
  ask(method: string, path: string, options?: AskOptions): Promise<Answer>;
  /** Claims an item: its id and its token. */
  poll(query?: string): Promise<{ id: string; token: string; session: string } | null>;
  beat(id: string, token: string, expected: string): Promise<Answer>;
}

interface AskOptions {
  readonly token?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

async function openDesk(t: ExecutionContext, options: QueueServerOptions = {}): Promise<Desk> {
  let now = Date.parse("2026-01-01T00:00:00Z");
  const queue = await QueueServer.start({ leaseTtlMs: 60_000, now: () => now, ...options });
  t.teardown(() => queue.close());
  const base = `/v1/environments/${queue.environmentId}/work`;
  const ask: Desk["ask"] = async (method, path, { token = queue.environmentKey, body, headers } = {}) => {
    const response = await fetch(`${queue.url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "managed-agents-2026-04-01",
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  return {
    queue,
    pass: (ms) => {
      now += ms;
    },
    ask,
    async poll(query = "") {
      const { body } = await ask("GET", `${base}/poll${query}`);
      if (body === null) return null;
      const secret = JSON.parse(Buffer.from(String(body["secret"]), "base64url").toString()) as {
        sessions_token: string;
      };
      return {
        id: String(body["id"]),
        token: secret.sessions_token,
        session: (body["data"] as { id: string }).id,
      };
    },
    beat: (id, token, expected) =>
      ask("POST", `${base}/${id}/heartbeat?expected_last_heartbeat=${encodeURIComponent(expected)}`, { token }),
  };
}

const call = { tool: "bash", input: { command: "true" } };

function workPath(desk: Desk, id: string, verb: string): string {
  return `/v1/environments/${desk.queue.environmentId}/work/${id}/${verb}`;
}

async function claim(t: ExecutionContext, desk: Desk): Promise<{ id: string; token: string; session: string }> {
  const item = await desk.poll();
  if (item === null) throw new Error("the queue is empty");
  t.is((await desk.ask("POST", workPath(desk, item.id, "ack"))).status, 200);
  return item;
}

test("An item that is not acknowledged is handed out again after the reclaim time, and not before", async (t) => {
  const desk = await openDesk(t);
  desk.queue.submit({ calls: [call] });
  const first = await desk.poll();
  t.is(await desk.poll(), null);
  desk.pass(4999);
  t.is(await desk.poll(), null);
  desk.pass(1);
  const again = await desk.poll();
  t.is(again?.id, first?.id ?? "");
  t.not(again?.token, first?.token ?? "");
  desk.pass(100);
  t.is((await desk.poll("?reclaim_older_than_ms=100"))?.id, first?.id ?? "");
});

test("A poll that waits gets the item that comes meanwhile", async (t) => {
  const desk = await openDesk(t);
  const waiting = desk.poll("?block_ms=999");
  desk.queue.submit({ calls: [call] });
  t.truthy(await waiting);
  t.is((await desk.ask("GET", `/v1/environments/${desk.queue.environmentId}/work/poll?block_ms=1000`)).status, 400);
});

test("Only what was handed out is acknowledged, once", async (t) => {
  const desk = await openDesk(t);
  desk.queue.submit({ calls: [call] });
  const item = await claim(t, desk);
  t.is((await desk.ask("POST", workPath(desk, item.id, "ack"))).status, 409);
  t.is((await desk.ask("POST", workPath(desk, "work_none", "ack"))).status, 404);
});

test("A heartbeat is a compare-and-set, and says what it found when it fails", async (t) => {
  const desk = await openDesk(t);
  desk.queue.submit({ calls: [call] });
  const { id, token } = await claim(t, desk);
  const first = await desk.beat(id, token, "NO_HEARTBEAT");
  t.like(first.body, { type: "work_heartbeat", lease_extended: true, state: "active", ttl_seconds: 60 });
  const last = String(first.body["last_heartbeat"]);
  const second = await desk.beat(id, token, last);
  t.is(second.status, 200);
  t.not(second.body["last_heartbeat"], last);
  for (const stale of ["NO_HEARTBEAT", last]) {
    const refused = await desk.beat(id, token, stale);
    t.is(refused.status, 412);
    t.like(refused.body["error"], {
      details: {
        error_code: "heartbeat_precondition_failed",
        current_state: {
          state: "active",
          last_heartbeat: second.body["last_heartbeat"],
          lease_extended: false,
          ttl_seconds: 60,
        },
      },
    });
  }
});

test("A lease that is not extended puts the item back, and its old holder can neither beat, post nor stop", async (t) => {
  const desk = await openDesk(t);
  desk.queue.submit({ calls: [call] });
  const old = await claim(t, desk);
  const first = await desk.beat(old.id, old.token, "NO_HEARTBEAT");
  desk.pass(60_000);
  const next = await claim(t, desk);
  t.is(next.id, old.id);
  t.is((await desk.beat(old.id, old.token, String(first.body["last_heartbeat"]))).status, 412);
  const events = await desk.ask("GET", `/v1/sessions/${old.session}/events`, { token: next.token });
  const asked = (events.body["data"] as { type: string; id: string }[]).find(({ type }) => type === "agent.tool_use");
  const body = {
    events: [{ type: "user.tool_result", tool_use_id: asked?.id, content: [{ type: "text", text: "x" }] }],
  };
  t.is((await desk.ask("POST", `/v1/sessions/${old.session}/events`, { token: old.token, body })).status, 403);
  t.is(
    (await desk.ask("POST", workPath(desk, old.id, "stop"), { token: old.token, body: { force: true } })).status,
    409,
  );
  t.is((await desk.beat(next.id, next.token, "NO_HEARTBEAT")).status, 200);
  t.is((await desk.ask("POST", `/v1/sessions/${old.session}/events`, { token: next.token, body })).status, 200);
});

test("A lease that ran out is nobody's until it is claimed again", async (t) => {
  const desk = await openDesk(t);
  desk.queue.submit({ calls: [call] });
  const old = await claim(t, desk);
  desk.pass(60_000);
  const events = await desk.ask("GET", `/v1/sessions/${old.session}/events`);
  const asked = (events.body["data"] as { type: string; id: string }[]).find(({ type }) => type === "agent.tool_use");
  const body = {
    events: [{ type: "user.tool_result", tool_use_id: asked?.id, content: [{ type: "text", text: "x" }] }],
  };
  t.is((await desk.ask("POST", `/v1/sessions/${old.session}/events`, { token: old.token, body })).status, 403);
  t.is((await desk.ask("POST", workPath(desk, old.id, "stop"), { token: old.token, body: {} })).status, 409);
});

test("A stop without force is told to the worker by heartbeat, one with force ends the item", async (t) => {
  const desk = await openDesk(t);
  desk.queue.submit({ calls: [call] });
  const { id, token } = await claim(t, desk);
  await desk.beat(id, token, "NO_HEARTBEAT");
  const asked = await desk.ask("POST", workPath(desk, id, "stop"), { token: desk.queue.operatorKey, body: {} });
  t.is(asked.body["state"], "stopping");
  const told = await desk.beat(id, token, "whatever");
  t.like(told, { status: 200, body: { state: "stopping", lease_extended: false } });
  t.is((await desk.ask("POST", workPath(desk, id, "stop"), { token, body: { force: true } })).body["state"], "stopped");
  t.is((await desk.ask("POST", workPath(desk, id, "stop"), { token, body: { force: true } })).status, 409);
});

test("Each call takes the credentials that the protocol names, and one of them at a time", async (t) => {
  const desk = await openDesk(t);
  desk.queue.submit({ calls: [call], memory: [{ name: "m" }] });
  const { id, token, session } = await claim(t, desk);
  const key = desk.queue.environmentKey;
  const operator = desk.queue.operatorKey;
  const work = `/v1/environments/${desk.queue.environmentId}/work`;
  const { resources } = (await desk.ask("GET", `/v1/sessions/${session}`)).body as {
    resources: { memory_store_id: string }[];
  };
  const memory = `/v1/memory_stores/${resources[0]?.memory_store_id}/memories`;
  const cases: readonly [string, string, Record<string, number>][] = [
    ["GET", `${work}/poll`, { [key]: 200, [token]: 403, [operator]: 403, wrong: 401 }],
    ["GET", `${work}/stats`, { [key]: 200, [token]: 403, [operator]: 200 }],
    ["GET", `${work}/${id}`, { [key]: 403, [token]: 403, [operator]: 200 }],
    ["GET", `/v1/sessions/${session}`, { [key]: 200, [token]: 200, [operator]: 200, wrong: 401 }],
    ["GET", "/v1/sessions", { [key]: 403, [token]: 403, [operator]: 200 }],
    ["GET", `/v1/sessions/${session}/results`, { [key]: 403, [token]: 403, [operator]: 200 }],
    ["GET", memory, { [key]: 403, [token]: 200, [operator]: 200 }],
  ];
  for (const [method, path, expected] of cases) {
    for (const [credential, status] of Object.entries(expected)) {
      t.is((await desk.ask(method, path, { token: credential })).status, status, `${method} ${path} ${credential}`);
    }
  }
  t.is((await desk.ask("GET", `${work}/stats`, { headers: { "x-api-key": operator } })).status, 401);
  t.is((await desk.ask("GET", "/v1/environments/env_other/work/stats")).status, 404);
  t.is((await desk.ask("GET", `${work}/stats`, { headers: { "anthropic-version": "1999-01-01" } })).status, 400);
  t.is((await desk.ask("GET", `${work}/stats`, { headers: { "anthropic-beta": "other" } })).status, 400);
  for (const version of ["2026-10-21", "2023-06-01"]) {
    const headers = { "anthropic-version": version, "anthropic-beta": "x, managed-agents-2026-04-01" };
    t.is((await desk.ask("GET", `${work}/stats?beta=true`, { headers })).status, 200);
  }
});

test("A token is good for its own item and session only", async (t) => {
  const desk = await openDesk(t);
  desk.queue.submit({ calls: [call] });
  desk.queue.submit({ calls: [call] });
  const one = await claim(t, desk);
  const two = await claim(t, desk);
  t.is((await desk.beat(two.id, one.token, "NO_HEARTBEAT")).status, 403);
  t.is((await desk.ask("GET", `/v1/sessions/${two.session}/events`, { token: one.token })).status, 403);
  t.is((await desk.ask("POST", workPath(desk, two.id, "stop"), { token: one.token, body: {} })).status, 403);
});

test("The state outlasts the queue, keeps no credential, and is its owner's alone", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-queue-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const stateFile = join(folder, "queue.db");
  const first = await openDesk(t, { stateFile });
  const session = first.queue.submit({ name: "lasting", calls: [call, call] }, "source");
  const item = await claim(t, first);
  const keys = { environmentKey: first.queue.environmentKey, operatorKey: first.queue.operatorKey };
  const environmentId = first.queue.environmentId;
  await first.queue.close();
  t.is((await stat(stateFile)).mode & 0o777, 0o600);
  const { readFile } = await import("node:fs/promises");
  const raw = (await readFile(stateFile)).toString("latin1");
  for (const secret of [keys.environmentKey, keys.operatorKey, item.token]) t.false(raw.includes(secret));

  const second = await openDesk(t, { stateFile, ...keys });
  t.is(second.queue.environmentId, environmentId);
  t.is(second.queue.submit({ name: "lasting", calls: [call, call] }, "source"), session);
  t.is((await second.beat(item.id, item.token, "NO_HEARTBEAT")).status, 200);
  for (const answer of ["one", "two"]) {
    const events = await second.ask("GET", `/v1/sessions/${session}/events?order=desc`, { token: item.token });
    const asked = (events.body["data"] as { type: string; id: string }[]).find(({ type }) => type === "agent.tool_use");
    const body = {
      events: [{ type: "user.tool_result", tool_use_id: asked?.id, content: [{ type: "text", text: answer }] }],
    };
    t.is((await second.ask("POST", `/v1/sessions/${session}/events`, { token: item.token, body })).status, 200);
    t.is((await second.ask("POST", `/v1/sessions/${session}/events`, { token: item.token, body })).status, 400);
  }
  const results = second.queue.results(session) as { outcome: string; calls: { text: string }[] };
  t.is(results.outcome, "passed");
  t.deepEqual(
    results.calls.map(({ text }) => text),
    ["one", "two"],
  );
});

test("An interrupt that was still to come comes after a restart of the queue", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-queue-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const stateFile = join(folder, "queue.db");
  const first = await QueueServer.start({ stateFile });
  const id = first.submit({ calls: [{ ...call, interrupt_after_ms: 200 }] });
  await first.close();
  const second = await QueueServer.start({ stateFile });
  t.teardown(() => second.close());
  const client = new QueueClient(second.url, second.operatorKey);
  for await (const event of client.follow(id)) if (event["type"] === "user.interrupt") break;
  t.pass();
});

test("A second queue is refused a state that another has open", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-queue-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const stateFile = join(folder, "queue.db");
  const first = await QueueServer.start({ stateFile });
  t.teardown(() => first.close());
  await t.throwsAsync(QueueServer.start({ stateFile }), {
    code: "ERR_HOLDFAST_QUEUE_STATE",
    message: /another queue has it open/,
  });
});

test("A file that is no state of a queue is refused and left as it is", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-queue-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const { readFile, writeFile } = await import("node:fs/promises");
  const stateFile = join(folder, "notes.txt");
  await writeFile(stateFile, "my notes\n".repeat(1000));
  await t.throwsAsync(QueueServer.start({ stateFile }), { code: "ERR_HOLDFAST_QUEUE_STATE" });
  t.is((await readFile(stateFile)).toString(), "my notes\n".repeat(1000));
});
