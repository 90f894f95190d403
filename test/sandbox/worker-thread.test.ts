import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import test from "ava";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { scratchFolder } from "./session.ts";

const program = `
  const { parentPort, workerData } = require("node:worker_threads");
  import(workerData.module).then(async ({ Sandbox }) => {
    const sandbox = await Sandbox.create({ workdir: workerData.workdir, policy: workerData.policy });
    const { stdout } = await sandbox.exec("echo", ["from a thread"]);
    if (workerData.stays) {
      sandbox.spawn("sleep", ["60"], { stdio: "ignore" });
      void sandbox.exec("sleep", ["60"]);
    } else {
      await sandbox.dispose();
    }
    parentPort.postMessage({ text: stdout.toString(), init: sandbox.description.init });
  });
`;

function thread(workdir: string, stays: boolean): Worker {
  const module = join(import.meta.dirname, "../../lib/sandbox/sandbox.ts");
  return new Worker(program, { eval: true, workerData: { module, workdir, stays }, execArgv: process.execArgv });
}

test("A worker thread has sandboxes of its own", async (t) => {
  const worker = thread(scratchFolder(t), false);
  // Both at once: a worker that ends at once has its message and its exit emitted together.
  const [[{ text, init }]] = await Promise.all([once(worker, "message"), once(worker, "exit")]);
  t.is(text, "from a thread\n");
  t.false(existsSync(`/proc/${init}`));
});

test("The sandboxes of a thread that is terminated end with it, and those of others go on", async (t) => {
  const other = await Sandbox.create({ workdir: scratchFolder(t) });
  t.teardown(() => other.dispose());
  for (let round = 0; round < 3; round++) {
    const worker = thread(scratchFolder(t), true);
    const [{ init }] = await once(worker, "message");
    t.regex(readFileSync(`/proc/${init}/status`, "utf8"), /^State:\t[^Z]/m);
    await worker.terminate();
    // The kernel takes its time over a process and all that is in its namespaces.
    while (existsSync(`/proc/${init}`)) await delay(5);
    t.is((await other.exec("echo", ["still here"])).stdout.toString(), "still here\n");
  }
});
