import { once } from "node:events";
import test from "ava";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { scratchFolder } from "./session.ts";

test("A call's time is over for what its program left running too: its pipes are closed", async (t) => {
  const sandbox = await Sandbox.create({ workdir: scratchFolder(t) });
  t.teardown(() => sandbox.dispose());
  const script = "echo said; sleep 1000 & exit 3";
  const ran = await sandbox.exec("sh", ["-c", script], { timeoutMs: 300 });
  t.is(ran.stdout.toString(), "said\n");
  t.deepEqual([ran.exitCode, ran.timedOut], [3, true]);
  const child = sandbox.start("sh", ["-c", script], { timeoutMs: 300 });
  child.stdout?.resume();
  await once(child, "close");
  t.deepEqual([child.exitCode, child.timedOut], [3, true]);
  const cancel = new AbortController();
  const left = sandbox.start("sh", ["-c", script], { signal: cancel.signal });
  left.stdout?.resume();
  left.once("exit", () => cancel.abort());
  await once(left, "close");
  t.deepEqual([left.exitCode, left.isCanceled], [3, true]);
});

test("A program that stopped itself hears of the end of its time at once", async (t) => {
  const sandbox = await Sandbox.create({ workdir: scratchFolder(t) });
  t.teardown(() => sandbox.dispose());
  const child = sandbox.start("sh", ["-c", "trap 'echo heard; exit 7' TERM; kill -STOP $$; sleep 1000"], {
    timeoutMs: 300,
    forceKillAfterMs: 60_000,
  });
  let said = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  await once(child, "close");
  t.deepEqual([said, child.exitCode, child.timedOut], ["heard\n", 7, true]);
});
