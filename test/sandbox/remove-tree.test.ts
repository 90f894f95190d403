import { chmodSync, existsSync, mkdirSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { removeTree } from "../../lib/sandbox/remove-tree.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { makeFiles, runInside, scratchFolder, snapshot } from "./session.ts";

test("A tree goes whatever its modes are, and links in it are not followed", (t) => {
  const folder = scratchFolder(t);
  const tree = makeFiles(join(folder, "tree"), { "a/b/c": "1", "d/e/": "" });
  const outside = makeFiles(join(folder, "outside"), { kept: "kept" });
  symlinkSync(outside, join(tree, "a/link"));
  for (const name of ["a/b", "a", "d/e", "d"]) chmodSync(join(tree, name), 0);
  removeTree(tree);
  t.false(existsSync(tree));
  t.deepEqual(snapshot(outside), { kept: "644 kept" });
  removeTree(tree);
});

test("A tree goes however deep it is", (t) => {
  const folder = scratchFolder(t);
  const tree = join(folder, "tree");
  // From the inside out: no path of this length could be named.
  mkdirSync(tree);
  for (let depth = 0; depth < 3_000; depth++) {
    mkdirSync(join(folder, "next"));
    renameSync(tree, join(folder, "next", "d"));
    renameSync(join(folder, "next"), tree);
  }
  removeTree(tree);
  t.false(existsSync(tree));
});

test("A session cannot keep its private folder from being removed", async (t) => {
  const workspace = makeFiles(join(scratchFolder(t), "project"), { "a/b": "x" });
  const sandbox = await Sandbox.create({ workdir: workspace, workspace: "overlay" });
  const { privateFolder } = sandbox.workspace;
  await runInside(
    sandbox,
    `rm -r a; mkdir -p a/c; echo x > a/c/f; chmod 0 a/c a
     p=$(printf 'dddd/%.0s' $(seq 150)); for i in $(seq 10); do mkdir -p $p; cd -P $p; done; chmod 500 .`,
  );
  t.true(privateFolder !== null && existsSync(privateFolder));
  await sandbox.dispose();
  t.false(existsSync(privateFolder ?? ""));
});
