import test from "ava";
import { EventStreamDecoder } from "../../lib/worker/event-stream.ts";
import { type Event, encode, terminated, toolUse } from "./faulty-server.ts";
import { openHarness, untilCancelled } from "./harness.ts";

function decode(bytes: Uint8Array, sizes: (left: number) => number): unknown[] {
  const decoder = new EventStreamDecoder();
  const events: unknown[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = Math.max(1, sizes(bytes.length - at));
    events.push(...decoder.push(bytes.subarray(at, at + size)));
    at += size;
  }
  return events;
}

const sample = [
  ": a comment",
  "event: one",
  'data: {"text":',
  'data: "🦀 é"}',
  "",
  "event:two",
  "id: 7",
  "retry: 9",
  "data:  spaced",
  "other: x",
  "",
  "data",
  "",
  "",
  "",
];
const expected = [
  { event: "one", data: '{"text":\n"🦀 é"}' },
  { event: "two", data: " spaced" },
  { event: null, data: "" },
];

for (const [name, end] of [
  ["LF", "\n"],
  ["CR", "\r"],
  ["CRLF", "\r\n"],
] as const) {
  test(`Events with lines that end in ${name} are the same however they are cut`, (t) => {
    const bytes = Buffer.from(`\ufeff${sample.join(end)}`);
    for (let size = 1; size <= bytes.length; size += 1) {
      t.deepEqual(
        decode(bytes, () => size),
        expected,
        `pieces of ${size}`,
      );
    }
  });
}

test("An event whose lines end in CR is given without waiting for what follows", (t) => {
  const decoder = new EventStreamDecoder();
  t.deepEqual(decoder.push(Buffer.from("event: x\rdata: y\r\r")), [{ event: "x", data: "y" }]);
  t.deepEqual(decoder.push(Buffer.from("\ndata: z\n\n")), [{ event: null, data: "z" }]);
});

test("An event of many megabytes costs its length", (t) => {
  const text = "x".repeat(16 * 1024 * 1024);
  const began = performance.now();
  const events = decode(Buffer.from(`event: big\r\ndata: ${text}\r\n\r\n`), () => 1000);
  t.deepEqual(events, [{ event: "big", data: text }]);
  t.true(performance.now() - began < 5000);
});

test("An event without an end is refused before it fills the memory", (t) => {
  const decoder = new EventStreamDecoder();
  const chunk = Buffer.alloc(1024 * 1024, 0x61);
  t.throws(() => {
    for (let index = 0; index < 70; index += 1) decoder.push(chunk);
  });
});

test("A call is run once however often its event comes, live and in the history", async (t) => {
  const { server, start, calls } = await openHarness(t);
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1 && server.of("history").length === 1);
  const call = toolUse("sevt_1", "bash", { input: { command: "x" } });
  server.happen(call, call);
  server.sendRaw(encode(call));
  await server.until(() => server.results().length === 1);
  server.sendRaw(encode(call));
  server.cutStreams();
  await server.untilCount("history", 2);
  server.happen(terminated);
  await server.untilCount("stop", 1);
  t.is(calls.length, 1);
  t.deepEqual(calls[0]?.input, { command: "x" });
  t.deepEqual(server.results(), [{ id: "sevt_1", text: "ran 1", isError: false }]);
});

for (const [name, cut] of [
  ["between events", ""],
  ["inside an event", 'event: agent.tool_use\ndata: {"type":"agent.tool_use","id":"sevt_half","na'],
  ["with broken JSON", "event: agent.tool_use\ndata: {broken\n\n"],
  ["with an error event", 'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'],
] as const) {
  test(`A stream that breaks off ${name} is opened again, and what was missed is run`, async (t) => {
    const { server, start, calls } = await openHarness(t);
    server.enqueue({ id: "work_1" });
    void start();
    await server.until(() => server.openStreams === 1 && server.of("history").length === 1);
    server.history.push(toolUse("sevt_missed"));
    if (cut !== "") server.sendRaw(cut);
    if (name === "between events" || name === "inside an event") server.cutStreams();
    await server.until(() => server.results().length === 1);
    t.is(calls.length, 1);
    t.is(server.of("stream").length, 2);
  });
}

