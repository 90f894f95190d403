import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import test from "ava";
import { openSession } from "./session.ts";

test.serial("An expression that never ends is cut short, and what was found before stays", async (t) => {
  const session = await openSession(t, { searchTimeoutMs: 1500 });
  writeFileSync(join(session.workdir, "a"), "aaa\n");
  writeFileSync(join(session.workdir, "b"), `${"a".repeat(60)}!\n`);
  let ticks = 0;
  const clock = setInterval(() => ticks++, 20);
  const began = Date.now();
  const { text, isError } = await session.run("grep", { pattern: "^(a+)+$" });
  const took = Date.now() - began;
  clearInterval(clock);
  t.deepEqual([text, isError], [`${session.workdir}/a:1:aaa\n[the search was cut short after 1500 ms]`, false]);
  t.true(took < 4000, `took ${took} ms`);
  t.true(ticks > took / 20 / 3, "the worker's own thread was blocked");
  t.is(await session.countProcesses("search.mjs"), 0);
});

test.serial("An expression that never ends and finds nothing is an error", async (t) => {
  const session = await openSession(t, { searchTimeoutMs: 1000 });
  writeFileSync(join(session.workdir, "b"), `${"a".repeat(60)}!\n`);
  t.deepEqual(await session.run("grep", { pattern: "^(a+)+$" }), { text: "grep: timed out after 1s", isError: true });
});

test.serial("A search that is cancelled ends at once", async (t) => {
  const session = await openSession(t);
  writeFileSync(join(session.workdir, "b"), `${"a".repeat(60)}!\n`);
  const cancel = new AbortController();
  const call = session.run("grep", { pattern: "^(a+)+$" }, cancel.signal);
  await wait(200);
  cancel.abort();
  t.deepEqual(await call, { text: "grep: aborted", isError: true });
  t.is(await session.countProcesses("search.mjs"), 0);
  t.deepEqual(await session.run("glob", { pattern: "*" }, AbortSignal.abort()), {
    text: "glob: aborted",
    isError: true,
  });
});

test.serial("An expression that is too deep for the stack leaves out a file, not the search", async (t) => {
  const session = await openSession(t);
  await session.bash("echo abc > one");
  const { text } = await session.run("grep", { pattern: `${"(".repeat(200_000)}a${")".repeat(200_000)}` });
  t.regex(text, /^(grep: invalid regex: .*|grep: search failed: .*|no matches)$/s);
  t.is((await session.run("grep", { pattern: "abc" })).text, `${session.workdir}/one:1:abc`);
});

test.serial("A line without an end is left out in bounded memory", async (t) => {
  const session = await openSession(t);
  const path = join(session.workdir, "endless");
  writeFileSync(path, "needle first\n");
  writeFileSync(path, "x".repeat(100_000_000), { flag: "a" });
  writeFileSync(path, "\nneedle last\n", { flag: "a" });
  t.is((await session.run("grep", { pattern: "needle" })).text, `${path}:1:needle first\n${path}:3:needle last`);
});

test.serial("Lines are counted as `read` counts them, whatever separators stand inside one", async (t) => {
  const session = await openSession(t);
  const path = join(session.workdir, "f");
  writeFileSync(path, "a\u2028b\u2029c\u0085d\u000be\nneedle\n");
  t.is((await session.run("grep", { pattern: "needle" })).text, `${path}:2:needle`);
  t.is((await session.run("read", { file_path: "f", view_range: [2, 2] })).text, "needle");
});

test.serial("A binary file's first block ends with its last whole line, also where that ends in CR", async (t) => {
  const session = await openSession(t);
  const path = join(session.workdir, "f");
  writeFileSync(path, `\0\n${"x".repeat(65_526)}\nneedle\rneedle\r`);
  t.is((await session.run("grep", { pattern: "needle" })).text, `${path}:3:needle`);
});

test.serial("A file of nothing but zeros ends at its first block", async (t) => {
  const session = await openSession(t);
  const path = join(session.workdir, "zeros");
  writeFileSync(path, "needle\n");
  truncateSync(path, 10 * 1024 ** 3);
  const began = Date.now();
  t.is((await session.run("grep", { pattern: "needle" })).text, `${path}:1:needle`);
  t.true(Date.now() - began < 5000);
});

