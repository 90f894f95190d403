import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
} from "node:fs";
import { join } from "node:path";
import test from "ava";
import { protectedNameList } from "../../lib/policy/protected-names.ts";
import { findProtected } from "../../lib/sandbox/protected-paths.ts";
import { putAside } from "../../lib/sandbox/put-aside.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
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
  t.deepEqual(
    found.projects.map(({ folder }) => folder),
    isRoot ? ["", "closed"] : [""],
  );
});

const evilConfig = "[core]\n\tfsmonitor = /tmp/evil\n";
const plant = `mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit; printf '[core]\\n\\tfsmonitor = evil\\n' > .git/config`;

test("A repository is protected at any depth, and in folders that tools fill as well", async (t) => {
  const repositories = ["a/b/c/d/e/f", "node_modules/dependency", "build", "dist/deep/below"];
  const { sandbox, workspace } = await sessionOver(
    t,
    Object.fromEntries(
      repositories.flatMap((folder) => [
        [`${folder}/.git/HEAD`, "ref: refs/heads/main\n"],
        [`${folder}/.git/config`, "[core]\n"],
        [`${folder}/.git/hooks/pre-commit`, "mine\n"],
      ]),
    ),
    "true",
    { workspace: "direct" },
  );
  for (const folder of repositories) {
    for (const command of [
      "echo evil > .git/config",
      "echo evil > .git/hooks/pre-commit",
      "echo evil > .git/hooks/post-merge",
      "mv .git x",
      `cd ..; mv ${folder.split("/").at(-1)} x`,
    ]) {
      const { exitCode } = await sandbox.exec("sh", ["-c", `cd ${folder} && ${command}`]);
      t.not(exitCode, 0, `${folder}: ${command}`);
    }
  }
  await sandbox.dispose();
  t.deepEqual(sandbox.refusedNames, []);
  t.is(readFileSync(join(workspace, "build/.git/hooks/pre-commit"), "utf8"), "mine\n");
});

test("A repository is found wherever a session plants it", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    { "build/a": "", "node_modules/b/c": "" },
    `plant() { mkdir -p "$1"; (cd "$1"; ${plant}); }
     for i in $(seq 600); do mkdir decoy$i; done
     plant zz; plant build; plant node_modules/b; plant 1/2/3/4/5/6/7/8; plant "$(printf 'name-\\377')"`,
    { workspace: "direct" },
  );
  await sandbox.dispose();
  const planted = ["1/2/3/4/5/6/7/8", "build", "name-\ufffd", "node_modules/b", "zz"];
  t.deepEqual(
    [...sandbox.refusedNames].sort(),
    planted.flatMap((folder) => [`${folder}/.git/config`, `${folder}/.git/hooks`]),
  );
});

test("An ordinary folder that a session makes a bare repository stops being one, and what was in it stays", async (t) => {
  const { sandbox, workspace } = await sessionOver(
    t,
    {
      "src/config/settings": "mine\n",
      "main.git/HEAD": "ref: refs/heads/main\n",
      "main.git/objects/a": "",
      "main.git/refs/a": "",
    },
    `for folder in . src other; do
       mkdir -p $folder/objects $folder/refs $folder/hooks
       echo 'ref: refs/heads/main' > $folder/HEAD; echo evil > $folder/hooks/post-checkout
     done
     mkdir main.git/hooks; echo evil > main.git/hooks/pre-push; echo evil > main.git/config
     mkdir -p fine/objects fine/refs fine/hooks; echo x > fine/hooks/pre-push.sample
     echo 'ref: refs/heads/main' > fine/HEAD; printf '[core]\\n\\tbare = true\\n' > fine/config`,
    { workspace: "direct" },
  );
  await sandbox.dispose();
  t.deepEqual([...sandbox.refusedNames].sort(), [
    "HEAD",
    "main.git/config",
    "main.git/hooks",
    "other/HEAD",
    "src/HEAD",
  ]);
  t.is(readFileSync(join(workspace, "src/config/settings"), "utf8"), "mine\n");
});

