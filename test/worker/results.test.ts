import test from "ava";
import { environmentKey, sessionsToken, terminated, toolUse } from "./faulty-server.ts";
import { openHarness } from "./harness.ts";

test("A result is one event with one text, and names its call", async (t) => {
  const { server, start } = await openHarness(t, { run: async () => ({ text: "no such thing", isError: true }) });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1"));
  void start();
  await server.untilCount("post", 1);
  t.deepEqual(server.of("post")[0]?.body, {
    events: [
      {
        type: "user.tool_result",
        tool_use_id: "sevt_1",
        is_error: true,
        content: [{ type: "text", text: "no such thing" }],
      },
    ],
  });
  t.is(server.of("post")[0]?.headers["content-type"], "application/json");
});

for (const [what, fault] of [
  ["a server error", { status: 503, headers: { "retry-after-ms": "5" } }],
  ["a server that says 409", { status: 409, headers: { "retry-after-ms": "5" } }],
  ["a refusal that may be tried again", { status: 400, headers: { "x-should-retry": "true", "retry-after-ms": "5" } }],
  ["a proxy's page", { status: 200, headers: { "content-type": "text/html" }, body: "<h1>log in</h1>" }],
  ["a connection that is cut", "cut"],
  ["an answer that is lost", "lose the answer"],
] as const) {
  test(`A result that meets ${what} is posted again, and its call not run again`, async (t) => {
    const { server, start, calls } = await openHarness(t);
    // By the call's own retries and beyond them.
    server.fail("post", fault, fault, fault, fault);
    server.enqueue({ id: "work_1" });
    server.happen(toolUse("sevt_1"));
    void start();
    await server.until(() => server.results().length >= 1);
    server.happen(toolUse("sevt_2"));
    await server.until(() => server.results().some(({ id }) => id === "sevt_2"), "the next result", 20_000);
    t.is(calls.length, 2);
    t.is(server.results()[0]?.text, "ran 1");
  });
}

test("An echo of a result whose answer was lost ends the posting", async (t) => {
  const { server, start, calls } = await openHarness(t, { timings: { postBackoff: 60_000, postBackoffMost: 60_000 } });
  // Stored and echoed, and every repeat is refused as one that may be tried again.
  server.fail("post", "lose the answer");
  server.failAlways("post", { status: 409 });
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1);
  server.happen(toolUse("sevt_1"), toolUse("sevt_2"));
  await server.until(() => calls.length === 2, "the next call", 5000);
  t.is(server.results().length, 1);
});

for (const [status, headers] of [
  [400, {}],
  [403, {}],
  [413, {}],
  [409, { "x-should-retry": "false" }],
  [503, { "x-should-retry": "false" }],
] as const) {
  const what = [status, ...Object.entries(headers).flat()].join(" ");
  test(`A result that is refused with ${what} is given up, and the next call is served`, async (t) => {
    const { server, start, calls } = await openHarness(t);
    server.fail("post", { status, headers });
    server.enqueue({ id: "work_1" });
    server.happen(toolUse("sevt_1"), toolUse("sevt_2"));
    void start();
    await server.until(() => server.results().length === 1);
    t.is(server.results()[0]?.id, "sevt_2");
    t.is(server.of("post").length, 2);
    t.is(calls.length, 2);
  });
}

test("A result that could not be posted is posted at the next connection, and its call not run again", async (t) => {
  const { server, start, calls } = await openHarness(t);
  server.ttlSeconds = 1.5;
  server.failAlways("post", { status: 503, headers: { "retry-after-ms": "1" } });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1"));
  void start();
  await server.until(() => server.of("post").length >= 3);
  const count = (): number => server.of("post").length;
  let last = -1;
  // Given up when the lease's length has passed.
  await server.until(() => {
    const now = count();
    const same = now === last;
    last = now;
    return same && performance.now() - (server.of("post").at(-1)?.at ?? 0) > 250;
  });
  server.failAlways("post", undefined);
  server.cutStreams();
  await server.until(() => server.results().length === 1);
  t.is(calls.length, 1);
  t.is(server.results()[0]?.text, "ran 1");
});

