import test from "ava";
import type { Limits } from "../../lib/policy/policy.ts";
import { openSession } from "./session.ts";

/** A command that reaches a limit, and what the tool then says; the next command runs in a new shell. */
const reached = test.macro({
  title: (_, limits: Limits, command: string) => `${Object.keys(limits)[0]} is named to the model: ${command}`,
  async exec(t, limits: Limits, command: string, reason: string) {
    const session = await openSession(t, {}, limits);
    t.deepEqual(await session.run("bash", { command }), { text: `bash: ${reason} was reached`, isError: true });
    t.is(await session.bash("echo alive"), "alive");
  },
});

const terminated = "bash session terminated: the limit";
test.serial(
  reached,
  { processes: 8 },
  "for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; wait",
  `${terminated} processes`,
);
test.serial(
  reached,
  { memoryBytes: 64 * 1024 ** 2 },
  "x=$(head -c 300M /dev/zero | tr '\\0' x)",
  `${terminated} memory`,
);
test.serial(reached, { cpuTimeMs: 1000 }, "while :; do :; done", `${terminated} cpu-time`);
test.serial(reached, { fileSizeBytes: 4096 }, "head -c 5000 /dev/zero > f; sleep 60", `${terminated} file-size`);
test.serial(reached, { outputBytes: 1000 }, "head -c 2000 /dev/zero; sleep 60", `${terminated} output`);
test.serial(reached, { wallTimeMs: 300 }, "sleep 60", "bash command timed out after 300ms: the limit wall-time");

test.serial("A command may print as much as the limit output says, whatever the bytes are", async (t) => {
  const session = await openSession(t, {}, { outputBytes: 1000 });
  const command = "head -c 1000 /dev/zero | tr '\\0' '\\377'";
  for (let i = 0; i < 3; i++) t.is((await session.run("bash", { command })).text, "\uFFFD".repeat(1000));
});

test.serial("write and edit keep within the limit file-size, and leave the old file", async (t) => {
  const session = await openSession(t, {}, { fileSizeBytes: 1000 });
  t.is((await session.run("write", { file_path: "f", content: "x".repeat(1000) })).isError, false);
  t.is(
    (await session.run("write", { file_path: "f", content: "y".repeat(1001) })).text,
    "write: f: the limit file-size was reached",
  );
  t.is(
    (await session.run("edit", { file_path: "f", old_string: "x", new_string: "yy", replace_all: true })).text,
    "edit: write: f: the limit file-size was reached",
  );
  t.is(await session.bash("tr -d x < f; ls -A"), "f");
});

test.serial("A search that reaches a limit names it", async (t) => {
  const session = await openSession(t, {}, { wallTimeMs: 500 });
  await session.bash("echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa! > f");
  t.is((await session.run("grep", { pattern: "^(a+)+$" })).text, "grep: timed out after 0.5s");
});
