import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { folder, shell } from "./holdfast.ts";

const script =
  "echo two >> notes.txt; echo new > 'with space'; rm old; mkdir -p .vscode; echo x > .vscode/tasks.json; mkfifo pipe";

function project(t: ExecutionContext): string {
  const cwd = folder(t);
  writeFileSync(join(cwd, "notes.txt"), "one\n");
  writeFileSync(join(cwd, "old"), "old\n");
  return cwd;
}

test("With --overlay what would change is shown, and the folder is as it was", async (t) => {
  const cwd = project(t);
  const { status, stderr } = await shell(t, script, { cwd }, ["--overlay"]);
  t.is(status, 0);
  t.is(readFileSync(join(cwd, "notes.txt"), "utf8"), "one\n");
  t.true(existsSync(join(cwd, "old")));
  for (const line of ["M notes.txt", "A with space", "D old", "A .vscode/tasks.json"])
    t.true(stderr.includes(`${line}\n`), line);
});

test("--apply carries the changes over but for protected names and what is no file, and names those", async (t) => {
  const cwd = project(t);
  const { status, stderr } = await shell(t, script, { cwd }, ["--overlay", "--apply"]);
  t.is(status, 0);
  t.is(readFileSync(join(cwd, "notes.txt"), "utf8"), "one\ntwo\n");
  t.is(readFileSync(join(cwd, "with space"), "utf8"), "new\n");
  for (const name of ["old", ".vscode", "pipe"]) t.false(existsSync(join(cwd, name)), name);
  t.regex(stderr, /kept back \.vscode\/tasks\.json: \.vscode is protected\n/);
  t.regex(stderr, /kept back pipe: a fifo is not applied\n/);
});

test("--diff writes a patch that git applies to the same effect", async (t) => {
  if (spawnSync("git", ["--version"]).error !== undefined) {
    t.log("skipped: no git");
    t.pass();
    return;
  }
  const cwd = project(t);
  const patch = join(folder(t), "changes.patch");
  await shell(t, script, { cwd }, ["--overlay", "--diff", patch, "--quiet"]);
  execFileSync("git", ["apply", "--exclude=.vscode/*", patch], {
    cwd,
    env: { ...process.env, GIT_DIR: "/nonexistent" },
  });
  t.is(readFileSync(join(cwd, "notes.txt"), "utf8"), "one\ntwo\n");
  t.is(readFileSync(join(cwd, "with space"), "utf8"), "new\n");
  t.false(existsSync(join(cwd, "old")));
});

test("Nothing is applied when the command fails", async (t) => {
  const cwd = project(t);
  mkdirSync(join(cwd, "d"));
  const { status, stderr } = await shell(t, "rm -r d; exit 3", { cwd }, ["--overlay", "--apply"]);
  t.is(status, 3);
  t.true(existsSync(join(cwd, "d")));
  t.regex(stderr, /nothing was applied/);
});

test("A patch that cannot be written is refused before the command starts", async (t) => {
  const cwd = project(t);
  for (const file of ["/no/such/folder/patch", cwd]) {
    const { status, stderr } = await shell(t, "touch /var/tmp/x; echo ran", { cwd }, ["--diff", file]);
    t.is(status, 125);
    t.regex(stderr, /^holdfast: the patch cannot be written to .*\n {2}Name with --diff a file/);
  }
});

test("A patch of before stays while there is none to take its place, and none is left where nothing ran", async (t) => {
  const cwd = project(t);
  const [old, made] = [join(folder(t), "old.patch"), join(folder(t), "new.patch")];
  writeFileSync(old, "from before\n");
  for (const patch of [old, made]) await shell(t, "true", { cwd }, ["--diff", patch, "--read", "/no/such/path"]);
  for (const patch of [old, made])
    await shell(t, "true", { cwd: folder(t) }, ["--diff", patch, "--workdir", "/no/such"]);
  t.is(readFileSync(old, "utf8"), "from before\n");
  t.false(existsSync(made));
  await shell(t, "echo two >> notes.txt", { cwd }, ["--diff", old]);
  t.true(readFileSync(old, "utf8").startsWith("diff --git a/notes.txt b/notes.txt\n"));
});
