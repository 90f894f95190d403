import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { isHarmlessGitConfig } from "../../lib/sandbox/git-settings.ts";
import { scratchFolder } from "./session.ts";

test("What git init and git clone write is harmless", (t) => {
  if (spawnSync("git", ["--version"]).error !== undefined) {
    t.log("skipped: no git");
    t.pass();
    return;
  }
  const folder = scratchFolder(t);
  const env = { ...process.env, GIT_CONFIG_GLOBAL: "/dev/null", GIT_CONFIG_SYSTEM: "/dev/null" };
  execFileSync("git", ["init", "-q", "-b", "main", join(folder, "one")], { env });
  execFileSync("git", ["clone", "-q", join(folder, "one"), join(folder, "two")], { env, stdio: "ignore" });
  for (const name of ["one", "two"]) {
    t.true(isHarmlessGitConfig(readFileSync(join(folder, name, ".git/config"), "latin1")), name);
  }
});

const sound = "[core]\n\tbare = false\n";

for (const line of [
  "[core] fsmonitor = /tmp/evil",
  "[core]\n\tfsmonitor = /tmp/evil",
  "[core]\n\thooksPath = ../evil",
  "[core]\n\tworktree = /home/me",
  "[pager]\n\tlog = /tmp/evil",
  "[alias]\n\tst = !evil",
  "[include]\n\tpath = ../evil",
  '[includeIf "gitdir:/"]\n\tpath = ../evil',
  '[filter "x"]\n\tclean = evil',
  '[remote "origin"]\n\turl = ext::sh -c evil',
  '[remote "origin"]\n\turl = -u/tmp/evil',
  '[remote "origin"]\n\tuploadpack = evil',
  '[submodule "x"]\n\tupdate = !evil',
  "[core]\n\tbare = \\\nfalse",
  "\tbare = false",
  "[core",
  '[core "x]\n\tbare = true"]',
  "[gpg]\n\tprogram = evil",
  "[__proto__]\n\turl = x",
]) {
  test(`Settings with ${JSON.stringify(line)} are not harmless`, (t) => {
    t.true(isHarmlessGitConfig(sound));
    t.false(isHarmlessGitConfig(line.startsWith("\t") ? line : `${sound}${line}\n`));
  });
}
