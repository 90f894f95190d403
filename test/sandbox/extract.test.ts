import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmodSync, existsSync, linkSync, readdirSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import test from "ava";
import { protectedNameList } from "../../lib/policy/protected-names.ts";
import { type ExtractOptions, extractFiles, type Manifest } from "../../lib/sandbox/extract.ts";
import { makeFiles, scratchFolder, sessionOver, snapshot } from "./session.ts";

const options: ExtractOptions = { protectedNames: protectedNameList };

const paths = ({ files }: Manifest): string[] => files.map(({ path }) => path).sort();
const reasons = ({ keptBack }: Manifest): string[] => keptBack.map(({ path, reason }) => `${path}: ${reason}`);

test("What the session made and a rule names leaves, with its hash, and nothing else", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    { "report/old.md": "old\n", "report/changed.md": "old\n", "src/main.c": "int main;\n" },
    `echo report > report/new.md; echo new > report/changed.md; echo x > src/other.c; mkdir -p report/deep/er
     echo deep > report/deep/er/x.md; chmod 755 report/new.md; chmod 600 report/old.md`,
  );
  const to = join(scratchFolder(t), "out", "session-1");
  const manifest = await sandbox.extract([{ glob: "report/**/*.md" }], to);
  t.deepEqual(paths(manifest), ["report/changed.md", "report/deep/er/x.md", "report/new.md"]);
  t.deepEqual(Object.keys(snapshot(to)), [
    "report",
    "report/changed.md",
    "report/deep",
    "report/deep/er",
    "report/deep/er/x.md",
    "report/new.md",
  ]);
  const made = manifest.files.find(({ path }) => path === "report/new.md");
  t.deepEqual(made, {
    path: "report/new.md",
    bytes: 7,
    sha256: createHash("sha256").update("report\n").digest("hex"),
    mode: 0o755,
  });
  t.is(statSync(join(to, "report/new.md")).mode & 0o7777, 0o755);
  t.is(manifest.totalBytes, 16);
  t.deepEqual(reasons(manifest), []);
});

test("All that the session could see leaves when that is asked for", async (t) => {
  const { sandbox } = await sessionOver(
    t,
    { "a/old": "old\n", "a/changed": "old\n", "a/gone": "x\n", "b/x": "x\n" },
    "echo new > a/changed; rm a/gone; rm -r b; mkdir b; echo y > b/y",
  );
  const to = join(scratchFolder(t), "out");
  t.deepEqual(paths(await sandbox.extract([{ glob: "**" }], to, { files: "all" })), ["a/changed", "a/old", "b/y"]);
  t.is(readFileSync(join(to, "a/changed"), "utf8"), "new\n");
});

for (const workspace of ["fresh", "direct"] as const) {
  test(`A ${workspace} workspace gives what matches`, async (t) => {
    const { sandbox } = await sessionOver(t, {}, "mkdir out; echo 1 > out/a; echo 2 > b", { workspace });
    const to = join(scratchFolder(t), "out");
    t.deepEqual(paths(await sandbox.extract([{ glob: "out/*" }], to)), ["out/a"]);
  });
}

test("Links, fifos, sockets, set-id files, protected names and names that cannot be printed stay", async (t) => {
  const folder = scratchFolder(t);
  const secret = makeFiles(join(folder, "secret"), { key: "the secret\n" });
  const source = makeFiles(join(folder, "source"), {
    good: "good\n",
    setuid: "x\n",
    ".vscode/tasks.json": "{}\n",
    ".git/hooks/pre-commit": "evil\n",
    "esc\u001b[31m": "x\n",
    "two\nlines": "x\n",
  });
  chmodSync(join(source, "setuid"), 0o4755);
  symlinkSync(join(secret, "key"), join(source, "link"));
  symlinkSync(secret, join(source, "folder"));
  const server = createServer().listen(join(source, "socket"));
  t.teardown(() => server.close());
  const to = join(folder, "out");
  const manifest = await extractFiles(
    { kind: "folder", folder: source, isPrivate: true },
    [{ glob: "**" }],
    to,
    options,
  );
  t.deepEqual(paths(manifest), ["good"]);
  t.deepEqual(snapshot(to), { good: "644 good\n" });
  t.deepEqual(reasons(manifest), [
    ".git/hooks/pre-commit: .git/hooks is a protected name",
    ".vscode/tasks.json: .vscode is a protected name",
    '"esc\\033[31m": its name is not printable UTF-8',
    "folder: it is a link",
    "link: it is a link",
    "setuid: it is set-user-id or set-group-id",
    "socket: it is a socket",
    '"two\\nlines": its name is not printable UTF-8',
  ]);
});

test("A fifo or a name that is no UTF-8 made by a session stays", async (t) => {
  const { sandbox } = await sessionOver(t, {}, `mkfifo pipe; echo x > $'bad\\xff'; echo x > good`);
  const to = join(scratchFolder(t), "out");
  const manifest = await sandbox.extract([{ glob: "*" }], to);
  t.deepEqual(paths(manifest), ["good"]);
  t.deepEqual(reasons(manifest), ['"bad\\377": its name is not printable UTF-8', "pipe: it is a fifo"]);
});

