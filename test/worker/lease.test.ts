import test from "ava";
import { endTurn, sessionsToken, terminated, toolUse } from "./faulty-server.ts";
import { openHarness, untilCancelled } from "./harness.ts";

/** Many heartbeats within a lease, none of which a busy machine takes longer for than it may last. */
const often = { heartbeatFirst: 800, heartbeatLongest: 800 };

const lost = {
  status: 412,
  body: {
    type: "error",
    error: {
      type: "invalid_request_error",
      message: "no",
      details: {
        error_code: "heartbeat_precondition_failed",
        current_state: { state: "active", last_heartbeat: null, lease_extended: false, ttl_seconds: 60 },
      },
    },
  },
};

test("The first heartbeat goes out before the session is fetched, and says that there was none", async (t) => {
  const { server, start } = await openHarness(t);
  server.enqueue({ id: "work_1" });
  server.happen(terminated);
  void start();
  await server.untilCount("stop", 1);
  const order = server.requests.map(({ kind }) => kind);
  t.true(order.indexOf("ack") < order.indexOf("heartbeat"));
  t.true(order.indexOf("heartbeat") < order.indexOf("session"));
  t.is(server.of("heartbeat")[0]?.query.get("expected_last_heartbeat"), "NO_HEARTBEAT");
});

test("Each heartbeat sends the one before, byte for byte, at half the lease's length, while a call runs", async (t) => {
  const { server, start, calls } = await openHarness(t, { run: untilCancelled });
  server.ttlSeconds = 6;
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1"));
  void start();
  await server.untilCount("heartbeat", 3);
  t.is(calls.length, 1);
  const beats = server.of("heartbeat");
  t.is(beats[1]?.query.get("expected_last_heartbeat"), "2026-01-01T00:00:00.000000001Z");
  t.is(beats[2]?.query.get("expected_last_heartbeat"), "2026-01-01T00:00:00.000000002Z");
  const gap = (beats[2]?.at ?? 0) - (beats[1]?.at ?? 0);
  t.true(gap > 1500 && gap < 6000, `${gap} ms`);
  t.true(beats.every(({ headers }) => headers.authorization === `Bearer ${sessionsToken}`));
});

for (const when of ["during", "between"] as const) {
  test(`A heartbeat answered 412 ${when} calls ends the work, posts nothing, stops nothing, and polls again`, async (t) => {
    const { server, start, calls, places } = await openHarness(t, { run: untilCancelled, timings: often });
    server.enqueue({ id: "work_1" });
    if (when === "during") server.happen(toolUse("sevt_1"));
    void start();
    await server.until(() => server.openStreams === 1 && (when === "between" || calls.length === 1));
    server.failAlways("heartbeat", lost);
    await server.until(() => places[0]?.disposed === true);
    await server.until(() => server.requests.at(-1)?.kind === "poll");
    t.is(server.of("post").length, 0);
    t.is(server.of("stop").length, 0);
    if (when === "during") t.true(calls[0]?.signal.aborted);
  });
}

test("Heartbeats that fail for longer than the lease lasts lose it, like a 412", async (t) => {
  const { server, start, calls, places } = await openHarness(t, { run: untilCancelled });
  server.ttlSeconds = 4;
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1"));
  void start();
  await server.until(() => calls.length === 1);
  server.failAlways("heartbeat", { status: 503 });
  await server.until(() => places[0]?.disposed === true);
  t.true(calls[0]?.signal.aborted);
  t.is(server.of("stop").length, 0);
  t.is(server.of("post").length, 0);
});

test("A heartbeat that hangs is cut off after an interval, and the next one goes out", async (t) => {
  const { server, start } = await openHarness(t, { timings: { heartbeatLongest: 500 } });
  server.ttlSeconds = 30;
  server.fail("heartbeat", { status: 200, body: sound(30) }, "hang");
  server.enqueue({ id: "work_1" });
  void start();
  await server.untilCount("heartbeat", 3);
  const [, second, third] = server.of("heartbeat");
  const gap = (third?.at ?? 0) - (second?.at ?? 0);
  t.true(gap > 100 && gap < 15_000, `${gap} ms`);
  t.is(third?.query.get("expected_last_heartbeat"), "2026-01-01T00:00:00.1Z");
});

function sound(ttl: number, fields: object = {}): object {
  return {
    type: "work_heartbeat",
    last_heartbeat: "2026-01-01T00:00:00.1Z",
    lease_extended: true,
    state: "active",
    ttl_seconds: ttl,
    ...fields,
  };
}

for (const [what, fault] of [
  ["stopping", { status: 200, body: sound(60, { state: "stopping" }) }],
  ["stopped", { status: 200, body: sound(60, { state: "stopped" }) }],
  ["a lease not extended", { status: 200, body: sound(60, { lease_extended: false }) }],
  ["401", { status: 401 }],
  ["404", { status: 404 }],
] as const) {
  test(`A heartbeat answered with ${what} cancels the call, stops the item, and goes on to the next`, async (t) => {
    const { server, start, calls } = await openHarness(t, { run: untilCancelled, timings: often });
    server.enqueue({ id: "work_1" });
    server.happen(toolUse("sevt_1"));
    void start();
    await server.until(() => calls.length === 1);
    server.failAlways("heartbeat", fault);
    await server.untilCount("stop", 1);
    await server.until(() => server.requests.at(-1)?.kind === "poll");
    t.true(calls[0]?.signal.aborted);
    t.is(server.of("post").length, 0);
    t.deepEqual(server.of("stop")[0]?.body, { force: true });
  });
}

test("Heartbeats that fail now and then lose nothing", async (t) => {
  const { server, start } = await openHarness(t, { timings: often });
  const page = { status: 200, headers: { "content-type": "text/html" }, body: "<h1>log in</h1>" };
  // To wait as long as this says would be to lose the lease.
  const busy = { status: 529, headers: { "x-should-retry": "false", "retry-after": "90" } };
  server.fail("heartbeat", { status: 200, body: sound(60) }, busy);
  server.fail("heartbeat", page, page, page, { status: 200, body: {} }, { status: 204, body: "" });
  server.enqueue({ id: "work_1" });
  void start();
  await server.untilCount("heartbeat", 8);
  server.happen(toolUse("sevt_1"));
  await server.until(() => server.results().length === 1);
  server.happen(terminated);
  await server.untilCount("stop", 1);
  t.pass();
});

test("Heartbeats go on until just before the stop, which is the item's last call", async (t) => {
  const { server, start } = await openHarness(t, { timings: often });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1"), { ...terminated, type: "session.deleted" });
  void start();
  await server.untilCount("stop", 1);
  await server.until(() => server.requests.at(-1)?.kind === "poll");
  const after = server.requests.slice(server.requests.findIndex(({ kind }) => kind === "stop") + 1);
  t.true(
    after.every(({ kind }) => kind === "poll"),
    after.map(({ kind }) => kind).join(" "),
  );
});

test("A stop that is refused, or never answered, does not keep the worker", async (t) => {
  const { server, start } = await openHarness(t, { maxIdleMs: 20, timings: { stop: 200 } });
  server.happen(endTurn);
  server.fail("stop", { status: 409 }, "hang");
  server.failAlways("stop", "hang");
  for (const id of ["work_1", "work_2", "work_3"]) server.enqueue({ id });
  void start();
  await server.untilCount("ack", 3);
  t.pass();
});
