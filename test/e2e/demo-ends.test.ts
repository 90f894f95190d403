import test from "ava";
import { left, start, withTasks } from "./demo.ts";
import { said } from "./holdfast.ts";

for (const [signal, expected, moment] of [
  ["SIGINT", 130, /analyst +\d+ ms/],
  ["SIGTERM", 143, /builder +\d+ ms/],
] as const) {
  test.serial(`${signal} half-way through the demo ends all of it and leaves nothing`, async (t) => {
    const demo = start(t);
    await said(demo.child.stdout, moment);
    demo.child.kill(signal);
    const { status, said: shown, errors } = await demo.ended;
    t.is(status, expected, shown + errors);
    t.regex(shown, /ended before its end/);
    t.deepEqual(left(demo), []);
  });
}

test.serial("A reader of the demo that goes away ends it, and nothing is left", async (t) => {
  const demo = start(t);
  await said(demo.child.stdout, /^queue +pid/m);
  demo.child.stdout?.destroy();
  const { status, errors } = await demo.ended;
  t.is(status, 141, errors);
  t.is(errors, "");
  t.deepEqual(left(demo), []);
});

test.serial("A queue that does not start ends the demo in its own words", async (t) => {
  const demo = start(
    t,
    withTasks(t, (name, text) => (name === "1-build.yaml" ? `frob: 1\n${text}` : text)),
  );
  const { status, errors } = await demo.ended;
  t.is(status, 125);
  t.regex(errors, /1-build\.yaml:1:1: the task: unknown word "frob"/);
  t.regex(errors, /the queue did not start/);
  t.notRegex(errors, /^\s+at /m);
  t.deepEqual(left(demo), []);
});

test.serial("A queue that goes away half-way ends the demo, and nothing is left", async (t) => {
  const demo = start(t);
  const [, pid = ""] = await said(demo.child.stdout, /^queue +pid (\d+)/m);
  process.kill(Number(pid), "SIGKILL");
  const { status, errors } = await demo.ended;
  t.is(status, 125);
  t.regex(errors, /ERR_HOLDFAST_QUEUE_UNREACHABLE/);
  t.notRegex(errors, /^\s+at /m);
  t.deepEqual(left(demo), []);
});
