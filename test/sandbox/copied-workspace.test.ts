import { execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import test from "ava";
import type { LaunchPlan } from "../../lib/plan/launch-plan.ts";
import { copyTree } from "../../lib/sandbox/copy-tree.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { isRoot, listed, makeFiles, runInside, scratchFolder, sessionOver, snapshot } from "./session.ts";

// The serial tests change this process's environment; ava runs them before all others of the file.

/** As a host does whose kernel or file system refuses: the mount fails. */
function refuseOverlay(plan: LaunchPlan): LaunchPlan {
  return {
    ...plan,
    mounts: plan.mounts.map((step) =>
      step.op === "overlay" ? { ...step, upper: step.lower, work: step.lower } : step,
    ),
  };
}

const hooks = { alterPlan: refuseOverlay };

const project = {
  "README.md": "hello\n",
  "src/one.c": "int one;\n",
  "src/two.c": "int two;\n",
  "old/b/c.txt": "c\n",
  ".git/HEAD": "x\n",
  "becomes-file/inner.txt": "x\n",
};

test("Where an overlay is refused the session works on a copy, and its changes are listed and applied alike", async (t) => {
  const script = `echo more >> README.md; echo new > src/three.c; rm src/two.c; rm -r old; chmod 755 src/one.c
     mkdir made; ln -s ../README.md made/link; rm -r becomes-file; echo now > becomes-file
     mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit`;
  const copied = await sessionOver(t, project, script, { hooks });
  const overlaid = await sessionOver(t, project, script);
  t.not(copied.sandbox.workspace.copiedAt, undefined);
  t.is(overlaid.sandbox.workspace.copiedAt, undefined);
  t.is(readFileSync(join(copied.workspace, "README.md"), "utf8"), "hello\n", "the real folder is as it was");
  const set = await copied.sandbox.changes();
  t.deepEqual(listed(set), listed(await overlaid.sandbox.changes()));
  t.true(listed(set).includes("added src/three.c"));
  const result = await copied.sandbox.apply(set);
  await overlaid.sandbox.apply();
  t.deepEqual(result.errors, []);
  t.deepEqual(
    result.refused.map(({ change }) => change.path.toString()),
    [".git/hooks/pre-commit"],
  );
  t.deepEqual(snapshot(copied.workspace), snapshot(overlaid.workspace));
});

test("A folder of a copy that the session moved takes along all that is in it", async (t) => {
  const files = { "d/sub/f": "f\n", "d/g": "g\n", "a/same": "1\n", "a/other": "1\n", "b/same": "2\n", "b/in/x": "x\n" };
  const { sandbox, workspace } = await sessionOver(
    t,
    files,
    "mv d moved; rm -r a; mv b a; mkdir new; mv moved/sub new/; mkdir again; mv again t; mv t again",
    { hooks },
  );
  t.deepEqual(listed(await sandbox.changes()), [
    "added a/in",
    "added a/in/x",
    "deleted a/other",
    "modified a/same",
    "added again",
    "deleted b",
    "deleted b/in",
    "deleted b/in/x",
    "deleted b/same",
    "deleted d",
    "deleted d/g",
    "deleted d/sub",
    "deleted d/sub/f",
    "added moved",
    "added moved/g",
    "added new",
    "added new/sub",
    "added new/sub/f",
  ]);
  await sandbox.apply();
  t.deepEqual(
    Object.entries(snapshot(workspace)).filter(([, content]) => !content.endsWith("/")),
    [
      ["a/in/x", "644 x\n"],
      ["a/same", "644 2\n"],
      ["moved/g", "644 g\n"],
      ["new/sub/f", "644 f\n"],
    ],
  );
});

test("What was deleted outside from a folder that the session works in does not come back with it", async (t) => {
  const { sandbox, workspace } = await sessionOver(t, { "d/x": "1\n", "d/e/y": "1\n" }, "echo 2 > d/new", { hooks });
  await delay(20); // the kernel's clock for file times ticks every few milliseconds
  execFileSync("rm", ["-r", join(workspace, "d")]);
  t.deepEqual(listed(await sandbox.changes()), ["added d", "added d/new"]);
});

test("Protected names of a copy are read-only inside as well", async (t) => {
  const { sandbox } = await sessionOver(t, { ".vscode/tasks.json": "{}\n", ".git/config": "[core]\n" }, "true", {
    hooks,
  });
  const { exitCode } = await sandbox.exec("sh", ["-c", "echo evil > .vscode/tasks.json || mv .git .git-old"]);
  t.not(exitCode, 0);
});

test("What is done outside while the session works on its copy is not taken for the session's doing", async (t) => {
  const files = { a: "1\n", b: "1\n", "d/x": "1\n", "gone/x": "1\n", both: "1\n" };
  const { sandbox, workspace } = await sessionOver(t, files, "echo 2 > both", { hooks });
  await delay(20); // the kernel's clock for file times ticks every few milliseconds
  writeFileSync(join(workspace, "a"), "mine\n");
  writeFileSync(join(workspace, "new"), "mine\n");
  writeFileSync(join(workspace, "both"), "mine\n");
  renameSync(join(workspace, "d"), join(workspace, "renamed"));
  execFileSync("rm", ["-r", join(workspace, "gone")]);
  const set = await sandbox.changes();
  t.deepEqual(listed(set), ["modified both"]);
  t.true(set.changes[0]?.conflict);
  await sandbox.apply(set);
  t.deepEqual(Object.keys(snapshot(workspace)), ["a", "b", "both", "new", "renamed", "renamed/x"]);
  t.is(readFileSync(join(workspace, "both"), "utf8"), "mine\n");
});

test("A session cannot hide a change by setting times back", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    { a: "1\n" },
    "cp -p a /tmp/a; echo 2 > a; touch -r /tmp/a a; touch -r /tmp/a .",
    { hooks },
  );
  t.deepEqual(listed(await sandbox.changes()), ["modified a"]);
});

