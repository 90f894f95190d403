import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, cpSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { type ChangeSet, listChangesBetween } from "../../lib/sandbox/changes.ts";
import { renderDiff } from "../../lib/sandbox/render-diff.ts";
import { makeFiles, scratchFolder, sessionOver, snapshot } from "./session.ts";

async function diffOf(set: ChangeSet): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of renderDiff(set)) pieces.push(piece);
  return Buffer.concat(pieces);
}

function has(program: string): boolean {
  return spawnSync(program, ["--version"]).error === undefined;
}

const lines = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_, i) => `line ${from + i}\n`).join("");

/** Two trees that differ in everything that a patch can hold. */
function twoTrees(t: ExecutionContext): { before: string; after: string } {
  const folder = scratchFolder(t);
  const before = makeFiles(join(folder, "before"), {
    "long.txt": lines(0, 100),
    "no-end.txt": "a\nb",
    "gone/deep.txt": "x\ny\n",
    "empty-gone": "",
    "mode.sh": "echo\n",
    "with space.txt": "one\n",
    "latin.txt": Buffer.from("gr\xfcn\n", "latin1"),
    "grün.txt": "one\n",
    "was-file": "content\n",
    "changed.bin": Buffer.from([1, 0, 2]),
    "gone.bin": randomBytes(1000),
    "mode.bin": Buffer.alloc(3),
  });
  symlinkSync("long.txt", join(before, "link"));
  const after = makeFiles(join(folder, "after"), {
    "long.txt": `first\n${lines(0, 20)}changed\n${lines(21, 60)}${lines(62, 100)}last`,
    "no-end.txt": "a\nb\n",
    "new/file.txt": "new\n",
    "new/empty": "",
    "mode.sh": "echo\n",
    "with space.txt": "two\n",
    "new with space.txt": "new\n",
    "latin.txt": Buffer.from("gr\xfcner\n", "latin1"),
    "grün.txt": "two\n",
    'quo"te\\.txt': "x\n",
    "changed.bin": Buffer.concat([Buffer.alloc(9), randomBytes(100_000)]),
    "new.bin": Buffer.alloc(300),
    "mode.bin": Buffer.alloc(3),
  });
  chmodSync(join(after, "mode.bin"), 0o755);
  chmodSync(join(after, "mode.sh"), 0o755);
  symlinkSync("new/file.txt", join(after, "link"));
  symlinkSync("long.txt", join(after, "was-file"));
  return { before, after };
}

function withoutFolders(folder: string): Record<string, string> {
  return Object.fromEntries(Object.entries(snapshot(folder)).filter(([, content]) => !content.endsWith(" /")));
}

function apply(folder: string, patch: Buffer, options: readonly string[] = []): void {
  const env = { ...process.env, GIT_DIR: "/nonexistent" };
  execFileSync("git", ["apply", "-p1", ...options, "-"], { cwd: folder, input: patch, env });
}

test("git applies the patch and has the session's files", async (t) => {
  if (!has("git")) {
    t.log("skipped: no git");
    t.pass();
    return;
  }
  const { before, after } = twoTrees(t);
  const patch = await diffOf(await listChangesBetween(before, after));
  const wasBefore = withoutFolders(before);
  apply(before, patch);
  t.deepEqual(withoutFolders(before), withoutFolders(after));
  apply(before, patch, ["--reverse"]);
  t.deepEqual(withoutFolders(before), wasBefore);
});

test("patch applies it as well", async (t) => {
  if (!has("patch")) {
    t.log("skipped: no patch");
    t.pass();
    return;
  }
  const { before, after } = twoTrees(t);
  // patch(1) makes no links where it cannot and knows no binary files: these are git's alone.
  for (const folder of [before, after])
    for (const name of ["link", "was-file", "changed.bin", "gone.bin", "new.bin", "mode.bin"])
      rmSync(join(folder, name), { force: true });
  const patch = await diffOf(await listChangesBetween(before, after));
  execFileSync("patch", ["-p1", "--no-backup-if-mismatch", "--force"], { cwd: before, input: patch });
  t.deepEqual(withoutFolders(before), withoutFolders(after));
});

