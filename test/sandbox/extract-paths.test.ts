// Files that leave by name: all, or none and why; in a live sandbox over its control socket.

import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, symlinkSync, watch } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import test from "ava";
import { HoldfastError } from "../../lib/errors.ts";
import { parsePolicy } from "../../lib/policy/load.ts";
import { protectedNameList } from "../../lib/policy/protected-names.ts";
import { askSandbox } from "../../lib/sandbox/control-client.ts";
import { type ExtractPathsOptions, extractPaths, type Manifest } from "../../lib/sandbox/extract.ts";
import { makeFiles, scratchFolder, sessionOver, snapshot } from "./session.ts";

const options: ExtractPathsOptions = { protectedNames: protectedNameList, within: [] };

const paths = ({ files }: Pick<Manifest, "files">): string[] => files.map(({ path }) => path);
const reasons = ({ keptBack }: Manifest): string[] => keptBack.map(({ path, reason }) => `${path}: ${reason}`);

function sourceWith(folder: string, files: Readonly<Record<string, string>>) {
  return { kind: "folder", folder: makeFiles(join(folder, "source"), files), isPrivate: true } as const;
}

test("What is named leaves with all below it; what cannot is passed over below a folder, and refused by its own name", async (t) => {
  const folder = scratchFolder(t);
  const source = sourceWith(folder, { "a/x": "x\n", "a/deep/y": "y\n", b: "b\n", "a*b": "s\n", other: "o\n" });
  symlinkSync("../b", join(source.folder, "a", "link"));
  const manifest = await extractPaths(source, ["a", "a*b"], join(folder, "made", "out"), options);
  t.deepEqual(paths(manifest), ["a/deep/y", "a/x", "a*b"]);
  t.deepEqual(reasons(manifest), ["a/link: it is a link"]);
  const { message } =
    (await t.throwsAsync(extractPaths(source, ["b", "a/link", "none"], join(folder, "no", "out"), options), {
      code: "ERR_HOLDFAST_EXTRACT",
    })) ?? {};
  t.regex(message ?? "", /\n {2}none: there is no such file.*\n {2}a\/link: it is a link$/);
  const pattern = await t.throwsAsync(extractPaths(source, ["a/*.md"], join(folder, "no", "out"), options));
  t.regex(HoldfastError.is(pattern) ? pattern.hint : "", /^Names are no patterns here: name the folder above/);
  t.false(existsSync(join(folder, "no")), "nor the folders above it");
});

test("A failure at the last file leaves a destination that was there as it was", async (t) => {
  const folder = scratchFolder(t);
  const source = sourceWith(folder, { "a/new": "new\n", file: "new\n", "z/x": "new\n" });
  const to = makeFiles(join(folder, "out"), { file: "old\n", z: "a file\n" });
  await t.throwsAsync(extractPaths(source, [""], to, options), {
    code: "ERR_HOLDFAST_EXTRACT",
    message: /z\/x: a link or a file stands where a folder is wanted/,
  });
  t.deepEqual(snapshot(to), { file: "644 old\n", z: "644 a file\n" });
});

test("Size and count are limits of all that leaves together, depth and type of each file", async (t) => {
  const folder = scratchFolder(t);
  const source = sourceWith(folder, { "1.md": "12345", "2.md": "12345", "d/3.md": "12345", "d/e/4": "12345" });
  const to = join(folder, "out");
  for (const [limits, message] of [
    [{ maxBytes: 14 }, /with d\/3\.md it would be more than 14 bytes/],
    [{ maxFiles: 2 }, /with d\/3\.md it would be more than 2 files/],
  ] as const) {
    await t.throwsAsync(extractPaths(source, [""], to, { ...options, ...limits }), { message });
  }
  t.false(existsSync(to));
  const shallow = await extractPaths(source, [""], to, { ...options, maxDepth: 1, maxFiles: 3, maxBytes: 15 });
  t.deepEqual(reasons(shallow), ["d/e/4: it lies more than 1 folders deep"]);
  const typed = await extractPaths(source, [""], to, { ...options, types: ["md", "txt"], maxFiles: 3 });
  t.deepEqual(reasons(typed), ["d/e/4: it is not of the types md, txt"]);
});

