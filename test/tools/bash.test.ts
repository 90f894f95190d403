import test from "ava";
import { OutputTail } from "../../lib/tools/output-tail.ts";
import { openSession, until } from "./session.ts";

test.serial("A time limit ends the command and everything that it started", async (t) => {
  const session = await openSession(t);
  const { text, isError } = await session.run("bash", {
    command: "sleep 4711 & (setsid sleep 4711) & echo printed; sleep 4711",
    timeout_ms: 500,
  });
  t.deepEqual([text, isError], ["bash: bash command timed out after 500ms", true]);
  t.is(await session.countProcesses("sleep 4711"), 0);
});

test.serial("The shell's own end also ends the jobs that it left", async (t) => {
  const session = await openSession(t);
  t.is((await session.run("bash", { command: "sleep 4712 & exit" })).text, "bash: bash session terminated");
  t.is(await session.countProcesses("sleep 4712"), 0);
});

test.serial("Closing the tools ends the shell and its jobs", async (t) => {
  const session = await openSession(t);
  await session.bash("sleep 4713 & setsid sleep 4713 & :");
  await until(async () => (await session.countProcesses("sleep 4713")) === 2);
  t.is(await session.countProcesses("bash --noprofile"), 1);
  await session.tools.close();
  t.is(await session.countProcesses("sleep 4713"), 0);
  t.is(await session.countProcesses("bash --noprofile"), 0);
});

test.serial("A cancelled command ends, and the next one has a new shell", async (t) => {
  const session = await openSession(t);
  await session.bash("kept=1");
  const cancel = new AbortController();
  const call = session.run("bash", { command: "touch begun; sleep 4714" }, cancel.signal);
  await until(async () => (await session.run("glob", { pattern: "begun" })).text !== "no matches");
  cancel.abort(new Error("the lease was lost"));
  t.deepEqual(await call, { text: "bash: the lease was lost", isError: true });
  t.is(await session.countProcesses("sleep 4714"), 0);
  t.is(await session.bash('echo "[$kept]"'), "[]");
});

test.serial("A call that is cancelled while it waits leaves the running command alone", async (t) => {
  const session = await openSession(t);
  const first = session.run("bash", { command: "until [ -e go ]; do sleep 0.05; done; kept=1; echo done" });
  const cancel = new AbortController();
  const second = session.run("bash", { command: "echo never > never" }, cancel.signal);
  cancel.abort(new Error("stop"));
  await session.run("write", { file_path: "go", content: "" });
  t.deepEqual(await first, { text: "done", isError: false });
  t.deepEqual(await second, { text: "bash: stop", isError: true });
  t.is(await session.bash('echo "$kept"; ls'), "1\ngo");
});

test.serial("Calls at the same time run one after another", async (t) => {
  const session = await openSession(t);
  const calls = ["a", "b", "c"].map((name) =>
    session.run("bash", { command: `echo ${name} >> order; sleep 0.1; echo ${name} >> order; echo ${name}` }),
  );
  t.deepEqual(
    (await Promise.all(calls)).map(({ text }) => text),
    ["a", "b", "c"],
  );
  t.is(await session.bash("paste -sd ' ' order"), "a a b b c c");
});

test.serial("No call runs longer than the toolset's own limit", async (t) => {
  const session = await openSession(t, { callTimeoutMs: 700 });
  const { text } = await session.run("bash", { command: "sleep 60", timeout_ms: 60_000 });
  t.is(text, "bash: bash command timed out after 700ms");
});

test.serial("An endless flood of output is held in bounded memory", async (t) => {
  const session = await openSession(t);
  const before = process.memoryUsage().rss;
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 20);
  const { text } = await session.run("bash", { command: "head -c 500000000 /dev/zero | tr '\\0' x; echo end" });
  clearInterval(watch);
  t.true(text.startsWith("[output truncated]\nxxx"));
  t.true(text.endsWith("xxx\nend") || text.endsWith("xend"));
  t.true(text.length <= 102_400 + "[output truncated]\n".length);
  t.true(most - before < 100 * 1024 * 1024, `grew by ${most - before} bytes`);
});

test.serial("What a job prints between calls is lost, and does not stall the job", async (t) => {
  const session = await openSession(t);
  await session.bash("(head -c 1000000 /dev/zero | tr '\\0' z; echo > finished) &");
  await until(async () => (await session.run("glob", { pattern: "finished" })).text !== "no matches");
  t.is(await session.bash("echo clean"), "clean");
});

test.serial("A command cannot end itself early by printing what an end looks like", async (t) => {
  const session = await openSession(t);
  const forged = "__HOLDFAST_00000000-0000-4000-8000-000000000000_END__0";
  t.is(await session.bash(`echo ${forged}; echo more`), `${forged}\nmore`);
});

test.serial("A shell that redefines printf or traces itself still gives its results", async (t) => {
  const session = await openSession(t);
  await session.bash("printf() { command echo hijacked; }; set -x");
  const { text, isError } = await session.run("bash", { command: "echo still" });
  t.deepEqual([text, isError], ["+ echo still\nstill", false]);
});

test.serial("A shell without its output ends at the time limit, and the next call works", async (t) => {
  const session = await openSession(t);
  t.is(
    (await session.run("bash", { command: "exec >&- 2>&-", timeout_ms: 400 })).text,
    "bash: bash command timed out after 400ms",
  );
  t.is(await session.bash("echo back"), "back");
});

test.serial("Binary output comes as well-formed text", async (t) => {
  const session = await openSession(t);
  const text = await session.bash("head -c 300000 /dev/urandom");
  t.true(text.isWellFormed());
});

test.serial("Variables of the worker do not reach the shell", async (t) => {
  process.env["ANTHROPIC_API_KEY"] = "sk-must-stay-out";
  t.teardown(() => {
    delete process.env["ANTHROPIC_API_KEY"];
  });
  const session = await openSession(t);
  t.notRegex(await session.bash("env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'"), /sk-must-stay-out/);
});

test("The end of a stream is found however it is cut into pieces", (t) => {
  const stream = `${"é".repeat(40)}\nMARK17\nlater`;
  for (let size = 1; size <= stream.length; size++) {
    const tail = new OutputTail(30, "MARK");
    let end: ReturnType<OutputTail["push"]> = null;
    for (let at = 0; at < stream.length && end === null; at += size) end = tail.push(stream.slice(at, at + size));
    t.deepEqual(end, { text: `${"é".repeat(22)}\n`, isCut: true, number: 17 });
  }
});
