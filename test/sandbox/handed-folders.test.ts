// /etc is made once and shown to one sandbox after the other: it must be the same, and nobody's to change.

import test from "ava";
import type { LaunchPlan } from "../../lib/plan/launch-plan.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { scratchFolder } from "./session.ts";

const script = `
ls -A /etc | md5sum; md5sum < /etc/passwd; md5sum < /etc/services
for way in 'touch /etc/new' 'rm -f /etc/passwd' 'chmod 600 /etc/passwd' 'truncate -s 0 /etc/passwd' 'ln -s x /etc/link'; do
  $way 2> /dev/null && echo "$way worked"
done
true`;

async function look(sandbox: Sandbox): Promise<{ shown: string; device: string }> {
  const ran = await sandbox.exec("sh", ["-c", script]);
  const { stdout } = await sandbox.exec("stat", ["-c", "%d", "/etc/passwd"]);
  return { shown: ran.stdout.toString() + ran.stderr.toString(), device: stdout.toString().trim() };
}

test.serial("A sandbox has the /etc of the one before it, the same and read-only", async (t) => {
  const workdir = scratchFolder(t);
  const seen: { shown: string; device: string }[] = [];
  for (let round = 0; round < 3; round++) {
    await using sandbox = await Sandbox.create({ workdir });
    seen.push(await look(sandbox));
  }
  const [first, ...others] = seen;
  t.notRegex(first?.shown ?? "", /worked/);
  for (const other of others) t.deepEqual(other, first);
});

test.serial("Sandboxes side by side do not wait for it: each that finds none makes its own", async (t) => {
  const workdir = scratchFolder(t);
  const sandboxes = await Promise.all([1, 2, 3].map(() => Sandbox.create({ workdir })));
  t.teardown(() => Promise.all(sandboxes.map((sandbox) => sandbox.dispose())));
  const seen = await Promise.all(sandboxes.map(look));
  t.is(new Set(seen.map(({ shown }) => shown)).size, 1);
  t.true(new Set(seen.map(({ device }) => device)).size >= 2);
});

test.serial("What is shown to another user or with a name server is not the same", async (t) => {
  const workdir = scratchFolder(t);
  const keys: string[] = [];
  const alterPlan = (plan: LaunchPlan): LaunchPlan => {
    for (const step of plan.mounts) if (step.op === "shared") keys.push(step.key);
    return plan;
  };
  const one = await Sandbox.create({ workdir }, { alterPlan });
  await one.dispose();
  const [key = ""] = keys;
  const other = `other ${key}`;
  const elsewhere = (plan: LaunchPlan): LaunchPlan => ({
    ...plan,
    mounts: plan.mounts.map((step) => (step.op === "shared" ? { ...step, key: other } : step)),
  });
  await using first = await Sandbox.create({ workdir });
  await using second = await Sandbox.create({ workdir }, { alterPlan: elsewhere });
  t.not((await look(first)).device, (await look(second)).device);
});
