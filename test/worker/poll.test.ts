import test from "ava";
import { runWorker } from "../../lib/worker/worker.ts";
import { endTurn, environmentKey, sessionsToken, toolUse } from "./faulty-server.ts";
import { openHarness, untilCancelled } from "./harness.ts";

test("A poll waits at the server, says who asks, and carries the environment key alone", async (t) => {
  const { server, start } = await openHarness(t);
  void start();
  await server.untilCount("poll", 2);
  const [poll] = server.of("poll");
  t.is(poll?.path, "/v1/environments/env_test/work/poll");
  t.is(poll?.query.get("block_ms"), "999");
  t.is(poll?.headers["anthropic-worker-id"], "worker-of-the-tests");
  t.is(poll?.headers.authorization, `Bearer ${environmentKey}`);
  t.is(poll?.headers["x-api-key"], undefined);
  t.is(poll?.headers["anthropic-version"], "2026-10-21");
  t.is(poll?.headers["anthropic-beta"], "managed-agents-2026-04-01");
  const [first, second] = server.of("poll");
  t.true((second?.at ?? 0) - (first?.at ?? 0) >= 990, "an empty answer is not followed by a poll at once");
});

test("A base URL with a path and a slash at its end is taken as it is", async (t) => {
  const { server, start } = await openHarness(t, { prefix: "/behind/a/proxy" });
  void start({ baseUrl: `${server.url}/` });
  await server.untilCount("poll", 1);
  t.is(server.of("poll")[0]?.path, "/behind/a/proxy/v1/environments/env_test/work/poll");
});

for (const status of [401, 403, 404]) {
  test(`Polls answered ${status} end the worker after few requests`, async (t) => {
    const { server, start } = await openHarness(t);
    server.failAlways("poll", { status });
    await t.throwsAsync(start());
    t.true(server.requests.length <= 3);
  });
}

test("A poll that is refused leaves the sessions that are served to their end", async (t) => {
  const { server, start } = await openHarness(t, {
    run: async () => {
      await server.untilCount("poll", 2);
      return "done all the same";
    },
  });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1"), { type: "session.status_running" });
  const end = start({ concurrency: 2 });
  await server.untilCount("ack", 1);
  server.failAlways("poll", { status: 401 });
  await server.until(() => server.results().length === 1);
  server.happen({ type: "session.status_terminated", id: "sevt_9" });
  await t.throwsAsync(end);
  t.is(server.of("stop").length, 1);
});

test("Server errors, cut connections and pages that are no work item are backed off from, and survived", async (t) => {
  const { server, start } = await openHarness(t, { maxIdleMs: 10 });
  server.happen(endTurn);
  const soon = { "retry-after-ms": "5" };
  server.fail(
    "poll",
    { status: 500, headers: soon },
    { status: 503, headers: soon },
    { status: 529, headers: soon },
    "cut",
    { status: 200, headers: { "content-type": "text/html" }, body: "<h1>back soon</h1>" },
    { status: 200, body: "{ not json" },
    { status: 204, body: "" },
  );
  server.enqueue({ id: "work_1" });
  void start();
  await server.untilCount("stop", 1, 30_000);
  t.is(server.of("ack").length, 1);
  t.true(server.of("poll").length <= 12);
});

test("No poll goes out before a retry-after has passed, however often it is tried", async (t) => {
  const { server, start } = await openHarness(t);
  // More than the attempts of one call: the worker's own loop must wait as well.
  server.fail("poll", ...Array.from({ length: 4 }, () => ({ status: 429, headers: { "retry-after": "1.2" } })));
  void start();
  await server.untilCount("poll", 5, 20_000);
  const at = server.of("poll").map((poll) => poll.at);
  for (let index = 1; index < 5; index += 1) {
    const gap = (at[index] ?? 0) - (at[index - 1] ?? 0);
    t.true(gap >= 1190, `${gap} ms`);
  }
});

