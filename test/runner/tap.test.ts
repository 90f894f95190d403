import test from "ava";
import { judgeAttacks } from "./confinement.ts";
import { TapCounter } from "./tap.ts";

function count(...lines: readonly string[]): TapCounter {
  const tap = new TapCounter();
  for (const line of lines) tap.add(line);
  tap.end();
  return tap;
}

test("Passed, failed and skipped tests are counted, and a failure keeps its diagnostics", (t) => {
  const tap = count(
    "TAP version 13",
    "ok 1 - a › works",
    "not ok 2 - a › breaks",
    "  ---",
    "    name: AssertionError",
    "  ...",
    "ok 3 - a › elsewhere # SKIP",
    "ok 4 - b › works # hash in a title",
    "1..4",
    "# fail 1",
  );
  t.is(tap.passed, 2);
  t.is(tap.failed, 1);
  t.deepEqual(tap.skipped, ["a › elsewhere"]);
  t.deepEqual(tap.failures, ["not ok: a › breaks\n  ---\n    name: AssertionError\n  ..."]);
});

test("A test that says why it could not be run counts as skipped, not as passed", (t) => {
  const tap = count("ok 1 - a › one", "#   some other line", "#   skipped: no Yama here", "ok 2 - a › two");
  t.is(tap.passed, 1);
  t.deepEqual(tap.skipped, ["a › one: no Yama here"]);
});

const row = (name: string, kind: string, verdict: string): Parameters<typeof judgeAttacks>[0][number] => ({
  case: name,
  class: kind,
  verdict,
});

test("An escaped core case is a failure whatever SECURITY.md says; a surface case unless it is named there", (t) => {
  const rows = [
    row("ptrace", "core", "ESCAPED"),
    row("perf", "surface", "ESCAPED"),
    row("uname", "surface", "ESCAPED"),
  ];
  const outcome = judgeAttacks(rows, "`ptrace` and `uname` stay open because …");
  t.is(outcome.failed, 2);
  t.regex(outcome.detail, /core ptrace[\s\S]*surface perf/);
});

test("A broken control and a case that did not start are failures; one that means nothing here is named", (t) => {
  const rows = [
    row("node", "control", "BROKEN"),
    row("x", "core", "ERROR"),
    row("y", "core", "INAPPLICABLE"),
    row("z", "core", "BLOCKED"),
    row("git-hook", "option", "ESCAPED"),
  ];
  const outcome = judgeAttacks(rows, "");
  t.deepEqual([outcome.passed, outcome.failed], [2, 2]);
  t.deepEqual(outcome.skipped, ["attack y: not applicable here"]);
});
