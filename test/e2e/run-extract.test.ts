import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { folder, holdfast, said, start } from "./holdfast.ts";

test("Files leave a running sandbox with sums that sha256sum checks, and come into it", async (t) => {
  const cwd = folder(t);
  const to = join(folder(t), "out");
  const name = `extract-${process.pid}`;
  const script =
    "mkdir r; echo made > r/made.txt; ln -s made.txt r/link; printf x > 'two words'; echo ready; exec sleep 60";
  const running = start(t, ["--name", name, "--overlay", "--", "sh", "-c", script], cwd, ["ignore", "pipe", "ignore"]);
  await said(running.stdout, /ready/);
  const extract = (...args: string[]) =>
    spawnSync(holdfast, ["extract", name, ...args], { cwd: "/", encoding: "utf8" });

  const dry = extract("r", "two words", "--dry-run");
  t.regex(dry.stdout, /^644 +5 [0-9a-f]{64} {2}r\/made\.txt\n644 +1 [0-9a-f]{64} {2}two words\n$/);
  t.regex(dry.stderr, /kept back r\/link: it is a link\n.*2 files, 6 bytes would leave\n$/);
  t.is(dry.status, 0);

  const real = extract("r", "two words", "--to", to);
  t.is(real.status, 0, real.stderr);
  t.is(readFileSync(join(to, "r/made.txt"), "utf8"), "made\n");
  t.is(spawnSync("sha256sum", ["--check", "--status"], { cwd: to, input: real.stdout }).status, 0);

  const imported = spawnSync(holdfast, ["import", name, "out/r/made.txt", "--to", "new/"], {
    cwd: join(to, ".."),
    encoding: "utf8",
  });
  t.is(imported.stdout, `${real.stdout.slice(0, 64)}  new/made.txt\n`, imported.stderr);
  t.is(extract("new/made.txt", "--dry-run").status, 0);

  const refused = extract("r/link", "--to", `${to}2`, "--json");
  t.is(refused.status, 125);
  t.like((JSON.parse(refused.stderr) as { error: object }).error, { code: "ERR_HOLDFAST_EXTRACT" });
  t.false(existsSync(`${to}2`));

  t.regex(extract("r").stderr, /--to is missing/);
  const unknown = spawnSync(holdfast, ["extract", `${name}x`, "r", "--to", to], { encoding: "utf8" });
  t.regex(unknown.stderr, new RegExp(`Did you mean ${name}\\?`));
  t.is(unknown.status, 125);
});