for (const status of [404, 409]) {
  test(`An acknowledgement answered ${status} drops the item without a call for it, and the next is served`, async (t) => {
    const { server, start } = await openHarness(t, { maxIdleMs: 10 });
    server.happen(endTurn);
    server.fail(
      "ack",
      ...Array.from({ length: 3 }, () => ({ status, headers: { "x-should-retry": "false" } })).slice(0, 1),
    );
    server.enqueue({ id: "work_gone", sessionId: "sesn_gone" });
    server.enqueue({ id: "work_next", sessionId: "sesn_next" });
    void start();
    await server.untilCount("stop", 1);
    const paths = server.requests.map(({ path }) => path);
    t.deepEqual(
      paths.filter((path) => path.includes("_gone")),
      ["/v1/environments/env_test/work/work_gone/ack"],
    );
    t.is(server.of("stop")[0]?.path, "/v1/environments/env_test/work/work_next/stop");
  });
}

for (const type of ["healthcheck", "something_of_later_days"]) {
  test(`An item of type ${type} is heartbeaten and stopped, and nothing else`, async (t) => {
    const { server, start } = await openHarness(t);
    server.enqueue({ id: "work_1", type, sessionId: "other_1" });
    void start();
    await server.untilCount("stop", 1);
    await server.until(() => server.requests.at(-1)?.kind === "poll");
    t.is(server.of("session").length + server.of("stream").length + server.of("history").length, 0);
  });
}

test("Items whose data is nothing to serve are acknowledged and stopped, however it is malformed", async (t) => {
  const { server, start, places } = await openHarness(t);
  const shapes: object[] = [
    { data: null },
    {},
    { data: "session" },
    { data: ["session"] },
    { data: { type: 7, id: "sesn_1" } },
    { data: { type: "session" } },
    { data: { type: "session", id: 7 } },
    { data: null, environment_id: null, secret: 7 },
  ];
  shapes.forEach((shape, index) => {
    const item = { type: "work", id: `work_${index}`, environment_id: "env_test", secret: null, ...shape };
    server.fail("poll", { status: 200, body: item });
  });
  void start();
  await server.untilCount("stop", shapes.length);
  const verbs = (verb: string) => shapes.map((_, index) => `/v1/environments/env_test/work/work_${index}/${verb}`);
  t.deepEqual(
    server.of("ack").map(({ path }) => path),
    verbs("ack"),
  );
  t.deepEqual(
    server.of("stop").map(({ path }) => path),
    verbs("stop"),
  );
  t.deepEqual(places, []);
  t.true(server.requests.every(({ kind }) => ["poll", "ack", "heartbeat", "stop"].includes(kind)));
});

test("An answer without a work item's id is backed off from, and the next item served", async (t) => {
  const { server, start, log } = await openHarness(t);
  server.fail("poll", { status: 200, body: { data: { type: "session", id: "sesn_1" } } });
  server.fail("poll", { status: 200, body: [] });
  // It is no part of a path.
  server.fail("poll", { status: 200, body: { id: "..", data: { type: "session", id: "sesn_1" } } });
  server.enqueue({ id: "work_1", type: "healthcheck" });
  void start();
  await server.untilCount("stop", 1);
  t.is(server.of("ack").length, 1);
  const at = server.of("poll").map((poll) => poll.at);
  t.true((at[1] ?? 0) - (at[0] ?? 0) >= 370 && (at[2] ?? 0) - (at[1] ?? 0) >= 740);
  t.true(log.text.includes("the answer is no work item"));
});

test("Items that are handed out again and again and cannot be acknowledged are polled for less and less often", async (t) => {
  const { server, start, log } = await openHarness(t);
  server.failAlways("ack", { status: 404 });
  for (const id of ["work_1", "work_1", "work_1", "work_1"]) server.enqueue({ id });
  void start();
  await server.untilCount("poll", 4);
  const at = server.of("poll").map((poll) => poll.at);
  t.true((at[2] ?? 0) - (at[1] ?? 0) >= 740 && (at[3] ?? 0) - (at[2] ?? 0) >= 1490);
  t.is(server.of("heartbeat").length, 0);
  t.true(log.text.includes("could not be acknowledged"));
});

