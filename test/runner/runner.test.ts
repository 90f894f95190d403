import test from "ava";
import { AvaOutput } from "./ava-output.ts";
import { judgeAttacks } from "./confinement.ts";

function read(...lines: readonly string[]): AvaOutput {
  const output = new AvaOutput();
  for (const line of lines) output.add(line);
  return output;
}

test("Passed, failed and skipped tests are counted, and a failure keeps its diagnostics", (t) => {
  const output = read(
    "",
    "  - [skip] a › elsewhere",
    "  ✔ a › works",
    "    ℹ a remark",
    "  ✔ [expected fail] a › known",
    "  ✘ [fail]: a › breaks",
    "  ✔ b › is slow (2.1s)",
    "  ─",
    "",
    "  a › breaks",
    "  Difference (- actual, + expected):",
    "",
    "  1 test failed",
  );
  t.is(output.passed, 3);
  t.is(output.failed, 1);
  t.true(output.ended);
  t.deepEqual(output.skipped, ["a › elsewhere"]);
  t.regex(output.detail, /a › breaks[\s\S]*Difference/);
  t.notRegex(output.detail, /works|slow|remark/);
});

test("A test that says why it could not be run counts as skipped, not as passed", (t) => {
  const output = read(
    "  ✔ a › one (12ms)",
    "    ℹ before",
    "    ℹ skipped: no Yama here",
    "  ✔ a › two",
    "  2 tests passed",
  );
  t.is(output.passed, 1);
  t.deepEqual(output.skipped, ["a › one: no Yama here"]);
});

test("Tests that hang are a failure and are named", (t) => {
  const output = read(
    "  ✔ ok",
    "  ✘ Timed out while running tests",
    "  1 tests were pending in test/b.test.ts",
    "  ◌ hangs",
  );
  t.is(output.failed, 1);
  t.false(output.ended);
  t.regex(output.detail, /◌ hangs/);
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
