import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { type ExecutionContext } from "ava";

const checkout = dirname(dirname(import.meta.dirname));

interface Project {
  folder: string;
  run: (file: string, ...args: string[]) => { status: number | null; stdout: string; stderr: string };
}

/**
 * Somebody's project with the packed package installed in it, as npm lays it out. Its dependencies are the checkout's, and
 * its prebuild is the addon that was built here: what npm and prebuildify would have put in the same places.
 */
function installPackage(t: ExecutionContext): Project {
  // Not in /tmp: the sandbox has one of its own, in which nothing of this would be.
  const folder = mkdtempSync(join(existsSync("/var/tmp") ? "/var/tmp" : tmpdir(), "holdfast-installed-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const env = { ...process.env, npm_config_cache: join(folder, "cache"), HOME: folder };
  const packed = spawnSync("npm", ["pack", "--ignore-scripts", "--loglevel=error", "--pack-destination", folder], {
    cwd: checkout,
    encoding: "utf8",
    env,
  });
  const modules = join(folder, "node_modules");
  const home = join(modules, "holdfast");
  mkdirSync(join(modules, ".bin"), { recursive: true });
  mkdirSync(home);
  const tarball = join(folder, packed.stdout.trim().split("\n").at(-1) ?? "");
  const untar = spawnSync("tar", ["-xzf", tarball, "-C", home, "--strip-components=1"], { encoding: "utf8" });
  t.is(untar.status, 0, packed.stderr + untar.stderr);
  const prebuilds = join(home, "prebuilds", `linux-${process.arch}`);
  rmSync(join(home, "prebuilds"), { recursive: true, force: true });
  mkdirSync(prebuilds, { recursive: true });
  copyFileSync(join(checkout, "build", "Release", "holdfast.node"), join(prebuilds, "holdfast.glibc.node"));
  copyFileSync(join(checkout, "build", "Release", "holdfast_init"), join(prebuilds, "holdfast_init"));
  for (const name of readdirSync(join(checkout, "node_modules"))) {
    if (!name.startsWith(".") && !name.startsWith("node-linux-") && name !== "holdfast" && name !== "holdfast-test") {
      symlinkSync(join(checkout, "node_modules", name), join(modules, name));
    }
  }
  symlinkSync("../holdfast/bin/holdfast", join(modules, ".bin", "holdfast"));
  writeFileSync(join(folder, "package.json"), '{"type": "module"}');
  return {
    folder,
    run: (file, ...args) =>
      spawnSync(file, args, {
        cwd: folder,
        encoding: "utf8",
        timeout: 60_000,
        env: { ...env, PREBUILDS_ONLY: "1", PATH: `${dirname(process.execPath)}:/usr/bin:/bin` },
      }),
  };
}

test("An installed package runs a command behind its walls, with the prebuilt addon and no compiler", (t) => {
  const project = installPackage(t);
  const run = project.run("node_modules/.bin/holdfast", "run", "--quiet", "--", "/bin/sh", "-c", "echo inside; exit 7");
  t.is(run.stdout, "inside\n", run.stderr);
  t.is(run.status, 7);
});

test("An installed package is imported by its name, and started from somebody's own code", (t) => {
  const project = installPackage(t);
  writeFileSync(
    join(project.folder, "main.js"),
    `import { loadPolicy, probe, Sandbox } from "holdfast";
     const sandbox = await Sandbox.create({ workdir: process.cwd() });
     const { stdout, exitCode } = await sandbox.exec("/bin/echo", ["hello"]);
     await sandbox[Symbol.asyncDispose]();
     console.log(JSON.stringify([typeof loadPolicy, typeof probe, String(stdout).trim(), exitCode]));`,
  );
  const run = project.run(process.execPath, "main.js");
  t.is(run.stdout, '["function","function","hello",0]\n', run.stderr);
});
