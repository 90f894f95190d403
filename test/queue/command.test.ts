import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { QueueServer } from "../../lib/queue/server.ts";

const main = join(dirname(dirname(import.meta.dirname)), "lib", "cli", "main.ts");

interface Desk {
  readonly queue: QueueServer;
  readonly folder: string;
  /** Runs `holdfast queue …`; standard output is closed at once when nobody is to read it. */
  command(args: readonly string[], isRead?: boolean): Promise<{ status: number | null; said: string; errors: string }>;
}

async function openDesk(t: ExecutionContext): Promise<Desk> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-queue-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const queue = await QueueServer.start();
  t.teardown(() => queue.close());
  return {
    queue,
    folder,
    async command(args, isRead = true) {
      const child = spawn(process.execPath, [main, "queue", ...args], {
        cwd: folder,
        env: {
          PATH: process.env["PATH"],
          HOME: folder,
          HOLDFAST_QUEUE_URL: queue.url,
          HOLDFAST_QUEUE_KEY: queue.operatorKey,
        },
        stdio: ["ignore", "pipe", "pipe"],
      });
      t.teardown(() => child.kill("SIGKILL"));
      let said = "";
      let errors = "";
      if (isRead) child.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
      else child.stdout.destroy();
      child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
      const [status] = (await once(child, "close")) as [number | null];
      return { status, said, errors };
    },
  };
}

const answered = { tool: "ticket", custom: true, answer: "42" };

for (const end of ["terminated", "idle"] as const) {
  test(`Following a session that is over already shows it and ends (${end})`, async (t) => {
    const { queue, command } = await openDesk(t);
    const passed = queue.submit({ end, calls: [{ ...answered, expect: { equals: "42" } }] });
    const failed = queue.submit({ end, calls: [{ ...answered, expect: { equals: "43" } }] });
    const [good, bad] = await Promise.all([command(["follow", passed]), command(["follow", failed])]);
    t.is(good.status, 0, good.errors);
    t.regex(good.said, /→ ticket .*\n← 42\n[\s\S]*passed +1\/1 calls/);
    t.is(bad.status, 1, bad.errors);
    t.regex(bad.said, /failed +0\/1 calls[\s\S]*expected exactly "43"; it was "42"/);
  });
}

test("A task without a name is called as its file is", async (t) => {
  const { folder, command } = await openDesk(t);
  await writeFile(join(folder, "weekly report.yaml"), "calls: []\n");
  const { status, said, errors } = await command(["submit", "weekly report.yaml", "--follow"]);
  t.is(status, 0, errors);
  t.regex(said, /passed +0\/0 calls {2}weekly report\n/);
});

test("A reader that goes away ends the command without a word", async (t) => {
  const { queue, command } = await openDesk(t);
  queue.submit({ calls: [answered] });
  t.deepEqual(await command(["list"], false), { status: 141, said: "", errors: "" });
});