test("A stream that breaks off many times during a call leaves it alone, and it is answered once", async (t) => {
  let release = (): void => {};
  const { server, start, calls } = await openHarness(t, {
    run: () => new Promise<string>((resolve) => (release = () => resolve("slow"))),
  });
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1);
  server.happen(toolUse("sevt_1"));
  await server.until(() => calls.length === 1);
  for (let count = 2; count <= 6; count += 1) {
    if (count % 2 === 0) server.cutStreams();
    else server.endStreams();
    await server.untilCount("history", count);
    await server.until(() => server.openStreams === 1);
  }
  t.false(calls[0]?.signal.aborted);
  release();
  await server.until(() => server.results().length === 1);
  server.cutStreams();
  await server.untilCount("history", 7);
  server.happen(terminated);
  await server.untilCount("stop", 1);
  t.is(calls.length, 1);
  t.is(server.of("post").length, 1);
});

test("The stream is opened before the history is read, and what comes meanwhile is not lost", async (t) => {
  const { server, start, calls } = await openHarness(t);
  server.fail("history", (response) => {
    // On the stream alone: the history that is being read was gathered before.
    server.sendRaw(encode(toolUse("sevt_live")));
    setTimeout(() => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify({ data: [toolUse("sevt_old")], next_page: null }));
    }, 50);
  });
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.results().length === 2);
  t.deepEqual(
    server.results().map(({ id }) => id),
    ["sevt_old", "sevt_live"],
  );
  t.is(calls.length, 2);
});

test("Of a history of many pages only the calls that are still open are run, oldest first", async (t) => {
  const { server, start, calls } = await openHarness(t);
  const events: Event[] = [];
  for (let index = 0; index < 2500; index += 1) events.push(toolUse(`sevt_${index}`));
  // Their results lie pages later.
  for (let index = 0; index < 2500; index += 1) {
    if (index !== 3 && index !== 1200 && index !== 2499) {
      events.push({ type: "user.tool_result", id: `r_${index}`, tool_use_id: `sevt_${index}`, content: [] });
    }
  }
  server.history.push(...events);
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.of("post").length === 3);
  t.deepEqual(
    server
      .results()
      .slice(-3)
      .map(({ id }) => id),
    ["sevt_3", "sevt_1200", "sevt_2499"],
  );
  t.is(calls.length, 3);
  t.is(server.of("history")[0]?.query.get("limit"), "1000");
  t.deepEqual(
    server.of("history").map(({ query }) => query.get("page")),
    [null, "1000", "2000", "3000", "4000"],
  );
});

test("A history that fails on a later page runs nothing of it until it can be read whole", async (t) => {
  const { server, start, calls } = await openHarness(t);
  server.pageSize = 2;
  server.history.push(toolUse("sevt_1"), { type: "agent.thinking", id: "t" }, toolUse("sevt_2"));
  server.history.push({ type: "user.tool_result", id: "r", tool_use_id: "sevt_1", content: [] });
  const broken = { status: 500, headers: { "x-should-retry": "false" } };
  server.fail("history", (response) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ data: server.history.slice(0, 2), next_page: "2" }));
  });
  server.fail("history", broken);
  server.enqueue({ id: "work_1" });
  void start();
  await server.untilCount("history", 2);
  // The live stream goes on meanwhile.
  await server.until(() => server.openStreams === 1);
  server.happen(toolUse("sevt_live"));
  await server.until(() => server.results().some(({ id }) => id === "sevt_live"));
  t.is(calls.length, 1);
  server.cutStreams();
  await server.until(() => server.results().some(({ id }) => id === "sevt_2"));
  t.is(calls.length, 2);
});

test("A history that could not be read is read again when the stream has been silent for a while", async (t) => {
  const { server, start } = await openHarness(t, { timings: { historyAgain: 200 } });
  server.history.push(toolUse("sevt_1"));
  server.fail("history", ...Array.from({ length: 3 }, () => ({ status: 503, headers: { "retry-after-ms": "1" } })));
  // An answer with nothing that a history has is none.
  server.fail("history", { status: 200, body: { error: "later" } });
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.results().length === 1);
  t.is(server.of("stream").length, 3);
});

