import { once } from "node:events";
import test, { type ExecutionContext } from "ava";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import type { Limits } from "../../lib/policy/policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { scratchFolder } from "./session.ts";

async function sandboxOf(t: ExecutionContext, limits: Partial<Limits>): Promise<Sandbox> {
  const policy = { ...defaultPolicy, limits: { ...defaultPolicy.limits, ...limits } };
  const sandbox = await Sandbox.create({ workdir: scratchFolder(t), policy });
  t.teardown(() => sandbox.dispose());
  return sandbox;
}

const hold = "held = [os.pipe() for _ in range(40)]";

for (const [limit, limits, script] of [
  ["file-size", { fileSizeBytes: 65_536 }, "head -c 1M /dev/zero > big"],
  ["file-size", { fileSizeBytes: 65_536 }, "head -c 1M /dev/zero | cat > big; sleep 60"],
  ["file-size", { fileSizeBytes: 65_536 }, "setsid sh -c 'head -c 1M /dev/zero > big; sleep 60' & sleep 60"],
  [
    "file-size",
    { fileSizeBytes: 65_536 },
    'python3 -c \'import signal; signal.signal(25, signal.SIG_IGN)\nopen("big", "wb").write(bytes(1 << 20))\'',
  ],
  ["open-files", { openFiles: 24 }, `python3 -c "import os, time\n${hold}"; sleep 60`],
  ["open-files", { openFiles: 24 }, `setsid sh -c 'python3 -c "import os, time\n${hold}"; sleep 60' & sleep 60`],
  ["memory", { memoryBytes: 64 << 20 }, "python3 -c 'held = bytearray(256 << 20)\nimport time; time.sleep(60)'"],
  ["cpu-time", { cpuTimeMs: 300 }, "sh -c 'while :; do :; done' & sleep 60"],
  ["processes", { processes: 12 }, "for i in $(seq 30); do sleep 60 & done; sleep 60"],
  ["tmp-size", { tmpSizeBytes: 1 << 20 }, "head -c 4M /dev/zero > /tmp/big; sleep 60"],
  ["output", { outputBytes: 65_536 }, "yes & sleep 60"],
] as const) {
  test(`Of calls side by side only the one ends that reaches ${limit}: ${script.replace(/\s+/g, " ")}`, async (t) => {
    const sandbox = await sandboxOf(t, limits);
    const neighbours = Array.from({ length: 3 }, () => sandbox.spawn("sh", ["-c", "echo up; read word; echo $word"]));
    await Promise.all(neighbours.map((child) => once(child.stdout ?? child, "data")));
    const result = await sandbox.exec("sh", ["-c", script]);
    t.is(result.limit, limit);
    for (const child of neighbours) {
      child.stdin?.end("still here\n");
      const [chunk] = await once(child.stdout ?? child, "data");
      t.is(String(chunk), "still here\n");
      await once(child, "close");
      t.deepEqual([child.exitCode, child.limit], [0, null]);
    }
    const later = await sandbox.exec("sh", ["-c", "echo fine"]);
    t.deepEqual([later.limit, later.stdout.toString()], [null, "fine\n"]);
  });
}

test("A limit that calls reach at once ends each of them, and each is told of its own", async (t) => {
  const sandbox = await sandboxOf(t, { fileSizeBytes: 65_536, openFiles: 24 });
  const big = "head -c 1M /dev/zero | cat > $0; sleep 60";
  const wide = `python3 -c "import os\n${hold}"; sleep 60`;
  const results = await Promise.all(
    [big, wide, big, wide, "exit 3"].map((script, i) => sandbox.exec("sh", ["-c", script, `file${i}`])),
  );
  t.deepEqual(
    results.map(({ limit }) => limit),
    ["file-size", "open-files", "file-size", "open-files", null],
  );
});

test("More children than are held at once hold nobody up", async (t) => {
  const sandbox = await sandboxOf(t, { fileSizeBytes: 65_536 });
  const script = "for i in $(seq 400); do sleep 60 & done; sh -c 'exit 5'; kill $(jobs -p); wait; exit 7";
  const result = await sandbox.exec("bash", ["-c", script]);
  t.deepEqual([result.exitCode, result.limit], [7, null]);
});
