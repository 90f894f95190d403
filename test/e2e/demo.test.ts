import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, cpSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { folder, said } from "./holdfast.ts";

const checkout = dirname(dirname(import.meta.dirname));

interface Demo {
  readonly child: ChildProcess;
  /** Where it makes its own folder. */
  readonly temporary: string;
  readonly ended: Promise<{ status: number | null; signal: NodeJS.Signals | null; said: string; errors: string }>;
}

function start(t: ExecutionContext, root: string = checkout): Demo {
  const temporary = folder(t);
  // Started by root, sandboxes run as somebody else, who has to reach the workspace in it.
  chmodSync(temporary, 0o755);
  const child = spawn(join(root, "bin", "holdfast"), ["demo"], {
    env: { ...process.env, TMPDIR: temporary, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  let out = "";
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const ended = (async () => {
    const [status, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
    if (!t.passed) t.log(out + errors);
    return { status, signal, said: out, errors };
  })();
  return { child, temporary, ended };
}

/** A package of its own whose demo plays other tasks. */
function withTasks(t: ExecutionContext, change: (name: string, text: string) => string): string {
  const root = folder(t);
  chmodSync(root, 0o755);
  for (const name of ["bin", "dist", "demo"]) cpSync(join(checkout, name), join(root, name), { recursive: true });
  for (const name of ["package.json", "binding.gyp", "node_modules", "build", "native", "presets", "seccomp"]) {
    symlinkSync(join(checkout, name), join(root, name));
  }
  for (const name of readdirSync(join(root, "demo", "tasks"))) {
    const path = join(root, "demo", "tasks", name);
    writeFileSync(path, change(name, readFileSync(path, "utf8")));
  }
  return root;
}

/** Folders and processes of a demo. */
function left({ temporary }: Demo): string[] {
  const processes = readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(temporary);
    } catch {
      return false;
    }
  });
  return [...readdirSync(temporary), ...processes];
}

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

for (const [signal, expected] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const) {
  test.serial(`${signal} half-way through the demo ends all of it and leaves nothing`, async (t) => {
    const demo = start(t);
    await said(demo.child.stdout, /intruder +\d+ ms/);
    demo.child.kill(signal);
    const { status, said: shown, errors } = await demo.ended;
    t.is(status, expected, shown + errors);
    t.regex(shown, /ended before its end/);
    t.deepEqual(left(demo), []);
  });
}

test.serial("A reader of the demo that goes away ends it, and nothing is left", async (t) => {
  const demo = start(t);
  await said(demo.child.stdout, /^queue +pid/m);
  demo.child.stdout?.destroy();
  const { status, errors } = await demo.ended;
  t.is(status, 141, errors);
  t.is(errors, "");
  t.deepEqual(left(demo), []);
});

test.serial("A queue that does not start ends the demo in its own words", async (t) => {
  const demo = start(
    t,
    withTasks(t, (name, text) => (name === "1-build.yaml" ? `frob: 1\n${text}` : text)),
  );
  const { status, errors } = await demo.ended;
  t.is(status, 125);
  t.regex(errors, /1-build\.yaml:1:1: the task: unknown word "frob"/);
  t.regex(errors, /the queue did not start/);
  t.notRegex(errors, /^\s+at /m);
  t.deepEqual(left(demo), []);
});

test.serial("A queue that goes away half-way ends the demo, and nothing is left", async (t) => {
  const demo = start(t);
  const [, pid = ""] = await said(demo.child.stdout, /^queue +pid (\d+)/m);
  process.kill(Number(pid), "SIGKILL");
  const { status, errors } = await demo.ended;
  t.is(status, 125);
  t.regex(errors, /ERR_HOLDFAST_QUEUE_UNREACHABLE/);
  t.notRegex(errors, /^\s+at /m);
  t.deepEqual(left(demo), []);
});
