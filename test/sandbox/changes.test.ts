import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import test from "ava";
import { native } from "../../lib/native.ts";
import { collectChanges, listChanges, listChangesBetween } from "../../lib/sandbox/changes.ts";
import { isRoot, listed, makeFiles, scratchFolder, sessionOver } from "./session.ts";

const project = {
  "README.md": "hello\n",
  "src/one.c": "int one;\n",
  "src/two.c": "int two;\n",
  "old/a.txt": "a\n",
  "old/b/c.txt": "c\n",
  "same.txt": "same\n",
  "becomes-folder": "file\n",
  "becomes-file/inner.txt": "x\n",
};

test("Everything that a session did to a workspace is listed, and nothing else", async (t) => {
  const { sandbox, workspace } = await sessionOver(
    t,
    project,
    `echo more >> README.md
     echo new > src/three.c
     mkdir -p made/empty; ln -s ../README.md made/link
     rm src/two.c; rm -r old
     chmod 755 src/one.c
     touch same.txt; cat same.txt > /tmp/x; cat /tmp/x > same.txt
     rm becomes-folder; mkdir becomes-folder; echo in > becomes-folder/file
     rm -r becomes-file; echo now > becomes-file`,
  );
  const set = await sandbox.changes();
  t.deepEqual(listed(set), [
    "modified README.md",
    "type-changed becomes-file",
    "deleted becomes-file/inner.txt",
    "type-changed becomes-folder",
    "added becomes-folder/file",
    "added made",
    "added made/empty",
    "added made/link",
    "deleted old",
    "deleted old/a.txt",
    "deleted old/b",
    "deleted old/b/c.txt",
    "mode-changed src/one.c",
    "added src/three.c",
    "deleted src/two.c",
  ]);
  t.deepEqual(set.problems, []);
  t.is(set.changes.find(({ path }) => path.toString() === "made/link")?.after?.type, "link");
  t.true(existsSync(join(workspace, "old/b/c.txt")), "the real folder is as it was");
});

test("A folder that was removed and made again hides what was in it", async (t) => {
  const { sandbox } = await sessionOver(t, project, "rm -r old; mkdir old; echo a > old/a.txt; echo n > old/new");
  t.deepEqual(listed(await sandbox.changes()), ["deleted old/b", "deleted old/b/c.txt", "added old/new"]);
});

test("A folder that was renamed is listed as what went and what came", async (t) => {
  const { sandbox } = await sessionOver(t, { "a/x": "1\n", "a/y": "2\n" }, "mv a b");
  t.deepEqual(listed(await sandbox.changes()), [
    "deleted a",
    "deleted a/x",
    "deleted a/y",
    "added b",
    "added b/x",
    "added b/y",
  ]);
});

test("Names with line feeds, control characters and bytes that are no UTF-8 are kept byte by byte", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    {},
    `echo x > $'two\\nlines'; echo x > $'b\\xff\\xfe'; echo x > $'esc\\e[31m'; echo x > grün`,
  );
  const set = await sandbox.changes();
  t.deepEqual(
    set.changes.map(({ path }) => path.toString("latin1")),
    ["b\xff\xfe", "esc\x1b[31m", Buffer.from("grün").toString("latin1"), "two\nlines"],
  );
  t.deepEqual(listed(set), ['added "b\\377\\376"', 'added "esc\\033[31m"', "added grün", 'added "two\\nlines"']);
});

test("A whiteout may be an attribute, and an opaque folder is told from one that only holds such whiteouts", async (t) => {
  const folder = scratchFolder(t);
  const lower = makeFiles(join(folder, "lower"), { a: "1", b: "2", "d/x": "3", "e/x": "4" });
  const upper = makeFiles(join(folder, "upper"), { b: "", "d/": "", "e/": "" });
  if (native().setXattr(join(upper, "b"), "user.overlay.whiteout", Buffer.from("y")) !== 0) {
    t.log("skipped: this file system keeps no user attributes");
    t.pass();
    return;
  }
  native().setXattr(join(upper, "d"), "user.overlay.opaque", Buffer.from("y"));
  native().setXattr(join(upper, "e"), "user.overlay.opaque", Buffer.from("x"));
  t.deepEqual(listed(await listChanges(lower, upper)), ["deleted b", "deleted d/x"]);
  // In a copy the same attribute, which the session could set there, means nothing.
  t.false(listed(await listChangesBetween(lower, upper)).includes("deleted b"));
});

test("What an overlay keeps in a form that is not understood is named, and not listed as a change", async (t) => {
  const folder = scratchFolder(t);
  const lower = makeFiles(join(folder, "lower"), { "secret/x": "1" });
  const upper = makeFiles(join(folder, "upper"), { "moved/": "", thin: "" });
  if (native().setXattr(join(upper, "moved"), "user.overlay.redirect", Buffer.alloc(300, "/secret")) !== 0) {
    t.log("skipped: this file system keeps no user attributes");
    t.pass();
    return;
  }
  native().setXattr(join(upper, "thin"), "user.overlay.metacopy", Buffer.alloc(0));
  const set = await listChanges(lower, upper);
  t.deepEqual(listed(set), []);
  t.deepEqual(
    set.problems.map(({ path }) => path.toString()),
    ["moved", "thin"],
  );
});

