// The command in the mode without namespaces: of the other files of this folder, what another part of it does there.
import { chmodSync, chownSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { thisHost } from "../../lib/sandbox/sandbox.ts";
import { folder, holdfast, type RunResult, run } from "./holdfast.ts";
import { hasTerminal, Terminal } from "./pty.ts";

const { landlockAbi } = thisHost();

/** Null where the kernel has no such mode. */
function workdir(t: ExecutionContext): string | null {
  if (landlockAbi < 6) {
    t.log(`skipped: this kernel's Landlock has ABI ${landlockAbi}, the mode needs 6`);
    t.pass();
    return null;
  }
  const path = folder(t);
  // Root's sandbox is the folder's owner there.
  if (process.geteuid?.() === 0) chownSync(path, 65_533, 65_533);
  return path;
}

function shell(
  t: ExecutionContext,
  script: string,
  cwd: string,
  options: readonly string[] = [],
  input?: string,
): Promise<RunResult> {
  const args = ["--mode", "landlock", "--status-fd", "3", ...options, "--", "bash", "-c", script];
  return run(t, args, { cwd, input });
}

test("The mode is said, bytes and statuses pass, and a connection that is refused is named", async (t) => {
  const cwd = workdir(t);
  if (cwd === null) return;
  const ran = await shell(t, "cat; exec 3<>/dev/tcp/192.0.2.7/443 || exit 42", cwd, [], "in\n");
  t.is(ran.status, 42);
  t.is(ran.stdout.toString(), "in\n");
  t.is(ran.lines[0]?.["mode"], "landlock");
  t.regex(ran.stderr, /^holdfast: refused a connection to 192\.0\.2\.7:443; --allow 192\.0\.2\.7:443$/m);
});

test("A refused file is named with the flag that grants it, to be read and to be written", async (t) => {
  const cwd = workdir(t);
  if (cwd === null) return;
  const other = folder(t);
  chmodSync(other, 0o755);
  const file = join(other, "data");
  writeFileSync(file, "content");
  chmodSync(file, 0o666);
  const refused = await shell(t, `cat ${file}; echo more >> ${file}`, cwd, ["--trace-denials"]);
  t.true(refused.stderr.includes(`refused ${file}; --read ${file}\n`), refused.stderr);
  t.true(refused.stderr.includes(`${file}; --write ${file}\n`), refused.stderr);
  const granted = await shell(t, `cat ${file} && echo more >> ${file}`, cwd, ["--trace-denials", "--write", file]);
  t.is(granted.status, 0, granted.stderr);
  t.is(readFileSync(file, "utf8"), "contentmore\n");
});

test("A limit that is reached ends what left the call's session as well, and is named", async (t) => {
  const cwd = workdir(t);
  if (cwd === null) return;
  const script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do setsid sleep 60 & done; wait";
  const { status, stderr } = await shell(t, script, cwd, ["--limit", "processes=8"]);
  t.is(status, 137, stderr);
  t.regex(stderr, /^holdfast: the limit processes was reached/m);
});

test("With --overlay what would change is shown, and the folder is as it was", async (t) => {
  const cwd = workdir(t);
  if (cwd === null) return;
  writeFileSync(join(cwd, "notes"), "one\n");
  chmodSync(join(cwd, "notes"), 0o666);
  const { status, stderr } = await shell(t, "echo two >> notes; echo new > made", cwd, ["--overlay"]);
  t.is(status, 0, stderr);
  t.is(readFileSync(join(cwd, "notes"), "utf8"), "one\n");
  for (const line of ["M notes", "A made"]) t.true(stderr.includes(`${line}\n`), stderr);
});

test("A terminal is one inside, of the outer one's size, and what is typed reaches the command", async (t) => {
  const cwd = workdir(t);
  if (cwd === null || !hasTerminal(t)) return;
  const script = "test -t 0 && test -t 1 && test -t 2 && stty size && read -r word && echo heard $word";
  const command = [holdfast, "run", "--mode", "landlock", "--quiet", "--", "bash", "-c", script];
  const terminal = new Terminal(t, command, { cwd, rows: 31, columns: 97 });
  await terminal.until(/31 97\r\n/);
  terminal.type("word\r");
  await terminal.until(/heard word\r\n/);
  t.is(await terminal.ended, 0);
});
