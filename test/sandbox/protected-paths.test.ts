import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, lstatSync, readFileSync, readlinkSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { protectedNameList } from "../../lib/policy/protected-names.ts";
import { findProtected } from "../../lib/sandbox/protected-paths.ts";
import { isRoot, makeFiles, runInside, scratchFolder, sessionOver, snapshot } from "./session.ts";

const hasGit = spawnSync("git", ["--version"]).error === undefined;

const repository = {
  ".git/HEAD": "ref: refs/heads/main\n",
  ".git/config": "[core]\n\tbare = false\n",
  ".git/modules/lib/deep/HEAD": "x\n",
  ".git/modules/lib/deep/config": "[core]\n\tbare = false\n",
  ".git/modules/lib/deep/modules/inner/HEAD": "x\n",
  ".git/worktrees/w/HEAD": "x\n",
  ".git/worktrees/w/commondir": "../..\n",
};

test("The repositories of submodules and worktrees are protected as the main one is", async (t) => {
  const { sandbox, workspace } = await sessionOver(t, repository, "true", { workspace: "direct" });
  for (const command of [
    "echo evil >> .git/config",
    "echo evil >> .git/modules/lib/deep/config",
    "echo evil > .git/worktrees/w/commondir",
    "mv .git/modules/lib/deep .git/modules/lib/other",
    "mv .git/modules/lib .git/modules/other",
    "mv .git .git-old",
  ]) {
    const { exitCode } = await sandbox.exec("sh", ["-c", command]);
    t.not(exitCode, 0, command);
  }
  await runInside(
    sandbox,
    `mkdir .git/modules/lib/deep/hooks .git/modules/new; echo evil > .git/modules/lib/deep/hooks/post-checkout
     echo evil > .git/modules/lib/deep/modules/inner/config; echo x > .git/modules/new/HEAD; echo evil > .git/modules/new/config
     mkdir .git/objects; echo x > .git/objects/fine`,
  );
  await sandbox.dispose();
  t.deepEqual([...sandbox.refusedNames].sort(), [
    ".git/modules/lib/deep/hooks",
    ".git/modules/lib/deep/modules/inner/config",
    ".git/modules/new/config",
  ]);
  t.true(existsSync(join(workspace, ".git/modules/new/config.refused-by-holdfast")));
  t.true(existsSync(join(workspace, ".git/objects/fine")));
});

test("A link on the way to a protected name is put aside itself, and nothing that it leads to is touched", async (t) => {
  const folder = scratchFolder(t);
  const outside = makeFiles(join(folder, "outside"), {
    ".git/config": "mine\n",
    ".git/hooks/pre-commit": "mine\n",
    ".git/HEAD": "x\n",
  });
  const { sandbox, workspace } = await sessionOver(
    t,
    { "code/a": "1\n" },
    `mkdir sub other third; ln -s ${outside}/.git sub/.git; ln -s ${outside}/.git .git; ln -s ${outside} .config
     echo 'gitdir: ../evil' > other/.git; mkfifo third/.git`,
    { workspace: "direct" },
  );
  const before = snapshot(outside);
  await sandbox.dispose();
  t.deepEqual(snapshot(outside), before);
  t.deepEqual([...sandbox.refusedNames].sort(), [".config", ".git", "other/.git", "sub/.git", "third/.git"]);
  t.false(existsSync(join(workspace, ".git")));
});

test("A fifo or a huge file in the place of settings holds nobody up", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    {},
    "mkdir -p a/.git b/.git; mkfifo a/.git/config; truncate -s 10G b/.git/config; mkfifo a/.git/hooks",
    { workspace: "direct" },
  );
  await sandbox.dispose();
  t.deepEqual([...sandbox.refusedNames].sort(), ["a/.git/config", "a/.git/hooks", "b/.git/config"]);
});

test("Settings that run a program are put aside however they are written", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    {},
    `mkdir -p one/.git two/.git three/.git
     printf '[core] fsmonitor = /tmp/evil\\n' > one/.git/config
     printf '[pager]\\n\\tlog = /tmp/evil\\n' > two/.git/config
     printf '[core]\\n\\tbare = false\\n' > three/.git/config`,
    { workspace: "direct" },
  );
  await sandbox.dispose();
  t.deepEqual([...sandbox.refusedNames].sort(), ["one/.git/config", "two/.git/config"]);
});