test("What a repository's settings make git run or read is protected as they are", async (t) => {
  const config = `[core]
\thooksPath = "tools/hooks" ; ours
[include]
\tpath = ../shared.config
[includeIf "onbranch:main"]
\tpath = ../later.config
[diff "text"]
\ttextconv = sh -c './tools/text $1' # told
[alias]
\tx = !./tools/asked-for
[remote "origin"]
\turl = ./tools/remote
`;
  const { sandbox, workspace } = await sessionOver(
    t,
    {
      ".git/HEAD": "ref: refs/heads/main\n",
      ".git/config": config,
      "shared.config": "[user]\n\tname = me\n[include]\n\tpath = sub/further.config\n",
      "sub/further.config": "[user]\n\tname = me\n",
      "tools/hooks/pre-commit": "mine\n",
      "tools/text": "mine\n",
      "tools/asked-for": "mine\n",
      "tools/remote": "mine\n",
      "lib/.git/HEAD": "ref: refs/heads/main\n",
      "lib/.git/config": "[core]\n\thooksPath = ../tools\n",
    },
    "true",
    { workspace: "direct" },
  );
  for (const command of [
    "echo evil > tools/hooks/pre-commit",
    "echo evil > tools/hooks/post-commit",
    "mv tools x",
    "echo evil > tools/text",
    "echo evil > shared.config",
    "echo evil > sub/further.config",
  ]) {
    const { exitCode } = await sandbox.exec("sh", ["-c", command]);
    t.not(exitCode, 0, command);
  }
  const script =
    "echo mine > tools/asked-for; echo mine > tools/remote; echo evil > later.config; git init -q new; cd new; " +
    "git config core.hooksPath own; mkdir own; echo kept > own/pre-commit";
  t.is((await sandbox.exec("sh", ["-ec", script])).exitCode, 0);
  await sandbox.dispose();
  t.true(existsSync(join(workspace, "later.config.refused-by-holdfast")));
  // Its settings are put aside, so that they name nothing.
  t.true(existsSync(join(workspace, "new/.git/config.refused-by-holdfast")));
  t.true(existsSync(join(workspace, "new/own/pre-commit")));
});

test("What a repository's settings would have git read is not applied from a layer", async (t) => {
  const { sandbox, workspace } = await sessionOver(
    t,
    { ".git/HEAD": "ref: refs/heads/main\n", ".git/config": "[include]\n\tpath = ../later.config\n" },
    "echo evil > later.config; echo fine > other.config",
  );
  const { refused } = await sandbox.apply();
  t.deepEqual(
    refused.map(({ reason, detail }) => `${reason}: ${detail}`),
    ["protected: later.config is protected"],
  );
  t.false(existsSync(join(workspace, "later.config")));
  t.true(existsSync(join(workspace, "other.config")));
});

test("What a session shuts away is put aside all the same, and the rest stays shut", async (t) => {
  const planted =
    "mkdir -p new/.git/hooks new/.git/modules/m/hooks deep/in/.git far/off/shut; chmod 100 new; chmod 755 new; " +
    "for git in new/.git new/.git/modules/m; do echo x > $git/HEAD; echo x > $git/hooks/pre-commit; done; " +
    "echo '[core]' > deep/in/.git/config; echo 'fsmonitor = x' >> deep/in/.git/config; " +
    "chmod 100 new/.git/hooks new/.git/modules/m/hooks deep; chmod 300 new/.git/modules new/.git; " +
    "chmod 555 deep/in/.git 2> /dev/null || true; chmod 0 far/off/shut; chmod 444 far/off; chmod 111 .";
  const { sandbox, workspace } = await sessionOver(t, {}, planted, { workspace: "direct" });
  await sandbox.dispose();
  const modeOf = (path: string): string => (lstatSync(join(workspace, path)).mode & 0o777).toString(8);
  t.deepEqual([".", "deep", "far/off", "new/.git"].map(modeOf), ["111", "100", "444", "300"]);
  for (const path of [".", "far/off", "deep", "new/.git", "new/.git/modules"]) chmodSync(join(workspace, path), 0o755);
  t.is(modeOf("far/off/shut"), "0");
  t.deepEqual([...sandbox.refusedNames].sort(), ["deep/in/.git/config", "new/.git/hooks", "new/.git/modules/m/hooks"]);
  for (const name of sandbox.refusedNames) {
    t.false(existsSync(join(workspace, name)), name);
    t.true(existsSync(join(workspace, `${name}.refused-by-holdfast`)), name);
  }
});

