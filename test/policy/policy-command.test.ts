import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";

interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `holdfast policy ARGS` in a process of its own, by the command's module alone. */
async function policy(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Finished> {
  const module = fileURLToPath(new URL("../../lib/cli/policy.ts", import.meta.url));
  const code = `const { policyCommand } = await import(${JSON.stringify(module)});
    await policyCommand().parseAsync(process.argv.slice(1), { from: "user" });`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", code, "--", ...args], {
    env: { PATH: process.env["PATH"], ...env },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject).on("close", resolve);
  });
  return { status, stdout, stderr };
}

const folder = mkdtempSync(join(tmpdir(), "holdfast-check-"));
test.after.always(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const good = file("good.yaml", "holdfast: 1\nfilesystem_policy: {read_only: [/no/such/path]}\n");
const warned = file("warned.yaml", "version: 1\n");
const bad = file("bad.yaml", "holdfast: 1\nlimts: {}\nrequires: [secomp]\n");

test("check accepts a policy without looking at the paths that it names", async (t) => {
  t.deepEqual(await policy(["check", good]), { status: 0, stdout: `${good}: ok\n`, stderr: "" });
});

test("check exits with 0 on warnings, and prints them", async (t) => {
  const { status, stdout, stderr } = await policy(["check", warned]);
  t.is(status, 0);
  t.is(stdout, `${warned}: ok, with 1 warning\n`);
  t.true(stderr.startsWith(`${warned}:1:1: warning: filesystem_policy is absent`));
});

test("check prints every problem of every file and exits with 125", async (t) => {
  const missing = join(folder, "missing.yaml");
  const { status, stdout, stderr } = await policy(["check", bad, missing, good]);
  t.is(status, 125);
  t.is(stdout, `${good}: ok\n`);
  const lines = stderr.trimEnd().split("\n");
  t.is(lines[0], `${bad}:2:1: error: unknown key "limts" (did you mean "limits"?)`);
  t.regex(lines[1] ?? "", /bad\.yaml:3:12: error: requires\[0\] must be .* \(did you mean "seccomp"\?\)$/);
  t.regex(lines[2] ?? "", /missing\.yaml:1:1: error: cannot read the policy .*: there is no such file/);
  t.is(lines.length, 3);
});

test("check --json gives one object a file", async (t) => {
  const { status, stdout, stderr } = await policy(["check", "--json", bad, good]);
  t.is(status, 125);
  t.is(stderr, "");
  const [first, second]: { file: string; ok: boolean; problems: { line: number; hint?: string }[] }[] = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  t.deepEqual([first?.file, first?.ok, first?.problems.length], [bad, false, 2]);
  t.deepEqual([first?.problems[0]?.line, first?.problems[0]?.hint], [2, 'did you mean "limits"?']);
  t.deepEqual([second?.file, second?.ok, second?.problems], [good, true, []]);
});

test("check colours its words only where that is wanted", async (t) => {
  const plain = await policy(["check", bad]);
  t.false(plain.stderr.includes("\u001b["));
  const coloured = await policy(["check", bad], { FORCE_COLOR: "1" });
  t.true(coloured.stderr.includes("\u001b[31merror:\u001b[39m"));
});

test("presets lists the four, each with a file that is a policy", async (t) => {
  const { status, stdout } = await policy(["presets", "--json"]);
  t.is(status, 0);
  const listed: { name: string; file: string }[] = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  t.deepEqual(
    listed.map((preset) => preset.name),
    ["default", "read-only", "build", "agent"],
  );
  const checked = await policy(["check", ...listed.map((preset) => preset.file)]);
  t.is(checked.status, 0, checked.stderr);
});