test("A repository, a submodule and a worktree that git makes inside are let be", async (t) => {
  if (!hasGit) {
    t.log("skipped: no git");
    t.pass();
    return;
  }
  const { sandbox, workspace } = await sessionOver(
    t,
    {},
    `export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
     git init -q -b main lib; (cd lib; git commit -q --allow-empty -m one)
     git init -q -b main app; cd app; git commit -q --allow-empty -m one
     git -c protocol.file.allow=always submodule add -q ../lib vendor/lib >/dev/null 2>&1
     git worktree add -q ../tree 2>/dev/null`,
    { workspace: "direct" },
  );
  await sandbox.dispose();
  t.deepEqual(sandbox.refusedNames, []);
  t.true(lstatSync(join(workspace, "tree/.git")).isFile());
  const env = {
    ...process.env,
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_CONFIG_COUNT: "1",
    GIT_CONFIG_KEY_0: "safe.directory",
    GIT_CONFIG_VALUE_0: "*",
  };
  for (const folder of ["app", "app/vendor/lib", "tree"]) {
    t.notThrows(() => execFileSync("git", ["status", "--short"], { cwd: join(workspace, folder), env }), folder);
  }
});

test("More inner repositories than can be looked after one by one are read-only as a whole", async (t) => {
  const many = Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`.git/modules/m${i}/HEAD`, "x\n"]));
  const { sandbox, workspace } = await sessionOver(t, { ...repository, ...many }, "true", { workspace: "direct" });
  const { exitCode } = await sandbox.exec("sh", ["-c", "echo evil > .git/modules/m7/config"]);
  t.not(exitCode, 0);
  await sandbox.dispose();
  t.deepEqual(sandbox.refusedNames, []);
  t.is(readFileSync(join(workspace, ".git/modules/m7/HEAD"), "utf8"), "x\n");
});

test("A protected name that is a link stays one, and what it leads to in the workspace is read-only", async (t) => {
  const folder = makeFiles(join(scratchFolder(t), "project"), {
    "dotfiles/bashrc": "mine\n",
    "main.git/HEAD": "x\n",
    "main.git/config": "[core]\n",
    "outside/": "",
  });
  symlinkSync("dotfiles/bashrc", join(folder, ".bashrc"));
  symlinkSync("main.git", join(folder, ".git"));
  symlinkSync("/nonexistent/fish", join(folder, ".config"));
  const { sandbox } = await sessionOver(t, {}, "true", { workdir: folder, workspace: "direct" });
  for (const command of [
    "echo evil > .bashrc",
    "echo evil > dotfiles/bashrc",
    "mv dotfiles x",
    "echo evil >> .git/config",
  ]) {
    const { exitCode } = await sandbox.exec("sh", ["-c", command]);
    t.not(exitCode, 0, command);
  }
  await runInside(
    sandbox,
    `rm .bashrc; echo evil > .bashrc; rm .git; mkdir .git; echo '[core] fsmonitor = evil' > .git/config
     echo fine > main.git/object`,
  );
  await sandbox.dispose();
  t.deepEqual([...sandbox.refusedNames].sort(), [".bashrc", ".git"]);
  t.is(readlinkSync(join(folder, ".bashrc")), "dotfiles/bashrc");
  t.is(readlinkSync(join(folder, ".git")), "main.git");
  t.is(readlinkSync(join(folder, ".config")), "/nonexistent/fish");
  t.is(readFileSync(join(folder, ".bashrc.refused-by-holdfast"), "utf8"), "evil\n");
});

test("A folder that may not be searched does not keep the rest from being protected", (t) => {
  const workspace = makeFiles(scratchFolder(t), { "closed/.git/HEAD": "x\n", ".vscode/tasks.json": "{}\n" });
  chmodSync(join(workspace, "closed"), 0);
  const found = findProtected(workspace, protectedNameList);
  t.deepEqual(found.readOnly, [".vscode"]);
  t.deepEqual(found.folders, isRoot ? ["", "closed"] : [""]);
});
