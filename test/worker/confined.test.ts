import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Anthropic } from "@anthropic-ai/sdk";
import test, { type ExecutionContext } from "ava";
import { QueueClient, type SessionResults } from "../../lib/queue/client.ts";
import { QueueServer } from "../../lib/queue/server.ts";
import type { Task, TaskCall } from "../../lib/queue/task.ts";
import { writeZip } from "../../lib/queue/zip-writer.ts";
import { environmentKey, FaultyServer, terminated, toolUse } from "./faulty-server.ts";
import { tar } from "./hostile-archives.ts";
import { leftovers, processesWith, scratch, turn, WorkerProcess, workspace } from "./worker-process.ts";

interface Served {
  readonly queue: QueueServer;
  readonly client: QueueClient;
  readonly workdir: string;
  readonly worker: WorkerProcess;
  readonly results: readonly SessionResults[];
}

/** Serves tasks from the embedded queue with a worker process, until all are done. */
async function serve(
  t: ExecutionContext,
  tasks: readonly Task[],
  args: readonly string[] = [],
  prepare: (workdir: string) => void = () => {},
): Promise<Served> {
  await turn(t);
  const queue = await QueueServer.start();
  t.teardown(() => queue.close());
  const workdir = workspace(t);
  prepare(workdir);
  const ids = tasks.map((task) => queue.submit(task));
  const worker = WorkerProcess.start(
    t,
    [
      ...["poll", "--workdir", workdir, "--drain", "--max-idle", "2s", "--base-url", queue.url],
      ...(args.includes("--log-format") ? [] : ["--log-format", "text"]),
      ...args,
    ],
    { ANTHROPIC_ENVIRONMENT_KEY: queue.environmentKey, ANTHROPIC_ENVIRONMENT_ID: queue.environmentId },
  );
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  const client = new QueueClient(queue.url, queue.operatorKey);
  const results = await Promise.all(ids.map((id) => client.results(id)));
  for (const { outcome, calls } of results) {
    t.is(
      outcome,
      "passed",
      JSON.stringify(
        calls.filter(({ passed }) => passed === false),
        null,
        1,
      ),
    );
  }
  t.deepEqual(leftovers(worker), []);
  return { queue, client, workdir, worker, results };
}

function bash(command: string, expect: TaskCall["expect"] = { is_error: false }): TaskCall {
  return { tool: "bash", input: { command }, expect };
}

test("Heartbeats stay on time under tools that take all of a CPU, and that never stop printing", async (t) => {
  await turn(t);
  const server = await FaultyServer.start();
  t.teardown(() => server.close());
  server.ttlSeconds = 6;
  const workdir = workspace(t);
  writeFileSync(join(workdir, "hard.txt"), `${"a".repeat(64)}!\n`.repeat(200));
  server.enqueue({ id: "work_1" });
  const calls = [
    toolUse("sevt_1", "bash", { input: { command: "while :; do :; done", timeout_ms: 2500 } }),
    toolUse("sevt_2", "bash", { input: { command: "yes a long line of output that never ends", timeout_ms: 2500 } }),
    toolUse("sevt_3", "grep", { input: { pattern: "^(a+)+$" } }),
    toolUse("sevt_4", "bash", { input: { command: "head -c 100000000 /dev/urandom", timeout_ms: 20_000 } }),
  ];
  server.happen(...calls.slice(0, 2));
  const worker = WorkerProcess.start(t, ["poll", "--workdir", workdir, "--base-url", server.url], {
    ANTHROPIC_ENVIRONMENT_KEY: environmentKey,
    ANTHROPIC_ENVIRONMENT_ID: "env_test",
  });
  await server.until(() => server.results().length === 2, "two results", 30_000);
  // A search may take its minute; here it is interrupted.
  server.happen(...calls.slice(2, 3));
  const beats = server.of("heartbeat").length;
  // Two while it searches, and as many in all as are looked at.
  await server.untilCount("heartbeat", Math.max(beats + 2, 4));
  server.happen({ type: "user.interrupt", id: "sevt_interrupt" });
  await server.until(() => server.results().length === 3, "the interrupted search", 30_000);
  server.happen(...calls.slice(3));
  await server.until(() => server.results().length === 4, "the last result", 60_000);
  server.happen(terminated);
  await server.untilCount("stop", 1);
  worker.child.kill("SIGTERM");
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  const at = server.of("heartbeat").map((beat) => beat.at);
  const gaps = at.slice(1).map((time, index) => time - (at[index] ?? 0));
  t.true(gaps.length >= 3 && Math.max(...gaps) < 5000, `${gaps.map(Math.round)} ms`);
  const [busy, chatty, search, binary] = server.results();
  t.deepEqual([busy?.isError, chatty?.isError, search?.isError], [true, true, true]);
  t.regex(busy?.text ?? "", /timed out after 2500ms/);
  t.true((binary?.text.length ?? 0) <= 102_420 && binary?.text.isWellFormed());
});