test("A device number or an attribute that stands for a deletion in an overlay stands for nothing in a copy", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    { a: "1\n" },
    `: > a; python3 -c 'import os; os.setxattr("a", "user.overlay.whiteout", b"y")' || true`,
    { hooks },
  );
  t.deepEqual(listed(await sandbox.changes()), ["modified a"]);
});

test("A copy keeps modes, times and links, and leaves out what is no file", async (t) => {
  const folder = scratchFolder(t);
  const from = makeFiles(join(folder, "from"), { "d/tool": "x\n", empty: "", "closed/f": "x\n" });
  chmodSync(join(from, "d/tool"), 0o6755);
  chmodSync(join(from, "closed"), 0o555);
  symlinkSync("/etc/shadow", join(from, "link"));
  execFileSync("mkfifo", [join(from, "pipe")]);
  const to = makeFiles(join(folder, "to"), { "./": "" });
  await copyTree(from, to, null);
  t.deepEqual(snapshot(to), {
    closed: "555 /",
    "closed/f": "644 x\n",
    d: "755 /",
    "d/tool": "755 x\n",
    empty: "644 ",
    link: "-> /etc/shadow",
  });
  t.is(lstatSync(join(to, "d/tool")).mtimeMs.toFixed(2), lstatSync(join(from, "d/tool")).mtimeMs.toFixed(2));
});

test("What the caller may not read is closed in the copy, and no change", async (t) => {
  if (isRoot) {
    t.log("skipped: root reads everything");
    t.pass();
    return;
  }
  const workspace = makeFiles(join(scratchFolder(t), "project"), { "closed/x": "1\n", secret: "1\n", a: "1\n" });
  for (const name of ["closed", "secret"]) chmodSync(join(workspace, name), 0);
  const { sandbox } = await sessionOver(t, {}, "echo 2 > a; ! cat secret", { workdir: workspace, hooks });
  const set = await sandbox.changes();
  t.deepEqual([listed(set), set.problems], [["modified a"], []]);
});

