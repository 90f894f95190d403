import { once } from "node:events";
import test from "ava";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { scratchFolder } from "./session.ts";

test.serial("The policy's wall-time ends a spawned program too, unless another time is given", async (t) => {
  const policy = { ...defaultPolicy, limits: { ...defaultPolicy.limits, wallTimeMs: 100 } };
  const sandbox = await Sandbox.create({ workdir: scratchFolder(t), policy });
  t.teardown(() => sandbox.dispose());
  t.deepEqual(await once(sandbox.spawn("sleep", ["60"]), "exit"), [null, "SIGTERM"]);
  const longer = sandbox.spawn("sleep", ["0.3"], { timeoutMs: Number.POSITIVE_INFINITY });
  t.deepEqual(await once(longer, "exit"), [0, null]);
});