test.serial("A .git made of links is not entered, and leads nowhere by name", async (t) => {
  const session = await openSession(t);
  await session.bash(
    "mkdir real real/sub; echo needle > real/f; ln -s real .git; mkdir real/sub/.git; ln -s /etc real/sub/.git/etc; ln -s .. real/sub/.git/up; ln -s .git elsewhere; ln -s /etc/passwd real/link",
  );
  t.is((await session.run("grep", { pattern: "needle|root" })).text, `${session.workdir}/real/f:1:needle`);
  t.is((await session.run("glob", { pattern: "**" })).text, `${session.workdir}/real/f`);
  t.is((await session.run("glob", { pattern: ".git/*" })).text, "no matches");
  t.is((await session.run("glob", { pattern: "real/sub/.git/**/passwd" })).text, "no matches");
  t.is((await session.run("grep", { pattern: "needle", path: ".git" })).text, `${session.workdir}/real/f:1:needle`);
  t.is(
    (await session.run("grep", { pattern: "root", path: "real/sub/.git/etc" })).text,
    `path "real/sub/.git/etc" is outside the session's working directory`,
  );
});

test.serial("Links that lead in circles end", async (t) => {
  const session = await openSession(t);
  await session.bash("mkdir d; echo needle > d/f; ln -s . self; ln -s ../d d/again");
  t.is((await session.run("glob", { pattern: "self/self/self/d/*" })).text, `${session.workdir}/self/self/self/d/f`);
  t.is((await session.run("glob", { pattern: "**/f" })).text, `${session.workdir}/d/f`);
  t.is((await session.run("grep", { pattern: "needle" })).text, `${session.workdir}/d/f:1:needle`);
});

test.serial("A pattern that stands for countless others is refused in time", async (t) => {
  const session = await openSession(t);
  const began = Date.now();
  const bomb = "{a,b}".repeat(60);
  t.deepEqual(await session.run("glob", { pattern: bomb }), {
    text: "glob: the pattern has too many alternatives",
    isError: true,
  });
  t.is((await session.run("glob", { pattern: "{1..999999999}" })).text, "glob: the pattern has too many alternatives");
  writeFileSync(join(session.workdir, "a".repeat(200)), "");
  t.is((await session.run("glob", { pattern: `${"*a".repeat(90)}b` })).text, "no matches");
  t.is((await session.run("glob", { pattern: `${"*(a|aa)".repeat(40)}b` })).text, "no matches");
  t.true(Date.now() - began < 10_000);
});

test.serial("A deep tree and a wide one are bounded", async (t) => {
  const session = await openSession(t);
  await session.bash("d=.; for i in $(seq 1 300); do mkdir $d/d && cd $d/d; done; echo deep > f; cd; :");
  await session.bash(`cd ${session.workdir}; echo shallow > f; mkdir wide; cd wide; seq 1 51000 | xargs touch`);
  t.is((await session.run("grep", { pattern: "deep|shallow", path: "." })).text, `${session.workdir}/f:1:shallow`);
  const all = (await session.run("glob", { pattern: "wide/*" })).text.split("\n");
  t.is(all.length, 200);
});

test.serial("A search reads nothing outside the folders that it may, and writes nothing", async (t) => {
  const session = await openSession(t);
  mkdirSync(join(session.workdir, "sub"));
  const { node, programs } = session.sandbox.toolRuntime ?? { node: "", programs: "" };
  const script = "try { require('fs').writeFileSync('planted', 'x') } catch (error) { console.log(error.code) }";
  const { stdout } = await session.sandbox.exec(node, ["-e", script], { layer: "read-only" });
  t.regex(stdout.toString(), /^(EACCES|EROFS)\n$/);
  t.true(programs.startsWith("/"));
});

test.serial("Options for Node that a session sets do not load code into a search", async (t) => {
  const session = await openSession(t);
  await session.bash(
    "echo 'console.log(JSON.stringify({line:\"forged\"}))' > p.cjs; export NODE_OPTIONS=--require=$PWD/p.cjs; echo needle > f",
  );
  t.is((await session.run("grep", { pattern: "needle", path: "f" })).text, `${session.workdir}/f:1:needle`);
});