test("A lease that is lost during a call ends its processes, posts nothing, and the next item is served", async (t) => {
  await turn(t);
  const server = await FaultyServer.start();
  t.teardown(() => server.close());
  const mark = `mark-${process.pid}-${Date.now()}`;
  const workdir = workspace(t);
  server.ttlSeconds = 2;
  server.enqueue({ id: "work_1" });
  server.happen(
    toolUse("sevt_1", "bash", { input: { command: `(setsid sh -c 'sleep 300; : ${mark}' &); sleep 300` } }),
  );
  const worker = WorkerProcess.start(t, ["poll", "--workdir", workdir, "--base-url", server.url], {
    ANTHROPIC_ENVIRONMENT_KEY: environmentKey,
    ANTHROPIC_ENVIRONMENT_ID: "env_test",
  });
  await server.until(() => processesWith(mark).length > 0, "the call's process");
  server.fail("heartbeat", { status: 412 });
  await server.until(() => processesWith(mark).length === 0, "the end of the call's process");
  server.happen(terminated);
  server.enqueue({ id: "work_2" });
  await server.untilCount("stop", 1);
  worker.child.kill("SIGTERM");
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.deepEqual(server.results(), []);
  t.true(server.of("stop")[0]?.path.includes("work_2"));
});

test("Shells that go away, closed descriptors and background jobs leave a session that serves the next call", async (t) => {
  await serve(t, [
    {
      calls: [
        bash("exit 3", { is_error: true, equals: "bash: bash session terminated" }),
        bash("echo again", { equals: "again" }),
        bash("kill -9 $$", { is_error: true, equals: "bash: bash session terminated" }),
        { tool: "bash", input: { command: "exec <&- >&- 2>&-", timeout_ms: 1000 }, expect: { is_error: true } },
        bash("echo again", { equals: "again" }),
        bash("sleep 300 & echo begun", { equals: "begun" }),
        { tool: "bash", input: { command: "cat", timeout_ms: 500 }, expect: { equals: "(no output)" } },
        {
          tool: "bash",
          input: { command: "sleep 300", timeout_ms: 500 },
          expect: { is_error: true, contains: "timed out" },
        },
        { tool: "bash", input: "text instead of an object", expect: { is_error: true, contains: "required" } },
        { tool: "read", input: null, expect: { is_error: true, contains: "required" } },
        { tool: "write", input: { file_path: 7, content: [] }, expect: { is_error: true } },
        bash("printf '\\xff\\xfe\\0x'", { equals: "\ufffd\ufffd\u0000x" }),
      ],
    },
  ]);
});

test("A limit that a command reached is told by its own call, and the next one works", async (t) => {
  // Kernels before 6.15 tell nobody but the shell.
  const reached = { matches: "^bash: bash session terminated|File size limit exceeded" };
  const { worker, results } = await serve(t, [
    {
      calls: Array.from({ length: 12 }, () => [
        bash("truncate -s 100G big; echo $?", reached),
        bash("echo next", { equals: "next" }),
      ]).flat(),
    },
  ]);
  const told = results[0]?.calls.filter(({ text }) => text?.includes("the limit file-size was reached"));
  t.is(worker.stdout.match(/refused .*kind=limit subject=file-size count=1/g)?.length ?? 0, told?.length ?? -1);
});