test("A call of a history that broke off is run when it comes on the stream", async (t) => {
  const { server, start, calls } = await openHarness(t);
  server.fail(
    "history",
    { status: 200, body: { data: [toolUse("sevt_1")], next_page: "1" } },
    { status: 500, headers: { "x-should-retry": "false" } },
  );
  server.enqueue({ id: "work_1" });
  void start();
  await server.untilCount("history", 2);
  await server.until(() => server.openStreams === 1);
  server.sendRaw(encode(toolUse("sevt_1")));
  await server.until(() => server.results().length === 1);
  t.is(calls.length, 1);
  t.is(server.of("stream").length, 1);
});

test("A history that names the same page for ever is given up, and the live stream goes on", async (t) => {
  const { server, start } = await openHarness(t);
  server.failAlways("history", { status: 200, body: { data: [], next_page: "again" } });
  server.enqueue({ id: "work_1" });
  void start();
  await server.untilCount("history", 2);
  await server.until(() => server.openStreams === 1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.is(server.of("history").length, 2);
  server.happen(toolUse("sevt_1"));
  await server.until(() => server.results().length === 1);
});

test("Unknown events, fields and shapes are passed over", async (t) => {
  const { server, start, calls } = await openHarness(t);
  const odd: unknown[] = [
    null,
    7,
    [],
    {},
    { type: 3 },
    { type: "agent.tool_use" },
    { type: "agent.tool_use", id: 5, name: "bash" },
  ];
  server.history.push(...(odd as Event[]));
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1 && server.of("history").length === 1);
  for (const value of odd) server.sendRaw(`event: x\ndata: ${JSON.stringify(value)}\n\n`);
  server.sendRaw('event: ping\ndata: {"type":"ping"}\n\n: comment\n\nevent: empty\n\n');
  // Without a name it is nothing, by the protocol; the history has it at the next connection.
  server.sendRaw(`data: ${JSON.stringify(toolUse("sevt_nameless"))}\n\n`);
  server.happen({ type: "session.thread_frobnicated", id: "x", stop_reason: 5 }, toolUse("sevt_1"));
  await server.until(() => server.results().length === 1);
  t.is(calls.length, 1);
  t.is(server.of("stream").length, 1);
});

for (const [status, headers] of [
  [401, {}],
  [404, {}],
  [410, {}],
  [503, { "x-should-retry": "false" }],
] as const) {
  test(`A stream that is refused with ${status} for good ends the session, and its item is stopped`, async (t) => {
    const { server, start } = await openHarness(t);
    server.failAlways("stream", { status, headers });
    server.enqueue({ id: "work_1" });
    void start();
    await server.untilCount("stop", 1);
    t.is(server.of("stream").length, 1);
  });
}

test("No stream is opened before a retry-after has passed", async (t) => {
  const { server, start } = await openHarness(t);
  server.fail("stream", ...Array.from({ length: 4 }, () => ({ status: 429, headers: { "retry-after": "0.6" } })));
  server.enqueue({ id: "work_1" });
  void start();
  await server.untilCount("stream", 5);
  const at = server.of("stream").map((request) => request.at);
  for (let index = 1; index < 5; index += 1) t.true((at[index] ?? 0) - (at[index - 1] ?? 0) >= 590);
});

for (const last of ["session.status_terminated", "session.deleted"]) {
  test(`${last} during a call cancels it, and nothing is posted`, async (t) => {
    const { server, start, calls } = await openHarness(t, { run: untilCancelled });
    server.enqueue({ id: "work_1" });
    server.happen(toolUse("sevt_1"));
    void start();
    await server.until(() => calls.length === 1);
    server.happen({ type: last, id: "sevt_last" });
    await server.untilCount("stop", 1);
    t.true(calls[0]?.signal.aborted);
    t.is(server.of("post").length, 0);
  });
}

test("A session that ended while the stream was away is left at the next connection", async (t) => {
  const { server, start } = await openHarness(t);
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1 && server.of("history").length === 1);
  server.history.push(toolUse("sevt_1"), terminated);
  server.cutStreams();
  await server.untilCount("stop", 1);
  t.is(server.of("post").length, 0);
});
