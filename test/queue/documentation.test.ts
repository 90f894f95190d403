import { readFileSync } from "node:fs";
import test from "ava";
import { queueCommand } from "../../lib/cli/queue.ts";
import { parseTask } from "../../lib/queue/task.ts";

const text = readFileSync(new URL("../../docs/queue.md", import.meta.url), "utf8");

test("The task file of the queue's page is a task", (t) => {
  const [, yaml = ""] = /```yaml\n([\s\S]*?)```/.exec(text) ?? [];
  const task = parseTask(yaml, "docs/queue.md");
  t.is(task.calls?.length, 5);
  t.is(task.memory?.[0]?.access, "read_only");
});

test("The queue's page names every flag", (t) => {
  const flags = queueCommand().commands.flatMap(({ options }) => options.map(({ long }) => long ?? ""));
  t.true(flags.length > 8);
  t.deepEqual(
    [...new Set(flags)].filter((flag) => !text.includes(`\`${flag}`) && !text.includes(`[${flag}`)),
    [],
  );
});