test("A post that hangs is given up with the lease's length, and the next call is served", async (t) => {
  const { server, start, calls } = await openHarness(t);
  server.ttlSeconds = 1.5;
  server.fail("post", "hang");
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1"), toolUse("sevt_2"));
  void start();
  await server.until(() => server.results().length === 1);
  t.is(server.results()[0]?.id, "sevt_2");
  t.is(calls.length, 2);
});

for (const ttlSeconds of [30 * 86_400, 1e15]) {
  test(`A lease of ${ttlSeconds} seconds, more than a timer can take, cuts no post off`, async (t) => {
    const { server, start } = await openHarness(t);
    server.ttlSeconds = ttlSeconds;
    server.enqueue({ id: "work_1" });
    void start();
    await server.until(() => server.of("heartbeat").length === 1 && server.openStreams === 1);
    server.happen(toolUse("sevt_1"));
    await server.until(() => server.results().length === 1);
    server.happen(toolUse("sevt_2"));
    await server.until(() => server.results().length === 2);
    t.is(server.of("post").length, 2);
  });
}

test("No result is posted before a retry-after has passed", async (t) => {
  const { server, start } = await openHarness(t);
  server.fail("post", ...Array.from({ length: 4 }, () => ({ status: 429, headers: { "retry-after": "0.6" } })));
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1"));
  void start();
  await server.untilCount("post", 5);
  const at = server.of("post").map((request) => request.at);
  for (let index = 1; index < 5; index += 1) t.true((at[index] ?? 0) - (at[index - 1] ?? 0) >= 590);
});

test("A text is well-formed Unicode and never empty", async (t) => {
  const texts = ["", "a\ud800b", "\udc00", "🦀", "\0\x1b[31m"];
  const { server, start } = await openHarness(t, { run: async () => ({ text: texts.shift() ?? "", isError: false }) });
  server.enqueue({ id: "work_1" });
  server.happen(...Array.from({ length: 5 }, (_, index) => toolUse(`sevt_${index}`)));
  void start();
  await server.until(() => server.results().length === 5);
  t.deepEqual(
    server.results().map(({ text }) => text),
    ["(no output)", "a\ufffdb", "\ufffd", "🦀", "\0\x1b[31m"],
  );
});

test("A call that fails by itself is answered, and the worker goes on", async (t) => {
  const { server, start } = await openHarness(t, {
    run: ({ input }) => {
      if (input === null) throw new Error("something broke");
      return Promise.reject(new Error("something broke"));
    },
  });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1", "bash", { input: null }), toolUse("sevt_2", "bash", { input: "text" }));
  void start();
  await server.until(() => server.results().length === 2);
  t.deepEqual(server.results()[0], { id: "sevt_1", text: "Error: something broke", isError: true });
});

test("A call that does not end is cut off at the time limit, and answered even if it will not end", async (t) => {
  const { server, start, calls } = await openHarness(t, {
    timings: { call: 100, callGrace: 100 },
    run: ({ input }) => (input === "deaf" ? new Promise(() => {}) : Promise.resolve("fine")),
  });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1", "bash", { input: "deaf" }), toolUse("sevt_2"));
  void start();
  await server.until(() => server.results().length === 2);
  t.true(calls[0]?.signal.aborted);
  t.true(server.results()[0]?.isError);
  t.is(server.results()[1]?.text, "fine");
});

test("A credential that a call came by all the same is not posted, nor logged", async (t) => {
  const { server, start, log } = await openHarness(t, {
    run: async () => `key ${environmentKey} token ${sessionsToken} end`,
  });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1"), terminated);
  server.history.pop();
  void start();
  await server.until(() => server.results().length === 1);
  t.is(server.results()[0]?.text, "key [redacted] token [redacted] end");
  t.false(log.text.includes(environmentKey));
});
