import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import test from "ava";
import { protectedNameList } from "../../lib/policy/protected-names.ts";
import { type ApplyResult, applyChanges } from "../../lib/sandbox/apply.ts";
import { type ChangeSet, listChanges, listChangesBetween } from "../../lib/sandbox/changes.ts";
import { displayPath } from "../../lib/sandbox/display-path.ts";
import { isRoot, makeFiles, scratchFolder, sessionOver, snapshot } from "./session.ts";

const options = { protectedNames: protectedNameList };

function refusals({ refused }: ApplyResult): string[] {
  return refused.map(({ change, reason }) => `${displayPath(change.path)}: ${reason}`);
}

function failures({ errors }: ApplyResult): string[] {
  return errors.map(({ change, error }) => `${displayPath(change.path)}: ${error.errno}`);
}

/** Changes of a made-up session: an upper folder over a lower one, both written by the test. */
async function madeUp(
  folder: string,
  lower: Record<string, string>,
  upper: Record<string, string>,
): Promise<{ real: string; upper: string; list: () => Promise<ChangeSet> }> {
  const real = makeFiles(join(folder, "real"), { "./": "", ...lower });
  const layer = makeFiles(join(folder, "upper"), { "./": "", ...upper });
  return { real, upper: layer, list: () => listChanges(real, layer) };
}

test("After applying, the real folder is what the session saw", async (t) => {
  const { sandbox, workspace } = await sessionOver(
    t,
    {
      "README.md": "hello\n",
      "src/one.c": "int one;\n",
      "src/two.c": "int two;\n",
      "old/b/c.txt": "c\n",
      "becomes-folder": "file\n",
      "becomes-file/inner.txt": "x\n",
      "kept.txt": "kept\n",
      ".git/HEAD": "ref: refs/heads/main\n",
    },
    `echo more >> README.md; echo new > src/three.c; rm src/two.c; rm -r old; chmod 755 src/one.c
     mkdir -p made/empty; ln -s ../README.md made/link; ln -s /etc/shadow made/absolute
     mkdir closed; echo x > closed/f; chmod 555 closed
     rm becomes-folder; mkdir becomes-folder; echo in > becomes-folder/file
     rm -r becomes-file; echo now > becomes-file
     echo obj > .git/object; echo x > $'new\\nline\\xff'
     ln README.md hard; mkfifo pipe; rm pipe`,
  );
  const set = await sandbox.changes();
  const { refused, errors, applied } = await applyChanges(set, options);
  t.deepEqual([refused, errors], [[], []]);
  t.is(applied.length, set.changes.length);
  chmodSync(join(workspace, "closed"), 0o755); // so that the test's folder can be removed
  t.deepEqual(snapshot(workspace), {
    ".git": "755 /",
    ".git/HEAD": "644 ref: refs/heads/main\n",
    ".git/object": "644 obj\n",
    "README.md": "644 hello\nmore\n",
    "becomes-file": "644 now\n",
    "becomes-folder": "755 /",
    "becomes-folder/file": "644 in\n",
    closed: "755 /",
    "closed/f": "644 x\n",
    hard: "644 hello\nmore\n",
    "kept.txt": "644 kept\n",
    made: "755 /",
    "made/absolute": "-> /etc/shadow",
    "made/empty": "755 /",
    "made/link": "-> ../README.md",
    '"new\\nline\\377"': "644 x\n",
    src: "755 /",
    "src/one.c": "755 int one;\n",
    "src/three.c": "644 new\n",
  });
  t.deepEqual((await listChangesBetween(workspace, workspace)).changes, []);
});

test("Protected names are not applied, in any folder and however they are made, and are named", async (t) => {
  const { sandbox, workspace } = await sessionOver(
    t,
    { ".git/HEAD": "x\n", "lib/.git/HEAD": "x\n" },
    `mkdir -p .git/hooks .vscode deep/down/.vscode lib/.git/hooks .git/modules/sub/hooks
     echo evil > .git/hooks/pre-commit; echo evil > .git/config; echo evil > .vscode/tasks.json
     echo evil > deep/down/.vscode/tasks.json; echo evil > lib/.git/hooks/post-checkout; echo evil > .envrc
     echo evil > .git/modules/sub/hooks/post-checkout
     mkdir elsewhere; ln -s elsewhere other.git; mkdir worktree; echo 'gitdir: ../elsewhere' > worktree/.git
     mkdir cfg; ln -s elsewhere cfg/.config; mkdir -p upper/.GIT/hooks; echo evil > upper/.GIT/hooks/pre-push
     echo fine > fine`,
  );
  const result = await applyChanges(await sandbox.changes(), options);
  t.deepEqual(refusals(result), [
    ".envrc: protected",
    ".git/config: protected",
    ".git/hooks/pre-commit: protected",
    ".git/modules/sub/hooks/post-checkout: protected",
    ".vscode: protected",
    ".vscode/tasks.json: protected",
    "cfg/.config: protected",
    "deep/down/.vscode: protected",
    "deep/down/.vscode/tasks.json: protected",
    "lib/.git/hooks/post-checkout: protected",
    "upper/.GIT/hooks/pre-push: protected",
    "worktree/.git: protected",
  ]);
  t.deepEqual(failures(result), []);
  t.is(readFileSync(join(workspace, "fine"), "utf8"), "fine\n");
  t.deepEqual(
    Object.entries(snapshot(workspace)).filter(([, content]) => content.includes("evil")),
    [],
  );
});