test("Sessions side by side see neither each other's files nor each other's processes", async (t) => {
  const mark = `mark-${process.pid}-${Date.now()}`;
  const task = (name: string): Task => ({
    name,
    calls: [
      bash(`echo ${name} > mine.txt; sh -c 'sleep 300; : ${mark}-${name}' & sleep 1.5; ls`, { equals: "mine.txt" }),
      bash(`cat mine.txt; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -o '[s]leep 300; : .*'`, {
        equals: `${name}\nsleep 300; : ${mark}-${name}`,
      }),
    ],
  });
  const began = performance.now();
  const { workdir, worker } = await serve(
    t,
    [task("one"), task("two"), task("three")],
    ["--concurrency", "3", "--log-format", "json"],
  );
  const claims = worker.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { msg: string; time: string })
    .filter(({ msg }) => msg === "claimed" || msg === "torn down");
  // Claimed while another was being served.
  t.deepEqual(
    claims.slice(0, 2).map(({ msg }) => msg),
    ["claimed", "claimed"],
    `${performance.now() - began} ms`,
  );
  t.deepEqual(readdirSync(workdir), []);
  t.deepEqual(processesWith(mark), []);
});

const archive = (folder: string): string => {
  const path = join(folder, "skill.zip");
  writeFileSync(
    path,
    writeZip([
      { name: "pdf/SKILL.md", data: Buffer.from("how to\n"), mode: 0o100600 },
      { name: "pdf/bin/run", data: Buffer.from("#!/bin/sh\necho it runs\n"), mode: 0o100700 },
      { name: "pdf/link", data: Buffer.from("/etc/passwd"), mode: 0o120777 },
    ]),
  );
  return path;
};

const hostile = (folder: string): string => {
  const path = join(folder, "hostile.tar");
  writeFileSync(
    path,
    tar([
      { name: "ok", data: "x" },
      { name: "../../evil", data: "x" },
    ]),
  );
  return path;
};

for (const mode of ["overlay", "direct"]) {
  test(`Skills lie below skills/ with their modes and go with the session; a hostile one is passed over (${mode})`, async (t) => {
    const folder = scratch(t);
    const { workdir, worker } = await serve(
      t,
      [
        {
          agent: {
            skills: [
              { name: "../../pdf", archive: archive(folder) },
              { name: "evil", archive: hostile(folder) },
            ],
          },
          calls: [
            bash(
              "find skills | sort; stat -c '%a %n' skills/pdf skills/pdf/SKILL.md skills/pdf/bin/run; ls -d evil ../evil ../../evil",
              {
                matches:
                  "^skills\nskills/pdf\nskills/pdf/SKILL.md\nskills/pdf/bin\nskills/pdf/bin/run\n700 skills/pdf\n644 .*\n755 .*",
              },
            ),
            bash("skills/pdf/bin/run; cat skills/pdf/SKILL.md", { equals: "it runs\nhow to" }),
            { tool: "read", input: { file_path: "skills/pdf/SKILL.md" }, expect: { equals: "how to\n" } },
            bash("echo changed > skills/pdf/SKILL.md; mkdir -p skills/mine; echo kept > skills/mine/notes"),
          ],
        },
      ],
      ["--workspace", mode],
    );
    t.regex(worker.stdout, /passed over/);
    t.deepEqual(
      readdirSync(workdir, { recursive: true }).sort(),
      mode === "direct" ? ["skills", "skills/mine", "skills/mine/notes"] : [],
    );
  });
}

test("A link where skills/ should be leads nothing outside the workspace", async (t) => {
  const folder = scratch(t);
  const outside = join(folder, "outside");
  mkdirSync(join(outside, "pdf"), { recursive: true });
  writeFileSync(join(outside, "pdf", "precious"), "");
  chmodSync(outside, 0o777);
  await serve(
    t,
    [
      {
        agent: { skills: [{ name: "pdf", archive: archive(folder) }] },
        calls: [bash("echo served", { equals: "served" })],
      },
    ],
    ["--workspace", "direct"],
    (workdir) => symlinkSync(outside, join(workdir, "skills")),
  );
  t.deepEqual(readdirSync(outside, { recursive: true }).sort(), ["pdf", "pdf/precious"]);
});

