import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import type { Explanation } from "../../lib/plan/explain.ts";
import { Sandbox, thisHost } from "../../lib/sandbox/sandbox.ts";

const command = join(import.meta.dirname, "../../lib/cli/main.ts");
const folder = mkdtempSync(join(tmpdir(), "holdfast-explain-"));
const work = join(folder, "work");
const state = join(folder, "state");
mkdirSync(join(work, ".git", "hooks"), { recursive: true });
mkdirSync(state);
test.after.always(() => rmSync(folder, { recursive: true, force: true }));

function explain(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  const { FORCE_COLOR: _, ...rest } = process.env;
  return spawnSync(process.execPath, [command, "policy", "explain", ...args], {
    cwd: work,
    encoding: "utf8",
    timeout: 60_000,
    env: { ...rest, XDG_STATE_HOME: state, XDG_RUNTIME_DIR: state, LANG: "xx_YY.secret" },
  });
}

test.serial("A preset is explained in the current folder, and nothing is started or made for it", (t) => {
  const { status, stdout, stderr } = explain("--preset", "agent");
  t.is(status, 0, stderr);
  t.regex(stdout, /^ {2}write {2}\S+\/work +the workspace, with writes kept in a private layer$/m);
  t.regex(stdout, /^ {2}read {3}\S+\/work\/\.git\/hooks +a protected name$/m);
  t.regex(stdout, /^ {2}passed on +.*\bLANG\b/m);
  t.false(stdout.includes("xx_YY.secret"));
  t.deepEqual(readdirSync(state), []);
});

test.serial("What is explained as JSON is what a sandbox then has", async (t) => {
  const { stdout } = explain("--json", "--workdir", work);
  const told = JSON.parse(stdout) as Explanation;
  const sandbox = await Sandbox.create({ workdir: work });
  t.teardown(() => sandbox.dispose());
  t.deepEqual(told.identity.hostUid, sandbox.plan.identity.hostUid);
  t.deepEqual(told.namespaces, sandbox.plan.namespaces);
  t.is(told.landlock.abi, thisHost().landlockAbi);
  t.deepEqual(
    told.walls.filter(({ status }) => status === "enforced"),
    sandbox.enforcement.filter(({ status }) => status === "enforced"),
  );
  const names = (await sandbox.exec("env", ["-0"])).stdout.toString().split("\0");
  t.deepEqual(
    told.environment.map(({ name }) => name),
    names
      .map((line) => line.replace(/=.*/s, ""))
      .filter((name) => name !== "" && name !== "FORCE_COLOR")
      .sort(),
  );
});

test.serial("A file says where it grants, and a wall that is required and missing is an error before anything", (t) => {
  const file = join(folder, "box.yaml");
  writeFileSync(
    file,
    "holdfast: 1\nfilesystem_policy:\n  read_only:\n    - /usr\nlandlock:\n  compatibility: best_effort\n",
  );
  const { stdout, status } = explain(file);
  t.is(status, 0);
  t.true(stdout.includes(`${file}:4`));
  t.regex(stdout, /^ {2}read {3}\/usr +/m);
});

test.serial("The filter is printed as a table, and as JSON", (t) => {
  const { stdout, status } = explain("--seccomp");
  t.is(status, 0);
  t.regex(stdout, /^ {2}setns +\d+ {2}notify /m);
  const rows = JSON.parse(explain("--seccomp", "--json").stdout) as { call: string; action: string }[];
  t.true(rows.length > 370 && rows.some(({ call, action }) => call === "setns" && action === "notify"));
});

test.serial("A folder that cannot be the workspace is an error with a hint", (t) => {
  const { status, stderr } = explain("--workdir", "/nonexistent");
  t.is(status, 125);
  t.regex(stderr, /\/nonexistent does not exist[\s\S]*--workdir/);
});