test("A new repository comes over as git makes it, and no further", async (t) => {
  const plain =
    '[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n[remote "origin"]\n\turl = https://x/y.git\n';
  const folder = scratchFolder(t);
  const { real, list } = await madeUp(
    folder,
    {},
    {
      "one/.git/HEAD": "ref: refs/heads/main\n",
      "one/.git/config": plain,
      "one/.git/hooks/pre-commit.sample": "#!/bin/sh\n",
      "two/.git/config": `${plain}[core] fsmonitor = /tmp/evil\n`,
      "three/.git/config": `${plain}[pager]\n\tlog = /tmp/evil\n`,
      "two/.git/hooks/pre-commit": "#!/bin/sh\n",
    },
  );
  const result = await applyChanges(await list(), options);
  t.deepEqual(refusals(result), [
    "three/.git/config: protected",
    "two/.git/config: protected",
    "two/.git/hooks/pre-commit: protected",
  ]);
  t.is(readFileSync(join(real, "one/.git/config"), "utf8"), plain);
  t.true(existsSync(join(real, "one/.git/hooks/pre-commit.sample")));
});

test("A folder is not removed while something protected in it stays", async (t) => {
  const folder = scratchFolder(t);
  const real = makeFiles(join(folder, "real"), {
    "sub/.git/config": "mine\n",
    "sub/.git/HEAD": "x\n",
    "sub/code": "x\n",
  });
  const copy = makeFiles(join(folder, "copy"), { "./": "" });
  const result = await applyChanges(await listChangesBetween(real, copy), options);
  t.deepEqual(refusals(result), ["sub/.git/config: protected", "sub/.git: not-empty", "sub: not-empty"]);
  t.deepEqual(Object.keys(snapshot(real)), ["sub", "sub/.git", "sub/.git/config"]);
});

test("Devices, fifos and sockets are not applied", async (t) => {
  const { sandbox, workspace } = await sessionOver(
    t,
    {},
    `mkfifo pipe; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("sock")' || true; echo x > file`,
  );
  const result = await applyChanges(await sandbox.changes(), options);
  t.true(refusals(result).includes("pipe: special"));
  t.true(refusals(result).every((line) => line.endsWith(": special")));
  t.deepEqual(Object.keys(snapshot(workspace)), ["file"]);
});

test("Set-id bits are dropped from files and kept on folders that had them", async (t) => {
  const { real, upper, list } = await madeUp(scratchFolder(t), { "shared/a": "1" }, { "shared/b": "2", tool: "x" });
  chmodSync(join(real, "shared"), 0o2775);
  chmodSync(join(upper, "shared"), 0o700);
  chmodSync(join(upper, "tool"), 0o6755);
  const result = await applyChanges(await list(), options);
  t.deepEqual([failures(result), refusals(result)], [[], []]);
  t.is(statSync(join(real, "tool")).mode & 0o7777, 0o755);
  t.is(statSync(join(real, "shared")).mode & 0o7777, 0o2700);
});

test("A link that takes a folder's place before applying is not followed", async (t) => {
  const folder = scratchFolder(t);
  const outside = makeFiles(join(folder, "outside"), { kept: "kept\n" });
  const { real, list } = await madeUp(folder, { "d/x": "1\n", "e/y": "1\n" }, { "d/x": "2\n", "d/new": "n\n" });
  const set = await list();
  renameSync(join(real, "d"), join(real, "d-before"));
  symlinkSync(outside, join(real, "d"));
  const result = await applyChanges(set, options);
  t.deepEqual(result.applied, []);
  t.is(result.errors.length, 2);
  t.true(
    result.errors.every(
      ({ error }) => error.code === "ERR_HOLDFAST_APPLY" && /links are not followed/.test(error.hint),
    ),
  );
  t.deepEqual(snapshot(outside), { kept: "644 kept\n" });
});

test("A link in the place of a file is replaced, never written through", async (t) => {
  const folder = scratchFolder(t);
  const outside = makeFiles(join(folder, "outside"), { target: "kept\n" });
  const real = makeFiles(join(folder, "real"), { "./": "" });
  symlinkSync(join(outside, "target"), join(real, "x"));
  const upper = makeFiles(join(folder, "upper"), { x: "new\n" });
  const result = await applyChanges(await listChanges(real, upper), options);
  t.deepEqual([failures(result), refusals(result)], [[], []]);
  t.is(readFileSync(join(outside, "target"), "utf8"), "kept\n");
  t.true(lstatSync(join(real, "x")).isFile());
});

