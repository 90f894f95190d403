import { linkSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { openSession } from "./session.ts";

test.serial("A huge file is searched for its lines in bounded memory, and can be cancelled", async (t) => {
  const session = await openSession(t);
  const huge = join(session.workdir, "huge");
  writeFileSync(huge, "first\nsecond\n");
  truncateSync(huge, 10 * 1024 ** 3);

  t.is((await session.run("read", { file_path: "huge", view_range: [1, 2] })).text, "first\nsecond");
  t.regex((await session.run("read", { file_path: "huge" })).text, /is 10737418240 bytes, exceeds 262144-byte limit/);
  t.regex(
    (await session.run("edit", { file_path: "huge", old_string: "a", new_string: "b" })).text,
    /^edit: huge is 10737418240 bytes/,
  );
  t.regex(
    (await session.run("read", { file_path: "huge", view_range: [3, 3] })).text,
    /^read: line 3 of huge alone exceeds/,
  );

  const before = process.memoryUsage().rss;
  const cancel = new AbortController();
  const call = session.run("read", { file_path: "huge", view_range: [4, 4] }, cancel.signal);
  setTimeout(() => cancel.abort(new Error("enough")), 300);
  t.deepEqual(await call, { text: "read: enough", isError: true });
  t.true(process.memoryUsage().rss - before < 64 * 1024 * 1024);
});

test.serial("A file that states a size of nothing is read as far as the limit", async (t) => {
  const session = await openSession(t, { roots: ["/proc"], readLimitBytes: 200 });
  t.regex(
    (await session.run("read", { file_path: "/proc/meminfo" })).text,
    /^read: \/proc\/meminfo is more than 200 bytes, exceeds 200-byte limit/,
  );
  t.regex((await session.run("read", { file_path: "/proc/meminfo", view_range: [1, 1] })).text, /^MemTotal:.*kB$/);
  t.regex((await session.run("read", { file_path: "/proc/version" })).text, /^Linux version/);
});

test.serial("With further roots, paths may lead into them and are refused elsewhere", async (t) => {
  const session = await openSession(t, { roots: ["/tmp"], readOnlyRoots: ["/tmp/frozen"] });
  await session.bash("mkdir /tmp/frozen; echo ice > /tmp/frozen/f; echo t > /tmp/t");
  t.is((await session.run("read", { file_path: "/tmp/t" })).text, "t\n");
  t.is((await session.run("glob", { pattern: "*", path: "/tmp" })).text, "/tmp/t");
  t.is(
    (await session.run("read", { file_path: "/etc/passwd" })).text,
    'path "/etc/passwd" is outside the session\'s working directory and its other permitted directories',
  );
  const frozen = "/tmp/frozen/f is inside read-only directory /tmp/frozen";
  t.is((await session.run("write", { file_path: "/tmp/frozen/f", content: "" })).text, `write: ${frozen}`);
  t.is(
    (await session.run("edit", { file_path: "/tmp/frozen/f", old_string: "ice", new_string: "" })).text,
    `edit: ${frozen}`,
  );
  t.is(await session.bash("cat /tmp/frozen/f"), "ice");
});

test.serial("A write is a new file under the old name, and leaves nothing else behind", async (t) => {
  const session = await openSession(t);
  await session.bash("echo old > f; chmod 640 f");
  linkSync(join(session.workdir, "f"), join(session.workdir, "other-name"));
  await session.run("write", { file_path: "f", content: "new" });
  t.is(await session.bash("cat f; echo; cat other-name; stat -c %a f; ls -A"), "new\nold\n640\nf\nother-name");
});

test.serial("A write that cannot be finished leaves the old file and nothing beside it", async (t) => {
  const session = await openSession(t);
  await session.bash("mkdir shut; echo old > shut/f; chmod 555 shut");
  t.deepEqual(await session.run("write", { file_path: "shut/f", content: "new" }), {
    text: "write: shut/f: permission denied",
    isError: true,
  });
  t.is(await session.bash("cat shut/f; ls -A shut; chmod 755 shut"), "old\nf");
});

test.serial("A file is replaced whatever its mode is and whoever runs it, and keeps its mode", async (t) => {
  const session = await openSession(t);
  await session.bash("echo old > f; chmod 444 f; cp /bin/sleep g; ./g 60 >/dev/null 2>&1 &");
  t.is((await session.run("edit", { file_path: "f", old_string: "old", new_string: "new" })).isError, false);
  t.is((await session.run("write", { file_path: "g", content: "new" })).text, "wrote 3 bytes to g");
  t.is(await session.bash("cat f g; stat -c %a f g"), "new\nnew444\n755");
});

test.serial("Edits at the same time do not lose one another", async (t) => {
  const session = await openSession(t);
  const words = Array.from({ length: 12 }, (_, index) => `<${index}>`);
  await session.run("write", { file_path: "f", content: words.join("\n") });
  const edits = words.map((word) => session.run("edit", { file_path: "f", old_string: word, new_string: "done" }));
  t.true((await Promise.all(edits)).every(({ isError }) => !isError));
  t.is(readFileSync(join(session.workdir, "f"), "utf8"), words.map(() => "done").join("\n"));
});

test.serial("An edit that would blow a file up is refused", async (t) => {
  const session = await openSession(t);
  await session.run("write", { file_path: "f", content: "a".repeat(100_000) });
  const { text, isError } = await session.run("edit", {
    file_path: "f",
    old_string: "a",
    new_string: "b".repeat(100_000),
    replace_all: true,
  });
  t.true(isError);
  t.is(text, "edit: f would become 10000000000 characters, more than 67108864");
  t.is(await session.bash("wc -c < f"), "100000");
});

test.serial("A link that is swapped during the call never leads outside", async (t) => {
  const session = await openSession(t);
  await session.bash("mkdir inner; echo mine > inner/passwd; ln -s inner door");
  const swapping = session.run("bash", {
    command:
      "until [ -e enough ]; do ln -sfn /etc a; mv -T a door; ln -sfn inner a; mv -T a door; done 2>/dev/null; rm -f a",
  });
  const seen = new Set<string>();
  for (let round = 0; round < 60; round++) {
    for (const [tool, input] of [
      ["read", { file_path: "door/passwd" }],
      ["write", { file_path: "door/planted", content: "x" }],
      ["edit", { file_path: "door/passwd", old_string: "mine", new_string: "mine" }],
    ] as const) {
      seen.add((await session.run(tool, input)).text);
    }
    if (round % 10 === 0) {
      seen.add((await session.run("grep", { pattern: "root|mine", path: "door" })).text);
      seen.add((await session.run("glob", { pattern: "door/*" })).text);
    }
  }
  await session.run("write", { file_path: "enough", content: "" });
  await swapping;
  t.true(
    [...seen].every((text) => !text.includes("root:")),
    [...seen].join("\n"),
  );
  t.true(seen.has("mine\n"));
  t.true([...seen].some((text) => text.startsWith('path "door')));
});

test.serial("A fifo, a device and a socket are never waited for", async (t) => {
  const session = await openSession(t);
  await session.bash("mkfifo fifo; ln -s fifo to-fifo");
  for (const [tool, input] of [
    ["read", { file_path: "fifo" }],
    ["read", { file_path: "to-fifo" }],
    ["edit", { file_path: "fifo", old_string: "a", new_string: "b" }],
    ["write", { file_path: "fifo", content: "x" }],
  ] as const) {
    t.deepEqual(await session.run(tool, input), {
      text: `${tool}: ${input.file_path} is not a regular file`,
      isError: true,
    });
  }
  t.is((await session.run("grep", { pattern: "." })).text, "no matches");
  t.is((await session.run("glob", { pattern: "*" })).text, "no matches");
  t.is(await session.bash("test -p fifo && echo still a fifo"), "still a fifo");
});

test.serial("Names with newlines and bytes that are not UTF-8 are served", async (t) => {
  const session = await openSession(t);
  await session.bash(
    "echo needle > $'two\\nlines'; echo needle > $'caf\\xe9'; mkdir $'d\\xff'; echo needle > $'d\\xff/f'",
  );
  t.is((await session.run("read", { file_path: "two\nlines" })).text, "needle\n");
  t.is((await session.run("read", { file_path: "caf\uFFFD" })).text, "read: caf\uFFFD: no such file or directory");
  const found = (await session.run("grep", { pattern: "needle" })).text;
  t.is(found.replaceAll(session.workdir, ""), "/caf\uFFFD:1:needle\n/d\uFFFD/f:1:needle\n/two\nlines:1:needle");
  const listed = (await session.run("glob", { pattern: "**" })).text.replaceAll(session.workdir, "");
  t.deepEqual(new Set(listed.split("\n/")), new Set(listed.startsWith("/") ? listed.split("\n/") : []));
  for (const name of ["caf\uFFFD", "d\uFFFD/f", "two\nlines"]) t.true(listed.includes(name), name);
});

test.serial("Folders that the user may not enter are named so", async (t) => {
  const session = await openSession(t);
  await session.bash("mkdir -p shut/in; echo x > shut/in/f; echo x > closed; chmod 0 closed shut");
  t.is((await session.run("read", { file_path: "shut/in/f" })).text, 'path "shut/in/f": permission denied');
  t.is((await session.run("grep", { pattern: "x", path: "shut/in" })).text, 'path "shut/in": permission denied');
  t.is((await session.run("read", { file_path: "closed" })).text, "read: closed: permission denied");
  t.is((await session.run("grep", { pattern: "x" })).text, "no matches");
  await session.bash("chmod 755 shut closed");
});

test.serial("A link to a file of the host that is not inside says nothing of it", async (t) => {
  const session = await openSession(t);
  symlinkSync("/root/.ssh/id_ed25519", join(session.workdir, "key"));
  symlinkSync("/proc/self/environ", join(session.workdir, "environment"));
  for (const file_path of ["key", "environment", "/proc/self/environ", "/proc/1/mem"]) {
    t.is(
      (await session.run("read", { file_path })).text,
      `path "${file_path}" is outside the session's working directory`,
    );
  }
});