test("Under root the copy belongs to the sandbox, but for what is not the workspace owner's", async (t) => {
  if (!isRoot) {
    t.log("skipped: not root");
    t.pass();
    return;
  }
  const workspace = makeFiles(join(scratchFolder(t), "project"), { mine: "1\n", roots: "secret\n" });
  for (const path of ["", "mine"]) chownSync(join(workspace, path), 4321, 4322);
  chmodSync(join(workspace, "roots"), 0o600);
  const { sandbox } = await sessionOver(t, {}, "echo 2 > mine; ! cat roots; echo 3 > new", {
    workdir: workspace,
    hooks,
  });
  const result = await sandbox.apply();
  t.deepEqual([result.errors, result.refused], [[], []]);
  t.is(lstatSync(join(workspace, "new")).uid, 4321);
  t.is(readFileSync(join(workspace, "roots"), "utf8"), "secret\n");
});

test("A copy that cannot be completed is one sentence, and leaves nothing", async (t) => {
  const workspace = makeFiles(join(scratchFolder(t), "project"), { "./": "" });
  const deep = join(workspace, ...Array.from({ length: 258 }, () => "d"));
  mkdirSync(deep, { recursive: true });
  let privateFolder = "";
  const alterPlan = (plan: LaunchPlan): LaunchPlan => {
    for (const step of plan.mounts)
      if (step.op === "bind" && step.path.endsWith("/private")) privateFolder = step.source;
    return refuseOverlay(plan);
  };
  await t.throwsAsync(Sandbox.create({ workdir: workspace, workspace: "overlay" }, { alterPlan }), {
    code: "ERR_HOLDFAST_COPY",
    message: /could not be copied/,
  });
  t.not(privateFolder, "");
  t.false(existsSync(privateFolder));
});

test.serial("A file system that cannot hold an overlay's layer is found out before anything runs", async (t) => {
  if (!isRoot) {
    t.log("skipped: only root can mount one for the test");
    t.pass();
    return;
  }
  const folder = scratchFolder(t);
  const state = makeFiles(join(folder, "state"), { "./": "" });
  try {
    execFileSync("mount", ["-t", "ramfs", "ramfs", state], { stdio: "ignore" });
  } catch {
    t.log("skipped: no ramfs here");
    t.pass();
    return;
  }
  const before = process.env["XDG_STATE_HOME"];
  try {
    process.env["XDG_STATE_HOME"] = state;
    const workspace = makeFiles(join(folder, "project"), { "d/x": "1\n" });
    const sandbox = await Sandbox.create({ workdir: workspace, workspace: "overlay" });
    try {
      await runInside(sandbox, "rm -r d; mkdir d; echo 2 > d/y");
      t.not(sandbox.workspace.copiedAt, undefined);
      t.deepEqual(listed(await sandbox.changes()), ["deleted d/x", "added d/y"]);
    } finally {
      await sandbox.dispose();
    }
  } finally {
    if (before === undefined) delete process.env["XDG_STATE_HOME"];
    else process.env["XDG_STATE_HOME"] = before;
    execFileSync("umount", [state]);
  }
});

test.serial("An upper layer on an overlay of the host is refused by the kernel, and copied", async (t) => {
  if (!isRoot) {
    t.log("skipped: only root can mount one for the test");
    t.pass();
    return;
  }
  const folder = makeFiles(scratchFolder(t), { "l/": "", "u/": "", "w/": "", "state/": "", "project/a": "1\n" });
  const state = join(folder, "state");
  const layers = `lowerdir=${join(folder, "l")},upperdir=${join(folder, "u")},workdir=${join(folder, "w")},userxattr`;
  try {
    execFileSync("mount", ["-t", "overlay", "overlay", "-o", layers, state], { stdio: "ignore" });
  } catch {
    t.log("skipped: no overlay here");
    t.pass();
    return;
  }
  const before = process.env["XDG_STATE_HOME"];
  try {
    process.env["XDG_STATE_HOME"] = state;
    const sandbox = await Sandbox.create({ workdir: join(folder, "project"), workspace: "overlay" });
    try {
      await runInside(sandbox, "echo 2 > a");
      t.not(sandbox.workspace.copiedAt, undefined);
      t.deepEqual(listed(await sandbox.changes()), ["modified a"]);
    } finally {
      await sandbox.dispose();
    }
  } finally {
    if (before === undefined) delete process.env["XDG_STATE_HOME"];
    else process.env["XDG_STATE_HOME"] = before;
    execFileSync("umount", [state]);
  }
});
