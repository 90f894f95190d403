import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { folder, holdfast } from "./holdfast.ts";
import { hasTerminal, Terminal } from "./pty.ts";

const script = "echo two >> notes.txt; mkdir d; printf 'one\\033[2J\\n' > d/1; echo two > d/2; rm old";

function project(t: ExecutionContext): string {
  const cwd = folder(t);
  writeFileSync(join(cwd, "notes.txt"), "one\n");
  writeFileSync(join(cwd, "old"), "old\n");
  return cwd;
}

const apply = (t: ExecutionContext, cwd: string, ...flags: string[]): Terminal =>
  new Terminal(t, [holdfast, "run", "--apply", ...flags, "--", "sh", "-c", script], { cwd });

test("At a terminal --apply shows each change and asks; what a change holds cannot steer the terminal", async (t) => {
  if (!hasTerminal(t)) return;
  const cwd = project(t);
  const terminal = apply(t, cwd);
  await terminal.until(/\+one<1b>\[2J.*\(1\/4\) Make this change \[y,n,a,d,q,\?\]\? /s);
  terminal.type("?\r");
  await terminal.until(/n - do not make it.*\(1\/4\)/s);
  terminal.type("\u001b[?62cy\r"); // the terminal's own answer to the command, before the person's
  await terminal.until(/n - do not make it.*\(1\/4\)/s);
  terminal.type("n\r");
  await terminal.until(/\+two\r?\n?.*\(2\/4\)/s);
  terminal.type("y\r");
  await terminal.until(/notes\.txt.*\+two.*\(3\/4\)/s);
  terminal.type("y\r");
  await terminal.until(/-old.*\(4\/4\)/s);
  t.is(readFileSync(join(cwd, "notes.txt"), "utf8"), "one\n", "nothing before the last answer");
  terminal.type("n\r");
  await terminal.until(/applied 3 of 5 changes/);
  t.is(await terminal.ended, 0);
  t.deepEqual(
    ["notes.txt", "old", "d/2", "d/1"].map(
      (name) => existsSync(join(cwd, name)) && readFileSync(join(cwd, name), "utf8"),
    ),
    ["one\ntwo\n", "old\n", "two\n", false],
  );
});

for (const [what, key] of [
  ["Ctrl-C", "\u0003"],
  ["Ctrl-D", "\u0004"],
  ["q", "q\r"],
] as const) {
  test(`${what} quits: what was agreed to is made, the rest is not`, async (t) => {
    if (!hasTerminal(t)) return;
    const cwd = project(t);
    const terminal = apply(t, cwd);
    await terminal.until(/\(1\/4\)/);
    terminal.type("y\r");
    await terminal.until(/\(2\/4\)/);
    terminal.type(key);
    t.is(await terminal.ended, 0);
    t.deepEqual(
      [existsSync(join(cwd, "d/1")), existsSync(join(cwd, "d/2")), existsSync(join(cwd, "old"))],
      [true, false, true],
    );
    t.true(await terminal.isCooked().catch(() => true));
  });
}

test("With --yes nothing is asked at a terminal either", async (t) => {
  if (!hasTerminal(t)) return;
  const cwd = project(t);
  const terminal = apply(t, cwd, "--yes");
  t.is(await terminal.ended, 0);
  t.false(existsSync(join(cwd, "old")));
  t.false(terminal.shown.includes("Make this change"));
});
