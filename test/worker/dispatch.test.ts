import test from "ava";
import { type Event, encode, endTurn, terminated, toolUse } from "./faulty-server.ts";
import { openHarness, untilCancelled } from "./harness.ts";

function verdict(id: string, result: unknown): Event {
  return { type: "user.tool_confirmation", id: `v_${id}`, tool_use_id: id, result };
}

/** A call's permission, the verdicts on it, and whether it is to be run. */
const cases: readonly [unknown, readonly unknown[], boolean][] = [
  ["allow", [], true],
  [undefined, [], true],
  ["ask", [], false],
  ["ask", ["allow"], true],
  ["ask", ["deny"], false],
  ["ask", ["perhaps"], false],
  ["ask", [null], false],
  ["deny", [], false],
  ["deny", ["allow"], false],
  ["something new", [], false],
  ["something new", ["allow"], true],
  [null, [], false],
  [7, [], false],
  ["allow", ["deny"], false],
];

for (const place of ["live", "in the history"] as const) {
  for (const order of ["call first", "verdict first"] as const) {
    test(`Only allowed calls are run: ${place}, ${order}`, async (t) => {
      const { server, start, calls } = await openHarness(t);
      const events = cases.flatMap(([permission, verdicts], index) => {
        const id = `sevt_${index}`;
        const call = toolUse(id, "bash", { evaluated_permission: permission, input: { index } });
        const said = verdicts.map((result) => verdict(id, result));
        return order === "call first" ? [call, ...said] : [...said, call];
      });
      // By itself, live, an allowed call may run before a later verdict denies it.
      const expected = cases.flatMap(([permission, verdicts, runs], index) =>
        runs || (place === "live" && order === "call first" && permission === "allow" && verdicts.length > 0)
          ? [`sevt_${index}`]
          : [],
      );
      server.enqueue({ id: "work_1" });
      if (place === "in the history") server.history.push(...events);
      void start();
      await server.until(() => server.openStreams === 1 && server.of("history").length === 1);
      if (place === "live") server.happen(...events);
      server.happen(toolUse("sevt_last"));
      await server.until(() => server.results().some(({ id }) => id === "sevt_last"));
      t.deepEqual(
        server
          .results()
          .map(({ id }) => id)
          .sort(),
        [...expected, "sevt_last"].sort(),
      );
      t.is(calls.length, expected.length + 1);
    });
  }
}

test("A held call is run once when its verdict comes, also over a reconnection", async (t) => {
  const { server, start, calls } = await openHarness(t);
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1", "bash", { evaluated_permission: "ask" }));
  void start();
  await server.until(() => server.openStreams === 1);
  server.cutStreams();
  await server.untilCount("history", 2);
  t.is(calls.length, 0);
  server.history.push(verdict("sevt_1", "allow"));
  server.cutStreams();
  await server.until(() => server.results().length === 1);
  server.happen(verdict("sevt_1", "allow"));
  server.happen(terminated);
  await server.untilCount("stop", 1);
  t.is(calls.length, 1);
});

test("Tools that are not ours, custom tools and the server's own are left to their owners", async (t) => {
  const { server, start, calls } = await openHarness(t);
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1);
  server.happen(
    toolUse("sevt_1", "web_search"),
    toolUse("sevt_2", "ticket", { type: "agent.custom_tool_use" }),
    // An application may name its tool as it likes.
    toolUse("sevt_3", "bash", { type: "agent.custom_tool_use" }),
    toolUse("sevt_4", "bash", { type: "agent.mcp_tool_use" }),
    toolUse("sevt_5", "__proto__"),
    toolUse("sevt_6", "constructor"),
    toolUse("sevt_ours"),
  );
  await server.until(() => server.results().length === 1);
  server.cutStreams();
  await server.untilCount("history", 2);
  server.happen(terminated);
  await server.untilCount("stop", 1);
  t.is(calls.length, 1);
  t.is(server.of("post").length, 1);
});

test("A call that somebody else answers is not run, or its result not posted", async (t) => {
  const { server, start, calls } = await openHarness(t, { run: untilCancelled });
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1);
  server.happen(toolUse("sevt_1"), toolUse("sevt_2"));
  await server.until(() => calls.length === 1);
  server.happen({ type: "user.tool_result", id: "r2", tool_use_id: "sevt_2", content: [] });
  server.happen({ type: "user.interrupt", id: "i" });
  await server.until(() => server.of("post").length === 1);
  server.happen(terminated);
  await server.untilCount("stop", 1);
  t.is(calls.length, 1);
});