test("No link is followed, in the real folder or in the session's", async (t) => {
  const folder = scratchFolder(t);
  const outside = makeFiles(join(folder, "outside"), { file: "outside\n" });
  const lower = makeFiles(join(folder, "lower"), { "d/file": "outside\n" });
  const upper = makeFiles(join(folder, "upper"), { "e/file": "changed\n" });
  symlinkSync(outside, join(upper, "d"));
  symlinkSync(outside, join(lower, "e"));
  t.deepEqual(listed(await listChanges(lower, upper)), [
    "type-changed d",
    "deleted d/file",
    "type-changed e",
    "added e/file",
  ]);
});

test("What the session made unreadable is read all the same, and has its mode back afterwards", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    { "a/b": "1\n" },
    "echo 2 > a/b; chmod 0 a/b; mkdir c; echo 3 > c/d; chmod 0 c/d c",
  );
  for (let round = 0; round < 2; round++) {
    const set = await sandbox.changes();
    t.deepEqual(listed(set), ["modified a/b", "added c", "added c/d"]);
    t.deepEqual(
      set.changes.map(({ after }) => after?.mode),
      [0, 0, 0],
    );
    t.deepEqual(set.problems, []);
  }
});

test("A workspace that the session shut as a whole is looked into all the same", async (t) => {
  const { sandbox, workspace } = await sessionOver(t, { "a/b": "1\n" }, "echo 2 > a/b; echo 3 > c; chmod 0 .");
  const set = await sandbox.changes();
  t.deepEqual(listed(set), ["modified a/b", "added c"]);
  await sandbox.apply(set);
  t.is(readFileSync(join(workspace, "c"), "utf8"), "3\n");
});

test("What changed outside while the session ran is marked as a conflict", async (t) => {
  const { sandbox, workspace } = await sessionOver(
    t,
    { a: "1\n", b: "1\n", "d/x": "1\n", "d/y": "1\n" },
    "echo 2 > a; echo 2 > b; rm -r d",
  );
  await delay(20); // the kernel's clock for file times ticks every few milliseconds
  writeFileSync(join(workspace, "a"), "mine\n");
  writeFileSync(join(workspace, "d/mine"), "mine\n");
  const set = await sandbox.changes();
  const conflicts = set.changes.filter(({ conflict }) => conflict).map(({ path }) => path.toString());
  t.deepEqual(conflicts, ["a", "d", "d/mine", "d/x", "d/y"]);
});

test("A workspace that began empty lists everything in it as added", async (t) => {
  const { sandbox } = await sessionOver(t, { "not-seen": "x" }, "test ! -e not-seen; mkdir d; echo 1 > d/f", {
    workspace: "fresh",
  });
  t.deepEqual(listed(await sandbox.changes()), ["added d", "added d/f"]);
});

test("A session that writes directly has no list", async (t) => {
  const { sandbox } = await sessionOver(t, {}, "true", { workspace: "direct" });
  await t.throwsAsync(sandbox.changes(), { code: "ERR_HOLDFAST_NO_PRIVATE_LAYER" });
});

test("Folders beyond the depth that is looked at are named", async (t) => {
  const { sandbox } = await sessionOver(t, {}, 'p=$(printf "d/%.0s" $(seq 300)); mkdir -p $p; echo x > $p/f');
  const set = await sandbox.changes();
  t.is(set.changes.length, 257);
  t.regex(set.problems[0]?.reason ?? "", /deep/);
});

test("More changes than can be held are refused with a sentence", async (t) => {
  const folder = scratchFolder(t);
  mkdirSync(join(folder, "upper"));
  writeFileSync(join(folder, "upper", "a"), "");
  writeFileSync(join(folder, "upper", "b"), "");
  const layers = { lower: null, upper: join(folder, "upper"), overlay: false };
  await t.throwsAsync(collectChanges(layers, 1), { code: "ERR_HOLDFAST_TREE_TOO_BIG", message: /more than 1 files/ });
});

test("What the caller may not read is named", async (t) => {
  if (isRoot) {
    t.log("skipped: root reads everything");
    t.pass();
    return;
  }
  const folder = scratchFolder(t);
  const lower = makeFiles(join(folder, "lower"), { "d/x": "1", f: "1" });
  const upper = makeFiles(join(folder, "upper"), { "d/x": "2", f: "2" });
  chmodSync(join(lower, "d"), 0);
  t.teardown(() => chmodSync(join(lower, "d"), 0o700));
  const set = await listChanges(lower, upper);
  t.deepEqual(listed(set), ["mode-changed d", "modified f"]);
  t.deepEqual(
    set.problems.map(({ path, reason }) => `${path}: ${reason}`),
    ["d: it cannot be read"],
  );
  t.is(lstatSync(join(lower, "d")).mode & 0o777, 0);
});