test("Memory stores lie at their paths, read-only ones refuse by name, and what changed is stored at the end", async (t) => {
  const { queue, workdir, results } = await serve(t, [
    {
      memory: [
        {
          name: "notes",
          mount_path: "/mnt/memory/notes",
          memories: { "/a.md": "first\n", "/deep/b.md": "second\n", "/old.md": "old\n" },
        },
        {
          name: "rules",
          mount_path: "/mnt/memory/rules",
          access: "read_only",
          memories: { "/law.md": "thou shalt\n" },
        },
        { name: "here", memories: { "/h.md": "here\n" } },
      ],
      calls: [
        bash("cat /mnt/memory/notes/a.md /mnt/memory/notes/deep/b.md /mnt/memory/rules/law.md memory/here/h.md", {
          equals: "first\nsecond\nthou shalt\nhere",
        }),
        bash("cat /mnt/memory/notes/.anthropic-memory-store; stat -c %a /mnt/memory/notes", {
          matches: "^version 1\nmemstore_[^\n]+700$",
        }),
        { tool: "edit", input: { file_path: "/mnt/memory/notes/a.md", old_string: "first", new_string: "1st" } },
        { tool: "read", input: { file_path: "/mnt/memory/notes/a.md" }, expect: { equals: "1st\n" } },
        {
          tool: "write",
          input: { file_path: "/mnt/memory/rules/law.md", content: "no" },
          expect: {
            is_error: true,
            equals: "write: /mnt/memory/rules/law.md is inside read-only directory /mnt/memory/rules",
          },
        },
        bash(
          "echo more > /mnt/memory/notes/new.md; rm /mnt/memory/notes/old.md; echo x > memory/here/two.md; echo no > /mnt/memory/rules/law.md",
        ),
      ],
    },
  ]);
  const operator = new Anthropic({ authToken: queue.operatorKey, baseURL: queue.url, logLevel: "off" });
  const stored: Record<string, string | null | undefined> = {};
  const session = await operator.beta.sessions.retrieve(results[0]?.session_id ?? "");
  for (const store of session.resources) {
    if (store.type !== "memory_store") continue;
    const memories = operator.beta.memoryStores.memories.list(store.memory_store_id, { view: "full" });
    for await (const memory of memories) {
      if (memory.type === "memory") stored[`${store.name}${memory.path}`] = memory.content;
    }
  }
  t.deepEqual(stored, {
    "here/h.md": "here\n",
    "here/two.md": "x\n",
    "notes/a.md": "1st\n",
    "notes/deep/b.md": "second\n",
    "notes/new.md": "more\n",
    "rules/law.md": "thou shalt\n",
  });
  t.deepEqual(readdirSync(workdir), []);
});

test("Calls of tools that the policy leaves out are left to others", async (t) => {
  await turn(t);
  const server = await FaultyServer.start();
  t.teardown(() => server.close());
  const folder = scratch(t);
  const policy = join(folder, "policy.yaml");
  writeFileSync(
    policy,
    `${readFileSync(join(import.meta.dirname, "../../presets/agent.yaml"), "utf8").replace(/^tools:.*$/m, "tools: [read, glob]")}`,
  );
  const workdir = workspace(t);
  writeFileSync(join(workdir, "a.txt"), "read\n");
  server.enqueue({ id: "work_1" });
  server.happen(
    toolUse("sevt_1", "bash", { input: { command: "echo no" } }),
    toolUse("sevt_2", "read", { input: { file_path: "a.txt" } }),
  );
  const worker = WorkerProcess.start(
    t,
    ["poll", "--once", "--workdir", workdir, "--base-url", server.url, "--policy", policy],
    { ANTHROPIC_ENVIRONMENT_KEY: environmentKey, ANTHROPIC_ENVIRONMENT_ID: "env_test" },
  );
  await server.until(() => server.results().length === 1);
  server.happen(terminated);
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.deepEqual(server.results(), [{ id: "sevt_2", text: "read\n", isError: false }]);
});
