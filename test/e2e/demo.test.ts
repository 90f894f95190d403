import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import test from "ava";
import { processesBelow, searchWorld } from "../secrets/world-search.ts";
import { type Demo, left, start, withTasks } from "./demo.ts";

test.serial("The demo plays four sessions, looks every fact up, leaves nothing, and ends with 0", async (t) => {
  const demo = start(t);
  const { status, said: shown, errors } = await demo.ended;
  t.is(status, 0, shown + errors);
  t.is(errors, "");
  for (const agent of ["builder", "analyst", "fetcher", "intruder"]) {
    t.regex(shown, new RegExp(`^${agent} +claimed: sandbox`, "m"));
    t.regex(shown, new RegExp(`^${agent} +\\d+ ms {2}`, "m"));
    t.regex(shown, new RegExp(`^${agent} +torn down`, "m"));
  }
  t.is(shown.match(/^ {2}held /gm)?.length, 12);
  t.regex(shown, /yes the service outside was asked by the one program/);
  t.regex(shown, /yes the model was asked with its key, which no session has seen/);
  t.regex(shown, /yes the report came out with the right sums/);
  t.regex(shown, /yes no mount, cgroup, folder or socket is left/);
  t.notRegex(shown, /ESCAPED|^ {2}NO /m);
  t.deepEqual(left(demo), []);
});

test.serial(
  "The demo ends with 1 when an answer, a wall's record or what came out is not as it should be",
  async (t) => {
    const root = withTasks(t, (name, text) => {
      if (name === "1-build.yaml") return text.replace("ok: sum", "ok: something else");
      if (name === "2-analyse.yaml") return text.replace("report/notes.md", "report/others.md");
      if (name === "3-fetch.yaml") return text.replace("DELETE", "GET");
      return text.replace("192.0.2.1", "127.0.0.1");
    });
    const demo = start(t, root);
    const { status, said: shown, errors } = await demo.ended;
    t.is(status, 1, shown + errors);
    t.regex(shown, /NO {2}builds and tests a small project: 7 of 8/);
    t.regex(shown, /expected the text to contain "ok: something else"/);
    t.regex(shown, /NO {2}the report came out/);
    t.regex(shown, /ESCAPED scans the network/);
    t.regex(shown, /NO {2}the service outside was asked by the one program/);
    t.regex(shown, /yes no process is left/);
    t.regex(shown, /something is not as it should be/);
    t.deepEqual(left(demo), []);
  },
);

/** What a session waits with, to be searched. */
const held = ["sleep", "300.0625"];

const read = (path: string): string => {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
};

/** The first process of the sandbox that one is in; undefined where it has no pid namespace of its own. */
function initOf(pid: number): number | undefined {
  for (let each = pid; each > 1; ) {
    const status = read(`/proc/${each}/status`);
    if (/^NSpid:\t\d+\t(?:\d+\t)*1$/m.test(status)) return each;
    each = Number(/^PPid:\t(\d+)/m.exec(status)?.[1] ?? 0);
  }
  return undefined;
}

/** Of the demo's worker, from its own environment, and what lies outside for sessions to go for. */
function secretsOf({ child, temporary }: Demo): string[] {
  const environments = processesBelow(child.pid ?? 0).map((pid) => read(`/proc/${pid}/environ`));
  const variable = (name: string): string =>
    environments.map((text) => new RegExp(`(?:^|\0)${name}=([^\0]+)`).exec(text)?.[1]).find(Boolean) ?? "";
  const [world = ""] = readdirSync(temporary);
  return [
    ...[variable("HOLDFAST_DEMO_MODEL_KEY"), variable("ANTHROPIC_ENVIRONMENT_KEY")],
    ...[read(join(temporary, world, "environment.key.operator")), read(join(temporary, world, "home/.ssh/id_ed25519"))],
  ].map((secret) => secret.trim());
}

test.serial("While its sessions live, none of the demo's secrets is in anything that they reach or say", async (t) => {
  const command = held.join(" ");
  const call = `  - say: waits\n    tool: bash\n    input: { command: "${command}", timeout_ms: 120000 }\n`;
  const demo = start(
    t,
    withTasks(t, (_, text) => `${text.trimEnd()}\n${call}`),
  );
  let isOver = false;
  void demo.ended.then(() => {
    isOver = true;
  });
  const searched = new Set<number>();
  let secrets: string[] = [];
  while (searched.size < 4 && !isOver) {
    // Nothing tells that a process inside has begun.
    await wait(50);
    for (const pid of processesBelow(demo.child.pid ?? 0)) {
      if (searched.has(pid) || read(`/proc/${pid}/cmdline`) !== `${held.join("\0")}\0`) continue;
      searched.add(pid);
      secrets = secretsOf(demo);
      t.true(secrets.length === 4 && secrets.every((secret) => secret.length > 20), "all are known");
      const init = initOf(pid);
      if (init === undefined)
        t.log("skipped: its sandboxes have no pid namespace, so their processes are not told apart");
      else {
        const { finds, processes, files } = searchWorld({ secrets, init });
        t.deepEqual(finds, []);
        t.true(processes > 1 && files > 10, "something was searched");
      }
      process.kill(pid, "SIGKILL");
    }
  }
  const { said, errors } = await demo.ended;
  t.is(searched.size, 4, said + errors);
  t.deepEqual(searchWorld({ secrets, said: { said, errors } }).finds, []);
});