test("Calls of a session run one after another, in the order in which they came", async (t) => {
  let running = 0;
  const { server, start } = await openHarness(t, {
    run: async ({ input }) => {
      running += 1;
      t.is(running, 1);
      await new Promise((resolve) => setTimeout(resolve, 5));
      running -= 1;
      return String((input as { n: number }).n);
    },
  });
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1);
  server.happen(...Array.from({ length: 10 }, (_, n) => toolUse(`sevt_${n}`, "bash", { input: { n } })));
  await server.until(() => server.results().length === 10);
  t.deepEqual(
    server.results().map(({ text }) => text),
    ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
  );
});

for (const place of ["live", "in the history"] as const) {
  test(`Calls of a thread that has ended are not run, held or answered: ${place}`, async (t) => {
    const { server, start, calls } = await openHarness(t);
    const events = [
      toolUse("sevt_held", "bash", { session_thread_id: "sthr_1", evaluated_permission: "ask" }),
      { type: "session.thread_status_terminated", id: "x", session_thread_id: "sthr_1" },
      toolUse("sevt_dead", "bash", { session_thread_id: "sthr_1" }),
      verdict("sevt_held", "allow"),
      toolUse("sevt_other", "bash", { session_thread_id: "sthr_2" }),
    ];
    server.enqueue({ id: "work_1" });
    if (place === "in the history") server.history.push(...events);
    void start();
    await server.until(() => server.openStreams === 1);
    if (place === "live") server.happen(...events);
    await server.until(() => server.results().length === 1);
    t.is(server.results()[0]?.id, "sevt_other");
    t.is(calls.length, 1);
  });
}

test("A thread's end voids its calls that wait, and lets one that runs end", async (t) => {
  let release = (): void => {};
  const { server, start, calls } = await openHarness(t, {
    run: () => new Promise<string>((resolve) => (release = () => resolve("ended"))),
  });
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1);
  server.happen(toolUse("sevt_1", "bash", { session_thread_id: "sthr_1" }));
  server.happen(toolUse("sevt_2", "bash", { session_thread_id: "sthr_1" }));
  await server.until(() => calls.length === 1);
  server.happen({ type: "session.thread_status_terminated", id: "x", session_thread_id: "sthr_1" });
  server.happen({ type: "agent.message", id: "m" });
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.false(calls[0]?.signal.aborted);
  release();
  await server.until(() => server.results().length === 1);
  server.happen(terminated);
  await server.untilCount("stop", 1);
  t.is(calls.length, 1);
});

test("An interrupt cancels the running call, which is still answered, with an error", async (t) => {
  const { server, start, calls } = await openHarness(t, { run: untilCancelled });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1", "bash", { session_thread_id: "sthr_1" }));
  void start();
  await server.until(() => calls.length === 1);
  server.happen({ type: "user.interrupt", id: "i1", session_thread_id: "sthr_other" });
  server.happen({ type: "user.interrupt", id: "i2", session_thread_id: "sthr_1" });
  await server.until(() => server.results().length === 1);
  t.deepEqual(server.results(), [{ id: "sevt_1", text: "bash: the call was interrupted by the user", isError: true }]);
});

test("An interrupt that came while the stream was away ends the calls made before it, and no later ones", async (t) => {
  const { server, start, calls } = await openHarness(t, { run: untilCancelled });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1"), toolUse("sevt_2"));
  server.happen(toolUse("sevt_held", "bash", { evaluated_permission: "ask" }));
  void start();
  await server.until(() => calls.length === 1 && server.openStreams === 1);
  const interrupt = { type: "user.interrupt", id: "i1" };
  server.history.push(interrupt, verdict("sevt_held", "allow"));
  server.cutStreams();
  // The second was not begun: it has no effect any more.
  await server.until(() => calls.length === 2);
  t.deepEqual(
    server.results().map(({ id, text }) => [id, text]),
    ["sevt_1", "sevt_2"].map((id) => [id, "bash: the call was interrupted by the user"]),
  );
  // It comes again, live and at the next connection: the call was approved after it.
  server.sendRaw(encode(interrupt));
  server.cutStreams();
  await server.untilCount("history", 3);
  await server.until(() => server.openStreams === 1);
  t.false(calls[1]?.signal.aborted);
  server.sendRaw(encode(interrupt));
  server.happen(toolUse("sevt_3"), { type: "user.tool_result", id: "r3", tool_use_id: "sevt_3", content: [] });
  server.happen({ type: "user.interrupt", id: "i2" });
  await server.until(() => server.results().length === 4);
  t.deepEqual(
    server.results().map(({ id }) => id),
    ["sevt_1", "sevt_2", "sevt_3", "sevt_held"],
  );
});