test("A poll that is refused and may be tried again all the same does not end the worker", async (t) => {
  const { server, start } = await openHarness(t);
  const headers = { "x-should-retry": "true", "retry-after-ms": "1" };
  server.fail("poll", ...Array.from({ length: 4 }, () => ({ status: 403, headers })));
  server.enqueue({ id: "work_1", type: "healthcheck" });
  void start();
  await server.untilCount("stop", 1);
  t.is(server.of("poll").length, 5);
});

test("The item's own calls carry its token, and the poll and the acknowledgement the environment key", async (t) => {
  const { server, start } = await openHarness(t, { maxIdleMs: 20 });
  server.happen(toolUse("sevt_1"));
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.results().length === 1);
  server.happen(endTurn);
  await server.untilCount("stop", 1);
  for (const { kind, headers } of server.requests) {
    const isPolling = kind === "poll" || kind === "ack";
    t.is(headers.authorization, `Bearer ${isPolling ? environmentKey : sessionsToken}`, kind);
    t.is(headers["x-api-key"], undefined);
  }
});

for (const [what, secret] of [
  ["absent", null],
  ["not base64", "%%%"],
  ["not JSON", Buffer.from("{").toString("base64")],
  ["a list", Buffer.from("[]").toString("base64")],
  ["without a token", Buffer.from('{"api_base_url":"https://x"}').toString("base64")],
  ["with an empty token", Buffer.from('{"sessions_token":""}').toString("base64")],
  ["with a token that is no header", Buffer.from('{"sessions_token":"a\\nb"}').toString("base64")],
] as const) {
  test(`With a secret that is ${what} the environment key serves`, async (t) => {
    const { server, start, log } = await openHarness(t, { maxIdleMs: 10 });
    server.happen(endTurn);
    server.enqueue({ id: "work_1", secret });
    void start();
    await server.untilCount("stop", 1);
    t.true(server.requests.every(({ headers }) => headers.authorization === `Bearer ${environmentKey}`));
    t.is(log.text.includes("yields no token"), secret !== null);
    if (secret !== null) t.false(log.text.includes(secret));
  });
}

test("A session that cannot be had fails its item alone", async (t) => {
  const { server, start, places } = await openHarness(t, { maxIdleMs: 10 });
  server.happen(endTurn);
  server.fail("session", { status: 404 });
  server.enqueue({ id: "work_1" });
  server.enqueue({ id: "work_2" });
  void start();
  await server.untilCount("stop", 2);
  t.is(server.of("stop")[0]?.path, "/v1/environments/env_test/work/work_1/stop");
  t.is(places.length, 1);
});

test("A session that is terminated has nothing run, and its item is stopped", async (t) => {
  const { server, start, places } = await openHarness(t);
  server.session = { ...server.session, status: "terminated" };
  server.happen(toolUse("sevt_1"));
  server.enqueue({ id: "work_1" });
  void start();
  await server.untilCount("stop", 1);
  t.is(places.length, 0);
  t.is(server.of("stream").length, 0);
});

test("As many sessions as are allowed are served at once, and no more are claimed", async (t) => {
  let running = 0;
  let most = 0;
  const release = new AbortController();
  const { server, start } = await openHarness(t, {
    maxIdleMs: 10,
    run: async () => {
      running += 1;
      most = Math.max(most, running);
      await new Promise<void>((resolve) => release.signal.addEventListener("abort", () => resolve()));
      running -= 1;
      return "done";
    },
  });
  // Sessions share the double's history: a call for each would do, one is enough to hold each of them.
  server.happen(toolUse("sevt_1"));
  server.echoes = false;
  for (const id of ["work_1", "work_2", "work_3", "work_4"]) server.enqueue({ id, sessionId: `sesn_${id}` });
  void start({ concurrency: 3 });
  await server.until(() => running === 3);
  t.is(server.of("poll").length, 3);
  release.abort();
  await server.until(() => server.results().length >= 3);
  server.happen(endTurn);
  await server.untilCount("stop", 4);
  t.is(most, 3);
});