test("A type is the ending of the name, and the content agrees with it", async (t) => {
  const folder = scratchFolder(t);
  const { folder: place } = sourceWith(folder, { "good.MD": "text ✓\n", ".md": "x", notes: "words\n", "a.tar.gz": "" });
  makeFiles(place, {
    "program.md": Buffer.from("\x7fELF\x02\0\0", "latin1"),
    "latin.md": Buffer.from([0x61, 0xe9]),
    "cut.md": Buffer.from([0x61, 0xe2, 0x9c]),
    "p.png": Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    "not.png": "GIF89a",
    "short.png": Buffer.from("\x89PN", "latin1"),
    "b.tar.gz": Buffer.from("\x1f\x8b\x08", "latin1"),
  });
  const source = { kind: "folder", folder: place, isPrivate: true } as const;
  const typed = await extractPaths(source, [""], join(folder, "1"), { ...options, types: ["md", "png", "tar.gz"] });
  t.deepEqual(paths(typed), ["b.tar.gz", "good.MD", "p.png"]);
  const text = await extractPaths(source, [""], join(folder, "2"), { ...options, types: ["text"] });
  t.deepEqual(paths(text), [".md", "a.tar.gz", "good.MD", "not.png", "notes"]);
});

test("A dry run tells the same and writes nothing", async (t) => {
  const folder = scratchFolder(t);
  const source = sourceWith(folder, { "a/x": "x\n" });
  const to = join(folder, "out");
  const dry = await extractPaths(source, ["a"], to, { ...options, dryRun: true });
  t.false(existsSync(to));
  t.deepEqual(await extractPaths(source, ["a"], to, options), dry);
});

test("A live sandbox lets out by its socket what its policy's rules name, and by no path what is elsewhere", async (t) => {
  const { policy } = parsePolicy("holdfast: 1\nextract: ['report/**', {glob: '*.txt', max_files: 1, types: [text]}]\n");
  if (policy === null) return t.fail("the policy is none");
  const { sandbox, workspace } = await sessionOver(
    t,
    { "report/old": "o\n", "key.pem": "k\n", "b.txt": "b\n" },
    "echo n > a.txt",
    {
      policy,
    },
  );
  const socket = { name: sandbox.name, path: sandbox.controlSocket };
  const to = join(scratchFolder(t), "out");
  const ask = (request: object) => askSandbox(socket, { op: "extract", to, ...request }, "work");
  for (const [named, message] of [
    [["key.pem"], /key\.pem: no extract rule of the policy names it/],
    [["a.txt", "b.txt"], /with b\.txt it would be more than 1 files/],
    [["/etc/passwd"], /"\/etc\/passwd" does not lie in the workspace/],
    [["../x"], /does not lie in the workspace/],
    [["report/\ud800"], /there is no such file/],
    [[], /paths is a list of texts/],
  ] as const) {
    await t.throwsAsync(ask({ paths: named }), { message });
  }
  await t.throwsAsync(ask({ paths: ["report"], to: join(workspace, "out") }), { message: /lies in the workspace/ });
  await t.throwsAsync(ask({ paths: ["report"], to: "out" }), { message: /to is an absolute path/ });
  t.false(existsSync(to));
  const answer = await ask({ paths: ["report", join(workspace, "a.txt")] });
  t.deepEqual(paths(answer as unknown as Manifest), ["a.txt", "report/old"]);
  t.is(readFileSync(join(to, "a.txt"), "utf8"), "n\n");
  const changed = await ask({ paths: ["."], files: "changed", dryRun: true });
  t.deepEqual(paths(changed as unknown as Manifest), ["a.txt"]);
});

for (const [whose, leave] of [
  ["the sandbox ends", "end"],
  ["whoever asked goes away", "close"],
] as const) {
  test(`Nothing has left, and nothing is left lying, when ${whose} meanwhile`, async (t) => {
    // Sparse: it takes its time to read, and no room.
    const { sandbox } = await sessionOver(t, {}, "for i in $(seq 40); do truncate -s 64M $i; done", {
      workspace: "fresh",
    });
    const folder = scratchFolder(t);
    const begun = once(watch(folder).unref(), "change");
    const socket = connect(sandbox.controlSocket);
    const request = { op: "extract", paths: ["."], to: join(folder, "out"), maxBytes: 2 ** 40 };
    socket.write(`${JSON.stringify(request)}\n`);
    await begun;
    const gone = watch(folder);
    const cleared = new Promise<void>((resolve) => {
      gone.on("change", () => readdirSync(folder).length === 0 && resolve());
    });
    if (leave === "close") socket.destroy();
    else {
      const answered = once(socket.setEncoding("utf8"), "data");
      await sandbox.end();
      t.like(JSON.parse(String((await answered)[0])), { ok: false, code: "ERR_HOLDFAST_SANDBOX_GONE" });
    }
    await cleared;
    gone.close();
    t.deepEqual(readdirSync(folder), []);
  });
}