test("A file with a further name outside the workspace stays, one with all its names inside leaves", async (t) => {
  const folder = scratchFolder(t);
  const source = makeFiles(join(folder, "source"), { both: "x\n", half: "y\n", "skipped/": "" });
  linkSync(join(source, "both"), join(source, "skipped", "other"));
  linkSync(join(source, "half"), join(folder, "outside"));
  const to = join(folder, "out");
  const manifest = await extractFiles(
    { kind: "folder", folder: source, isPrivate: false },
    [{ glob: "*" }],
    to,
    options,
  );
  t.deepEqual(paths(manifest), ["both"]);
  t.regex(reasons(manifest).join(), /^half: .*hard links/);
});

test("The limits of a rule hold, and a second rule may have room of its own", async (t) => {
  const folder = scratchFolder(t);
  const files = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`f${i}`, "12345"]));
  const source = {
    kind: "folder",
    folder: makeFiles(join(folder, "source"), { ...files, big: "x".repeat(100) }),
    isPrivate: true,
  } as const;
  const byCount = await extractFiles(source, [{ glob: "f*", maxFiles: 3 }], join(folder, "1"), options);
  t.deepEqual(paths(byCount), ["f0", "f1", "f2"]);
  t.is(byCount.keptBackCount, 6);
  t.is(reasons(byCount)[0], "f3: the rule lets out no more than 3 files");
  const bySize = await extractFiles(source, [{ glob: "*", maxBytes: 12 }], join(folder, "2"), options);
  t.deepEqual(paths(bySize), ["f0", "f1"]);
  t.is(reasons(bySize)[0], "big: the rule lets out no more than 12 bytes");
  const two = await extractFiles(source, [{ glob: "f*", maxFiles: 1 }, { glob: "f[0-2]" }], join(folder, "3"), options);
  t.deepEqual(paths(two), ["f0", "f1", "f2"]);
});

test("A thousand files leave by a rule without a number of its own, and no more", async (t) => {
  const { sandbox } = await sessionOver(t, {}, "for i in $(seq 1005); do : > f$i; done", { workspace: "fresh" });
  const manifest = await sandbox.extract([{ glob: "*" }], join(scratchFolder(t), "out"));
  t.is(manifest.files.length, 1000);
  t.is(manifest.keptBackCount, 5);
});

test("A link at the destination is not followed, and a file there is replaced", async (t) => {
  const folder = scratchFolder(t);
  const outside = makeFiles(join(folder, "outside"), { target: "kept\n" });
  const source = makeFiles(join(folder, "source"), {
    "d/x": "new\n",
    file: "new\n",
    link: "new\n",
    "is-folder": "new\n",
  });
  const to = makeFiles(join(folder, "out"), { file: "old\n", "is-folder/inner": "kept\n" });
  symlinkSync(outside, join(to, "d"));
  symlinkSync(join(outside, "target"), join(to, "link"));
  const manifest = await extractFiles(
    { kind: "folder", folder: source, isPrivate: true },
    [{ glob: "**" }],
    to,
    options,
  );
  t.deepEqual(paths(manifest), ["file", "link"]);
  t.deepEqual(reasons(manifest), [
    "d/x: a link or a file stands where a folder is wanted; links are not followed",
    "is-folder: a folder of that name is at the destination",
  ]);
  t.deepEqual(snapshot(outside), { target: "644 kept\n" });
  t.deepEqual(
    readdirSync(to).filter((name) => name.startsWith(".holdfast")),
    [],
  );
});

test("The destination may not lie where the session writes", async (t) => {
  const folder = scratchFolder(t);
  const source = makeFiles(join(folder, "source"), { x: "x\n" });
  makeFiles(join(folder, "source2"), { x: "x\n" });
  await t.throwsAsync(
    extractFiles({ kind: "folder", folder: source, isPrivate: false }, [{ glob: "*" }], join(source, "out"), options),
    { code: "ERR_HOLDFAST_EXTRACT", message: /lies in the workspace/ },
  );
  await t.throwsAsync(
    extractFiles(
      { kind: "folder", folder: source, isPrivate: false },
      [{ glob: "*" }],
      join(folder, "source2", "x", "out"),
      options,
    ),
    { code: "ERR_HOLDFAST_EXTRACT", message: /cannot be made/ },
  );
  await t.throwsAsync(
    extractFiles(
      { kind: "folder", folder: source, isPrivate: false },
      [{ glob: "/etc" }],
      join(folder, "out"),
      options,
    ),
    { code: "ERR_HOLDFAST_BAD_GLOB" },
  );
  t.false(existsSync(join(folder, "out")));
});

test("A session that goes on exchanging files and folders for links leads nothing outside", async (t) => {
  const folder = scratchFolder(t);
  const secret = makeFiles(join(folder, "secret"), { file: "the secret\n" });
  const { sandbox } = await sessionOver(t, { "d/file": "x\n", file: "x\n" }, "true", { workspace: "direct" });
  const racing = sandbox.spawn("bash", [
    "-c",
    `mkdir real; cp d/file real; ln -s ${secret} away; ln -s ${secret}/file awayfile; cp file keep; echo ready
     while :; do rm -rf d; mv -T away d; mv -T d away; cp -r real d; mv -T awayfile file; mv -T file awayfile; cp keep file; done`,
  ]);
  t.teardown(() => racing.kill("SIGKILL"));
  if (racing.stdout !== null) await once(racing.stdout, "data");
  for (let round = 0; round < 40; round++) {
    const to = join(folder, `out-${round}`);
    await sandbox.extract([{ glob: "d/*" }, { glob: "file" }], to);
    t.false(Object.values(snapshot(to)).some((content) => content.includes("secret")));
  }
  t.is(racing.exitCode, null, "it raced all the time");
});