test("The end of a turn starts the countdown, and what happens meanwhile ends it", async (t) => {
  const { server, start } = await openHarness(t, { maxIdleMs: 400 });
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1);
  server.happen(endTurn);
  await new Promise((resolve) => setTimeout(resolve, 250));
  server.happen({ type: "user.message", id: "m" });
  await new Promise((resolve) => setTimeout(resolve, 350));
  t.is(server.of("stop").length, 0);
  const began = performance.now();
  server.happen({ ...endTurn, id: "again", stop_reason: { type: "budget_reached" } });
  // These two leave it as it is.
  server.happen(verdict("sevt_unknown", "allow"));
  server.happen({ type: "session.thread_status_terminated", id: "x", session_thread_id: "sthr_9" });
  await server.untilCount("stop", 1);
  t.true(performance.now() - began >= 390);
});

test("A session that waits for a client is not left, however long it waits", async (t) => {
  const { server, start } = await openHarness(t, { maxIdleMs: 30 });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1", "ticket", { type: "agent.custom_tool_use" }));
  server.happen({
    type: "session.status_idle",
    id: "i",
    stop_reason: { type: "requires_action", event_ids: ["sevt_1"] },
  });
  void start();
  await server.until(() => server.openStreams === 1);
  await new Promise((resolve) => setTimeout(resolve, 300));
  server.cutStreams();
  await server.untilCount("history", 2);
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.is(server.of("stop").length, 0);
});

test("A held call defers the countdown, which starts anew when it is settled", async (t) => {
  const { server, start } = await openHarness(t, { maxIdleMs: 150 });
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1);
  server.happen(toolUse("sevt_1", "bash", { evaluated_permission: "ask" }), endTurn);
  await new Promise((resolve) => setTimeout(resolve, 400));
  t.is(server.of("stop").length, 0);
  const began = performance.now();
  server.happen(verdict("sevt_1", "deny"));
  await server.untilCount("stop", 1);
  t.true(performance.now() - began >= 140);
  t.is(server.of("post").length, 0);
});

test("A call that the server denied keeps nobody waiting", async (t) => {
  const { server, start } = await openHarness(t, { maxIdleMs: 50 });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1", "bash", { evaluated_permission: "deny" }), endTurn);
  void start();
  await server.untilCount("stop", 1);
  t.is(server.of("post").length, 0);
});

test("A call that runs on after the end of the turn defers the countdown", async (t) => {
  let release = (): void => {};
  const { server, start, calls } = await openHarness(t, {
    maxIdleMs: 50,
    run: () => new Promise<string>((resolve) => (release = () => resolve("late"))),
  });
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1);
  server.happen(toolUse("sevt_1"));
  await server.until(() => calls.length === 1);
  server.echoes = false;
  server.happen(endTurn);
  await new Promise((resolve) => setTimeout(resolve, 250));
  t.is(server.of("stop").length, 0);
  release();
  await server.untilCount("stop", 1);
  t.is(server.results().length, 1);
});

test("After a reconnection the countdown starts if the history ends with the end of a turn", async (t) => {
  const { server, start } = await openHarness(t, { maxIdleMs: 50 });
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1 && server.of("history").length === 1);
  server.history.push(toolUse("sevt_1"), { type: "user.tool_result", id: "r", tool_use_id: "sevt_1", content: [] });
  server.history.push(endTurn, verdict("sevt_x", "allow"));
  server.cutStreams();
  await server.untilCount("stop", 1);
  t.is(server.of("post").length, 0);
});

test("With no idle time the session is never left by itself", async (t) => {
  const { server, start } = await openHarness(t, { maxIdleMs: 0 });
  server.enqueue({ id: "work_1" });
  server.happen(endTurn);
  void start();
  await server.until(() => server.openStreams === 1);
  await new Promise((resolve) => setTimeout(resolve, 300));
  t.is(server.of("stop").length, 0);
});

test("Being asked to end during a call cancels it, posts nothing, stops the item, and ends the worker", async (t) => {
  const { server, start, stop, calls, places } = await openHarness(t, { run: untilCancelled });
  server.enqueue({ id: "work_1" });
  server.happen(toolUse("sevt_1"), toolUse("sevt_2"));
  const end = start();
  await server.until(() => calls.length === 1);
  stop();
  await end;
  t.true(calls[0]?.signal.aborted);
  t.is(calls.length, 1);
  t.is(server.of("post").length, 0);
  t.is(server.of("stop").length, 1);
  t.true(places[0]?.disposed);
});
