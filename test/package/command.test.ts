import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { type ExecutionContext } from "ava";

const checkout = dirname(dirname(import.meta.dirname));

/** A package of the command's entry and a stand-in for what it starts. */
function makePackage(t: ExecutionContext, main?: string): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-command-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "bin"));
  copyFileSync(join(checkout, "bin", "holdfast"), join(folder, "bin", "holdfast"));
  if (main !== undefined) {
    mkdirSync(join(folder, "dist", "command"), { recursive: true });
    writeFileSync(join(folder, "package.json"), '{"type": "module"}');
    writeFileSync(join(folder, "dist", "command", "main.cjs"), main);
  }
  return folder;
}

const printArguments = "console.log(JSON.stringify(process.argv.slice(2)));";

test("The command is found through a chain of relative and absolute symlinks", (t) => {
  const folder = makePackage(t, printArguments);
  mkdirSync(join(folder, "elsewhere"));
  symlinkSync("../bin/holdfast", join(folder, "elsewhere", "first"));
  symlinkSync(join(folder, "elsewhere", "first"), join(folder, "second"));
  const run = spawnSync("./second", ["a b", "--", "*"], { cwd: folder, encoding: "utf8" });
  t.is(run.stdout, '["a b","--","*"]\n', run.stderr);
});

test("The command is found by PATH and from its own folder", (t) => {
  const folder = makePackage(t, printArguments);
  const bin = join(folder, "bin");
  const byPath = spawnSync("/bin/sh", ["-c", "holdfast x"], {
    encoding: "utf8",
    env: { ...process.env, PATH: `${bin}:${process.env["PATH"]}` },
  });
  t.is(byPath.stdout, '["x"]\n', byPath.stderr);
  t.is(spawnSync("sh", ["holdfast", "y"], { cwd: bin, encoding: "utf8" }).stdout, '["y"]\n');
});

test("A checkout that was not built says so and ends with 125", (t) => {
  const run = spawnSync(join(makePackage(t), "bin", "holdfast"), ["doctor"], { encoding: "utf8" });
  t.is(run.status, 125);
  t.regex(run.stderr, /npm run build/);
});

test("Without any Node the command says which ones do", (t) => {
  const folder = makePackage(t, printArguments);
  const run = spawnSync(join(folder, "bin", "holdfast"), [], { encoding: "utf8", env: { PATH: folder } });
  t.is(run.status, 125);
  t.regex(run.stderr, /Node 22\.22\.2, 24\.15/);
});

test("The Node that the checkout brings is preferred to that of PATH", (t) => {
  const folder = makePackage(t, printArguments);
  for (const arch of ["x64", "arm64"]) {
    const bin = join(folder, "node_modules", `node-linux-${arch}`, "bin");
    mkdirSync(bin, { recursive: true });
    writeFileSync(join(bin, "node"), "#!/bin/sh\necho pinned\n", { mode: 0o755 });
  }
  t.is(spawnSync(join(folder, "bin", "holdfast"), { encoding: "utf8" }).stdout, "pinned\n");
});

test("A signal reaches the program and its end is the command's", async (t) => {
  const folder = makePackage(
    t,
    'process.on("SIGTERM", () => process.exit(7)); setInterval(() => {}, 1000); console.log("up");',
  );
  const child = spawn(join(folder, "bin", "holdfast"), { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  child.kill("SIGTERM");
  const [code] = await once(child, "exit");
  t.is(code, 7);
});