test("An item that is handed out again while it is served ends where it was served, and its call is run once more", async (t) => {
  const { server, start, calls, places } = await openHarness(t, {
    maxIdleMs: 10,
    run: async (call) => (calls.length === 1 ? untilCancelled(call) : "second"),
  });
  server.happen(toolUse("sevt_1"));
  server.enqueue({ id: "work_1" });
  void start({ concurrency: 2 });
  await server.until(() => calls.length === 1);
  server.enqueue({ id: "work_1" });
  await server.until(() => server.results().length === 1);
  t.true(calls[0]?.signal.aborted);
  t.is(server.results()[0]?.text, "second");
  // The first was gone before the second began, and stopped nothing.
  t.is(places[0]?.disposed, true);
  server.happen(endTurn);
  await server.untilCount("stop", 1);
  t.is(server.of("post").length, 1);
  t.is(calls.length, 2);
});

test("A session that comes under a new item is served when the earlier one has ended, and its lease kept meanwhile", async (t) => {
  let release = (): void => {};
  const { server, start, calls, places } = await openHarness(t, {
    maxIdleMs: 10,
    run: () => new Promise((resolve) => (release = () => resolve("ran"))),
  });
  server.happen(toolUse("sevt_1"));
  server.enqueue({ id: "work_1" });
  void start({ concurrency: 2 });
  await server.until(() => calls.length === 1);
  server.enqueue({ id: "work_2" });
  await server.until(() => server.of("heartbeat").some(({ path }) => path.includes("work_2")));
  await new Promise((resolve) => setTimeout(resolve, 100));
  t.is(places.length, 1);
  release();
  await server.until(() => server.results().length === 1);
  server.happen(endTurn);
  await server.untilCount("stop", 2);
  t.deepEqual(
    server.of("stop").map(({ path }) => path.split("/").at(-2)),
    ["work_1", "work_2"],
  );
  t.is(calls.length, 1);
});

test("With --once one item is served, with --drain all of them, and then the worker ends", async (t) => {
  for (const [extra, served] of [
    [{ once: true }, 1],
    [{ drain: true }, 3],
  ] as const) {
    const { server, start } = await openHarness(t, { maxIdleMs: 10 });
    server.happen(endTurn);
    for (const id of ["work_1", "work_2", "work_3"]) server.enqueue({ id });
    await start(extra);
    t.is(server.of("stop").length, served);
  }
});

test("A worker that is asked to end while idle ends at once and without an error", async (t) => {
  const { server, start, stop } = await openHarness(t);
  const end = start();
  await server.untilCount("poll", 1);
  const began = performance.now();
  stop();
  await end;
  t.true(performance.now() - began < 1000);
});

test("An acknowledgement that is under way when the worker is asked to end is followed by the item's stop", async (t) => {
  const { server, start, stop } = await openHarness(t);
  server.enqueue({ id: "work_1" });
  server.fail("ack", (response) => {
    stop();
    setTimeout(() => response.writeHead(200, { "content-type": "application/json" }).end("{}"), 10);
  });
  await start();
  t.is(server.of("stop").length, 1);
  t.is(server.of("stream").length, 0);
});

test("The loop ends before it begins when it was asked to", async (t) => {
  const { server, item, log, redactor } = await openHarness(t);
  await runWorker(
    {
      ...{ environmentId: "env_test", environmentKey, baseUrl: server.url, workerId: "w", concurrency: 1 },
      ...{ drain: false, once: false, log, redactor, item },
    },
    AbortSignal.abort(),
  );
  t.is(server.requests.length, 0);
});