test("Where what was planted stays, that is an error", async (t) => {
  const deep = "d/".repeat(300);
  const planted = `mkdir -p ${deep}.git/hooks new/.git/hooks; echo x | tee ${deep}.git/hooks/pre-commit > new/.git/hooks/pre-commit`;
  const sandbox = await Sandbox.create({ workdir: makeFiles(scratchFolder(t), { "a-file": "" }) });
  t.teardown(() => sandbox.dispose().catch(() => {}));
  await runInside(sandbox, planted);
  await t.throwsAsync(sandbox.dispose(), {
    code: "ERR_HOLDFAST_PUT_ASIDE",
    message: /d\/\.git\/hooks \(ENAMETOOLONG\)$/,
  });
  t.deepEqual(sandbox.refusedNames, ["new/.git/hooks"]);
});

test("A bare repository's hooks and settings are read-only", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    {
      "deep/main.git/HEAD": "ref: refs/heads/main\n",
      "deep/main.git/config": "[core]\n",
      "deep/main.git/hooks/update": "mine\n",
      "deep/main.git/objects/a": "",
      "deep/main.git/refs/a": "",
    },
    "true",
    { workspace: "direct" },
  );
  t.is((await sandbox.exec("sh", ["-c", "echo x > deep/main.git/refs/b"])).exitCode, 0);
  for (const command of [
    "echo evil > deep/main.git/config",
    "echo evil > deep/main.git/hooks/update",
    "mv deep/main.git x",
    "mv deep x",
  ]) {
    const { exitCode } = await sandbox.exec("sh", ["-c", command]);
    t.not(exitCode, 0, command);
  }
});

test("What is protected cannot be written by another of its names", async (t) => {
  const folder = makeFiles(join(scratchFolder(t), "project"), {
    ".git/HEAD": "x\n",
    ".git/config": "[core]\n",
    ".git/hooks/pre-commit": "mine\n",
    ".vscode/deep/tasks.json": "{}\n",
    "below/a": "",
    ordinary: "mine\n",
  });
  const names = {
    "config-copy": ".git/config",
    "below/hook": ".git/hooks/pre-commit",
    "below/tasks.json": ".vscode/deep/tasks.json",
    "ordinary-copy": "ordinary",
  };
  for (const [name, of] of Object.entries(names)) linkSync(join(folder, of), join(folder, name));
  const { sandbox } = await sessionOver(t, {}, "true", { workdir: folder, workspace: "direct" });
  for (const [name, of] of Object.entries(names)) {
    await sandbox.exec("sh", ["-c", `echo evil > ${name}`]);
    const text = readFileSync(join(folder, of), "utf8");
    if (of === "ordinary") t.is(text, "evil\n");
    else t.not(text, "evil\n", name);
  }
});

test("Hooks that nobody could look at before a session stay, unless the session has changed them", async (t) => {
  const folder = makeFiles(join(scratchFolder(t), "project"), {
    "one/.git/config": evilConfig,
    "one/.git/hooks/pre-commit": "mine\n",
    "other/.git/config": evilConfig,
    "other/.git/hooks/pre-commit": "mine\n",
  });
  const begun = lstatSync(folder, { bigint: true });
  const found = {
    ...findProtected(folder, protectedNameList),
    projects: [{ folder: "", bare: false }],
    complete: false,
  };
  const before = { found, missing: [], folder: { device: begun.dev, inode: begun.ino } };
  const since = BigInt(Date.now() + 60_000) * 1_000_000n;
  const nothing = { readOnly: [], protectedLinks: [] };
  t.deepEqual(putAside(folder, protectedNameList, { ...before, since }, nothing).names, []);
  t.deepEqual([...putAside(folder, protectedNameList, { ...before, since: 0n }, nothing).names].sort(), [
    "one/.git/config",
    "one/.git/hooks",
    "other/.git/config",
    "other/.git/hooks",
  ]);
});

test("Nothing is put aside in a folder that took the workspace's place", (t) => {
  const folder = makeFiles(scratchFolder(t), { "work/a": "", "other/.bashrc": "mine\n" });
  const { dev, ino } = lstatSync(join(folder, "work"), { bigint: true });
  const found = findProtected(join(folder, "work"), protectedNameList);
  renameSync(join(folder, "work"), join(folder, "old"));
  renameSync(join(folder, "other"), join(folder, "work"));
  const before = { found, missing: [join(folder, "work/.bashrc")], since: 0n, folder: { device: dev, inode: ino } };
  t.deepEqual(
    putAside(join(folder, "work"), protectedNameList, before, { readOnly: [], protectedLinks: [] }).names,
    [],
  );
  t.true(existsSync(join(folder, "work/.bashrc")));
});
