import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { folder, shell } from "./holdfast.ts";

/** A program that ignores every signal that can be ignored. */
const deaf = `import os, signal, sys, time
for number in signal.valid_signals():
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
`;

/** Runs a script until a limit ends it, and sees that the limit is named everywhere. */
async function ended(
  t: ExecutionContext,
  limit: string,
  value: string,
  program: string,
  script: string,
): Promise<void> {
  const cwd = folder(t);
  writeFileSync(join(cwd, "deaf.py"), `${deaf}${program}\n`);
  const result = await shell(t, script, { cwd }, ["--limit", `${limit}=${value}`, "--status-fd", "3"]);
  t.is(result.status, 137, result.stderr);
  const last = `holdfast: the limit ${limit} was reached and the command was ended; --limit ${limit}=VALUE sets it\n`;
  t.true(result.stderr.endsWith(last), result.stderr);
  t.like(result.lines.at(-1), { event: "exited", status: 137, limit, timedOut: false });
}

const programs: Readonly<Record<string, readonly [value: string, program: string]>> = {
  processes: ["8", "for _ in range(32):\n  if os.fork() == 0: time.sleep(60)\ntime.sleep(60)"],
  memory: ["64M", "held = bytearray(256 << 20)\ntime.sleep(60)"],
  "cpu-time": ["500ms", "while True: pass"],
  "open-files": ["24", "held = []\nwhile True: held.append(os.open('/dev/null', os.O_RDONLY))"],
  "file-size": [
    "64K",
    "os.write(os.open('big', os.O_CREAT | os.O_WRONLY), bytes(1 << 20))\nopen('big', 'ab').write(b'x')",
  ],
  "tmp-size": ["1M", "try: open('/tmp/big', 'wb').write(bytes(4 << 20))\nexcept OSError: time.sleep(60)"],
  output: ["64K", "while True: os.write(2, bytes(4096))"],
};

for (const [limit, [value, program]] of Object.entries(programs)) {
  for (const [who, script] of [
    ["the command itself, deaf to signals,", "exec python3 deaf.py"],
    ["a child of a child", "sh -c 'python3 deaf.py | cat; sleep 60'; sleep 60"],
    ["what was left in the background", "setsid python3 deaf.py & sleep 60"],
  ] as const) {
    test(`${limit} ends the command when ${who} reaches it`, (t) => ended(t, limit, value, program, script));
  }
}

for (const [limit, value, script] of [
  ["open-files", "20", "python3 -c 'import os\nfor _ in range(40): os.open(\"/dev/null\", 0)'"],
  ["open-files", "20", "python3 -c 'import os\nfor _ in range(40): os.pipe()'"],
  ["open-files", "20", "bash -c 'for i in $(seq 40); do exec {fd}</dev/null; done' 2>/dev/null"],
  ["open-files", "20", "python3 -c 'import os\nfor _ in range(40): os.dup(0)' || true"],
  ["file-size", "64K", "head -c 1M /dev/zero > big; true"],
  ["file-size", "64K", "head -c 1M /dev/zero | cat > big; true"],
  ["file-size", "64K", "truncate -s 1M big"],
  ["file-size", "64K", 'perl -e \'open F, ">", "big"; print F "x" x 1048576; close F\''],
  ["file-size", "64K", 'node -e \'require("fs").promises.writeFile("big", Buffer.alloc(1 << 20)).catch(() => {})\''],
  ["tmp-size", "1M", "head -c 4M /dev/zero > /tmp/big; true"],
  ["memory", "48M", "python3 -c 'bytearray(64 << 20)'; true"],
  ["cpu-time", "100ms", "python3 -c 'import time\nwhile time.process_time() < 0.11: pass'"],
] as const) {
  test(`${limit} is named also when the command is over at once: ${script.replace(/\s+/g, " ")}`, async (t) => {
    const cwd = folder(t);
    for (let round = 0; round < 2; round++) {
      const { status, lines } = await shell(t, script, { cwd }, [
        "--quiet",
        "--limit",
        `${limit}=${value}`,
        "--status-fd",
        "3",
      ]);
      t.is(status, 137);
      t.like(lines.at(-1), { limit });
    }
  });
}

test("What stays below its limits is let be, to the last descriptor and byte", async (t) => {
  const script = `python3 -c 'import os
for _ in range(16): os.open("/dev/null", 0)' && head -c 65536 /dev/zero > big && head -c 65536 /dev/zero > /tmp/big`;
  const limits = [
    "open-files=20",
    "file-size=64K",
    "tmp-size=1M",
    "processes=8",
    "memory=64M",
    "cpu-time=30s",
    "output=3",
  ];
  const options = limits.flatMap((limit) => ["--limit", limit]);
  const result = await shell(t, `${script} && printf 123`, { cwd: folder(t) }, options);
  t.is(result.status, 0, result.stderr);
  t.is(result.stderr, "");
});

test("Of two limits the one that is reached is named", async (t) => {
  const cwd = folder(t);
  const script = "exec python3 -c 'while True: pass'";
  for (const [options, status, limit] of [
    [["--timeout", "60s", "--limit", "cpu-time=200ms"], 137, "cpu-time"],
    [["--timeout", "200ms", "--limit", "cpu-time=60s"], 124, "wall-time"],
    [["--limit", "wall-time=200ms", "--limit", "memory=1G"], 124, "wall-time"],
  ] as const) {
    const result = await shell(t, script, { cwd }, ["--status-fd", "3", ...options]);
    t.is(result.status, status);
    t.like(result.lines.at(-1), { status, limit });
  }
});

test("The timeout ends a command that is deaf to signals, with all that it started", async (t) => {
  const cwd = folder(t);
  writeFileSync(join(cwd, "deaf.py"), `${deaf}time.sleep(60)\n`);
  const script = "python3 deaf.py & setsid python3 deaf.py & exec python3 deaf.py";
  const result = await shell(t, script, { cwd }, ["--timeout", "300ms", "--status-fd", "3"]);
  t.is(result.status, 124);
  t.like(result.lines.at(-1), { status: 124, limit: "wall-time", timedOut: true, signal: "SIGKILL" });
});

test("Output beyond its limit is told also when the command had ended before it was read", async (t) => {
  const cwd = folder(t);
  for (const script of ["echo 1234567890", "printf 12345; printf 67890 >&2"]) {
    const result = await shell(t, script, { cwd }, ["--limit", "output=8", "--status-fd", "3"]);
    t.is(result.status, 137, script);
    t.regex(result.stderr, /the limit output was reached/);
    t.like(result.lines.at(-1), { event: "exited", status: 137, limit: "output" });
  }
  const all = await shell(t, "printf 12345; printf 678 >&2", { cwd }, ["--limit", "output=8", "--status-fd", "3"]);
  t.is(all.status, 0);
  t.like(all.lines.at(-1), { status: 0, limit: null });
});