test("The text is what git would have written", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    { "src/a.txt": lines(0, 12), "gone.txt": "x\n", "tool.sh": "echo\n" },
    `sed -i 's/line 5$/changed/' src/a.txt; rm gone.txt; printf new > added.txt; chmod 755 tool.sh; ln -s a.txt src/link`,
  );
  t.is(
    (await diffOf(await sandbox.changes())).toString(),
    `diff --git a/added.txt b/added.txt
new file mode 100644
--- /dev/null
+++ b/added.txt
@@ -0,0 +1 @@
+new
\\ No newline at end of file
diff --git a/gone.txt b/gone.txt
deleted file mode 100644
--- a/gone.txt
+++ /dev/null
@@ -1 +0,0 @@
-x
diff --git a/src/a.txt b/src/a.txt
--- a/src/a.txt
+++ b/src/a.txt
@@ -3,7 +3,7 @@
 line 2
 line 3
 line 4
-line 5
+changed
 line 6
 line 7
 line 8
diff --git a/src/link b/src/link
new file mode 120000
--- /dev/null
+++ b/src/link
@@ -0,0 +1 @@
+a.txt
\\ No newline at end of file
diff --git a/tool.sh b/tool.sh
old mode 100644
new mode 100755
`,
  );
});

test("A very big file is named, and git applies the rest all the same", async (t) => {
  const folder = scratchFolder(t);
  const before = makeFiles(join(folder, "before"), { a: "x\n", "big.txt": "x\n", z: "x\n" });
  const after = makeFiles(join(folder, "after"), {
    a: "y\n",
    "big.txt": Buffer.alloc(17 * 1024 * 1024, "x\n"),
    z: "x\n",
  });
  chmodSync(join(after, "z"), 0o755);
  const patch = await diffOf(await listChangesBetween(before, after));
  t.regex(patch.toString(), /^# b\/big\.txt has more than 16777216 bytes: it is not in this patch$/m);
  if (has("git")) {
    apply(before, patch);
    t.deepEqual(withoutFolders(before), { a: "644 y\n", "big.txt": "644 x\n", z: "755 x\n" });
  }
});

test("A name with a line feed cannot forge a line of the patch", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    {},
    `mkdir $'x\\n--- a'; echo evil > $'x\\n--- a/etc'; echo x > $'tab\\there\\xff'`,
  );
  const patch = (await diffOf(await sandbox.changes())).toString();
  t.true(patch.includes('+++ "b/x\\n--- a/etc"\n'));
  t.true(patch.includes('+++ "b/tab\\there\\377"\n'));
  t.false(/^--- a\/etc/m.test(patch));
});

test("A link is shown, never what it leads to", async (t) => {
  const folder = scratchFolder(t);
  const secret = makeFiles(join(folder, "secret"), { key: "the secret\n" });
  const before = makeFiles(join(folder, "before"), { "./": "" });
  const after = makeFiles(join(folder, "after"), { "./": "" });
  symlinkSync(join(secret, "key"), join(after, "stolen"));
  symlinkSync(secret, join(after, "folder"));
  const set = await listChangesBetween(before, after);
  const patch = (await diffOf(set)).toString();
  t.false(patch.includes("the secret"));
  t.true(patch.includes(`+${join(secret, "key")}\n`));
  // Nor when it was put in the place of a file after the list was made.
  const other = makeFiles(join(folder, "other"), { file: "x\n" });
  const listed = await listChangesBetween(before, other);
  rmSync(join(other, "file"));
  symlinkSync(join(secret, "key"), join(other, "file"));
  t.false((await diffOf(listed)).toString().includes("the secret"));
  cpSync(other, join(folder, "kept"), { recursive: true, verbatimSymlinks: true });
  t.is(readFileSync(join(secret, "key"), "utf8"), "the secret\n");
});