test("What was changed outside since the list was made is left alone, unless asked for", async (t) => {
  const folder = scratchFolder(t);
  const { real, list } = await madeUp(folder, { a: "1\n", gone: "1\n" }, { a: "2\n", b: "2\n", gone: "2\n" });
  const set = await list();
  writeFileSync(join(real, "a"), "mine\n");
  writeFileSync(join(real, "b"), "mine\n");
  rmSync(join(real, "gone"));
  const first = await applyChanges(set, options);
  t.deepEqual(refusals(first), ["a: conflict", "b: conflict", "gone: conflict"]);
  t.is(readFileSync(join(real, "a"), "utf8"), "mine\n");
  const second = await applyChanges(set, { ...options, overConflicts: true });
  t.deepEqual([refusals(second), failures(second)], [[], []]);
  t.deepEqual(snapshot(real), { a: "644 2\n", b: "644 2\n", gone: "644 2\n" });
});

test("A file that fails is left as it was, the others are applied, and nothing temporary stays", async (t) => {
  const { real, list } = await madeUp(scratchFolder(t), { "d/": "", a: "1\n" }, { a: "2\n", b: "2\n", z: "2\n" });
  const set = await list();
  // A folder in the place of b: its rename cannot succeed.
  mkdirSync(join(real, "b"));
  writeFileSync(join(real, "b", "mine"), "mine\n");
  const result = await applyChanges(set, { ...options, overConflicts: true });
  t.deepEqual(failures(result), ["b: ENOTEMPTY"]);
  t.deepEqual(snapshot(real), { a: "644 2\n", b: "755 /", "b/mine": "644 mine\n", d: "755 /", z: "644 2\n" });
});

test("A hard link of a replaced file keeps the old content, and times come over", async (t) => {
  const { real, upper, list } = await madeUp(scratchFolder(t), { a: "1\n" }, { a: "2\n" });
  linkSync(join(real, "a"), join(real, "other"));
  utimesSync(join(upper, "a"), 1_000_000, 1_000_000);
  await applyChanges(await list(), options);
  t.is(readFileSync(join(real, "other"), "utf8"), "1\n");
  t.is(statSync(join(real, "a")).mtimeMs, 1_000_000_000);
});

test("A folder that the session opened to write is filled by an ordinary user too", async (t) => {
  const { real, upper, list } = await madeUp(scratchFolder(t), { "d/a": "1\n" }, { "d/b": "2\n" });
  chmodSync(join(real, "d"), 0o555);
  chmodSync(join(upper, "d"), 0o755);
  const result = await applyChanges(await list(), options);
  t.deepEqual([failures(result), refusals(result)], [[], []]);
  t.deepEqual(snapshot(real), { d: "755 /", "d/a": "644 1\n", "d/b": "644 2\n" });
});

test("Under root new files belong to the workspace's owner, and changed ones to whom they belonged", async (t) => {
  if (!isRoot) {
    t.log("skipped: not root");
    t.pass();
    return;
  }
  const folder = scratchFolder(t);
  const workspace = makeFiles(join(folder, "project"), { mine: "1\n", "roots.txt": "1\n" });
  for (const path of ["", "mine"]) chownSync(join(workspace, path), 4321, 4322);
  const script = "echo 2 > mine; echo 2 > new; mkdir d; ln -s x d/l; rm roots.txt; echo 2 > roots.txt";
  const { sandbox } = await sessionOver(t, {}, script, { workdir: workspace });
  const result = await sandbox.apply();
  t.deepEqual([failures(result), refusals(result)], [[], []]);
  t.deepEqual(owners(workspace, ["mine", "new", "d", "d/l", "roots.txt"]), [
    "mine 4321:4322",
    "new 4321:4322",
    "d 4321:4322",
    "d/l 4321:4322",
    "roots.txt 0:0",
  ]);
});

test("Under root a set-group-id folder gives its group to what is made in it", async (t) => {
  if (!isRoot) {
    t.log("skipped: not root");
    t.pass();
    return;
  }
  const { real, list } = await madeUp(scratchFolder(t), { "team/": "" }, { "team/file": "1\n", "team/sub/": "" });
  chownSync(join(real, "team"), 4321, 4999);
  chmodSync(join(real, "team"), 0o2775);
  const result = await applyChanges(await list(), { ...options, owner: { uid: 4321, gid: 4322 } });
  t.deepEqual([failures(result), refusals(result)], [[], []]);
  t.deepEqual(owners(real, ["team/file", "team/sub"]), ["team/file 4321:4999", "team/sub 4321:4999"]);
  t.is(statSync(join(real, "team/sub")).mode & 0o7000, 0o2000);
});

function owners(folder: string, names: readonly string[]): string[] {
  return names.map((name) => {
    const { uid, gid } = lstatSync(join(folder, name));
    return `${name} ${uid}:${gid}`;
  });
}

test("Changes without a real folder need to be told one", async (t) => {
  const folder = scratchFolder(t);
  const upper = makeFiles(join(folder, "upper"), { a: "1\n" });
  const to = makeFiles(join(folder, "to"), { "./": "" });
  const set = await listChanges(null, upper);
  await t.throwsAsync(applyChanges(set, options), { code: "ERR_HOLDFAST_APPLY" });
  await applyChanges(set, { ...options, to });
  t.deepEqual(snapshot(to), { a: "644 1\n" });
});
