import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, truncateSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "ava";
import { askSandbox } from "../../lib/sandbox/control-client.ts";
import type { ImportResult } from "../../lib/sandbox/import.ts";
import { makeFiles, runInside, scratchFolder, sessionOver, snapshot } from "./session.ts";

const paths = ({ files }: ImportResult): string[] => files.map(({ path }) => path);

for (const mode of ["namespaces", "landlock"] as const) {
  test(`Files and folders come into the private layer, whole and with their modes (${mode})`, async (t) => {
    const { sandbox, workspace } = await sessionOver(t, { "old.txt": "old\n", "d/": "" }, "true", { mode });
    const host = makeFiles(scratchFolder(t), {
      "a.txt": "a\n",
      "tree/x": "x\n",
      "tree/deep/run": "#!/bin/sh\necho ran\n",
    });
    chmodSync(join(host, "tree/deep/run"), 0o755);
    symlinkSync("/etc/passwd", join(host, "tree/link"));
    const socket = { name: sandbox.name, path: sandbox.controlSocket };
    const bring = async (files: readonly string[], to?: string) =>
      (await askSandbox(socket, { op: "import", files, to }, "work")) as unknown as ImportResult;
    const tree = await bring([join(host, "tree")]);
    t.deepEqual(paths(tree), ["tree/deep/run", "tree/x"]);
    t.deepEqual(tree.passedOver, [{ path: "link", reason: "it is a link" }]);
    t.deepEqual(paths(await bring([join(host, "a.txt")], "old.txt")), ["old.txt"]);
    t.deepEqual(paths(await bring([join(host, "a.txt")], "d")), ["d/a.txt"]);
    t.deepEqual(paths(await bring([join(host, "a.txt")], "new/folder/")), ["new/folder/a.txt"]);
    t.is(
      await runInside(sandbox, "tree/deep/run; cat old.txt new/folder/a.txt d/a.txt; stat -c %a tree/x"),
      "ran\na\na\na\n644\n",
    );
    t.deepEqual(snapshot(workspace), { "old.txt": "644 old\n", d: "755 /" });
  });
}

test("No link that a session made is followed, on the way, at the end, or on the host", async (t) => {
  const folder = scratchFolder(t);
  const host = makeFiles(join(folder, "host"), { f: "new\n" });
  const secret = makeFiles(join(folder, "secret"), { key: "the secret\n" });
  const { sandbox, workspace } = await sessionOver(
    t,
    { "target/f": "kept\n", target2: "kept\n" },
    `ln -s target way; ln -s target2 end; ln -s ${secret}/key key; ln -s none dangling`,
    { workspace: "direct" },
  );
  for (const to of ["way/f", "way/new/f", "way/", "end", "dangling", "dangling/f"]) {
    await t.throwsAsync(sandbox.importFiles([join(host, "f")], to), {
      code: "ERR_HOLDFAST_IMPORT",
      message: /a link stands there/,
    });
  }
  t.is(readFileSync(join(workspace, "target/f"), "utf8"), "kept\n");
  t.is(readFileSync(join(workspace, "target2"), "utf8"), "kept\n");
  // By a link that the session made the launcher would read what is the user's alone.
  symlinkSync(workspace, join(host, "ws"));
  for (const path of [join(workspace, "key"), join(host, "ws", "key"), join(host, "ws"), dirname(workspace)]) {
    await t.throwsAsync(sandbox.importFiles([path], "got"), { message: /the sandbox can write/ });
  }
  t.false(existsSync(join(workspace, "got")));
});

test("What cannot be imported is named with why, and what came before it stays", async (t) => {
  const { sandbox } = await sessionOver(t, { "f/": "", ".git/hooks/": "" }, "true", { workspace: "direct" });
  const host = makeFiles(scratchFolder(t), { a: "a\n", b: "b\n", huge: "" });
  truncateSync(join(host, "huge"), 65 * 1024 * 1024);
  mkdirSync(join(host, "f"));
  const bring = (files: readonly string[], to: string) =>
    sandbox.importFiles(
      files.map((file) => join(host, file)),
      to,
    );
  for (const [files, to, message] of [
    [["none"], "", /none was not imported: it does not exist/],
    [["a"], "../x", /"\.\.\/x" does not lie in the workspace/],
    [["a"], ".git/hooks/", /it is read-only there, or a protected name/],
    [["a"], "a/b/", null],
    [["a"], "a/b/a/c", /something on the way is no folder/],
    [["b", "huge"], "", /huge was not imported: it has more than \d+ bytes; 1 before it is inside/],
    [["../../../../dev/null"], "", /it is neither a file nor a folder/],
  ] as const) {
    if (message === null) await bring(files, to);
    else await t.throwsAsync(bring(files, to), { message });
  }
  t.is(await runInside(sandbox, "cat b a/b/a"), "b\na\n");
  await sandbox.end();
  await t.throwsAsync(bring(["a"], ""), { code: "ERR_HOLDFAST_SANDBOX_GONE" });
});
