import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { type ExecutionContext } from "ava";

const checkout = dirname(dirname(import.meta.dirname));
const manifest = JSON.parse(readFileSync(join(checkout, "package.json"), "utf8"));

/** The paths that `npm pack` would put into the package. */
function packedFiles(t: ExecutionContext): string[] {
  const cache = mkdtempSync(join(tmpdir(), "holdfast-npm-"));
  t.teardown(() => rmSync(cache, { recursive: true, force: true }));
  const run = spawnSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts", "--loglevel=error"], {
    cwd: checkout,
    encoding: "utf8",
    env: { ...process.env, npm_config_cache: cache },
  });
  const packed: unknown = JSON.parse(run.stdout);
  // npm 11 prints a list, npm 12 an object with a key for each package.
  const [first] = Array.isArray(packed) ? packed : Object.values(packed as object);
  return first.files.map((file: { path: string }) => file.path);
}

test("The package holds what is needed to run, to read and to build from source, and no tests", (t) => {
  const files = packedFiles(t);
  const needed = [
    "bin/holdfast",
    "demo/tasks/1-build.yaml",
    "demo/workspace/Makefile",
    "dist/lib/index.js",
    "dist/lib/index.d.ts",
    "dist/command/main.cjs",
    "dist/seccomp/compiled/x86_64.json",
    "presets/agent.yaml",
    "policy.schema.json",
    "binding.gyp",
    "native/addon.cc",
    "native/init_image.S",
    "native/build.ts",
    "native/headers.ts",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
  ];
  t.deepEqual(
    needed.filter((path) => !files.includes(path)),
    [],
  );
  t.deepEqual(
    files.filter((path) => /^(test|\.ci|node_modules|build|native\/test)\b/.test(path) || path.endsWith(".tgz")),
    [],
  );
});

test("Installing the package runs no script: npm blocks or warns about them, and there is nothing to compile", (t) => {
  for (const name of ["preinstall", "install", "postinstall"]) t.false(name in manifest.scripts, name);
  t.is(manifest.gypfile, false, "npm runs node-gyp by itself when it sees binding.gyp and this is not false");
});

test("No dependency wants a script of its own to be run", (t) => {
  const lock = JSON.parse(readFileSync(join(checkout, "package-lock.json"), "utf8"));
  const wanting = Object.entries<{ hasInstallScript?: boolean; optional?: boolean }>(lock.packages)
    .filter(([, entry]) => entry.hasInstallScript)
    .map(([name]) => name.replace(/^.*node_modules\//, ""));
  t.deepEqual(
    wanting.filter((name) => manifest.allowScripts?.[name] === undefined),
    [],
  );
});

test("The lock file has every optional dependency of every package, for npm ci refuses one that has not", (t) => {
  // npm leaves out of the lock what the registry in use cannot serve, and then finds it missing elsewhere.
  const { packages } = JSON.parse(readFileSync(join(checkout, "package-lock.json"), "utf8"));
  const missing = Object.entries<{ optionalDependencies?: Record<string, string> }>(packages).flatMap(([path, entry]) =>
    Object.keys(entry.optionalDependencies ?? {}).filter(
      (name) => !(`node_modules/${name}` in packages) && !(`${path}/node_modules/${name}` in packages),
    ),
  );
  t.deepEqual(missing, []);
});

test("Every file that package.json names is there", (t) => {
  const named = [manifest.types, ...Object.values<string>(manifest.bin)];
  for (const target of Object.values<string | Record<string, string>>(manifest.exports)) {
    named.push(...(typeof target === "string" ? [target] : Object.values(target)));
  }
  t.true(named.length > 3);
  t.deepEqual(
    named.filter((path) => !existsSync(join(checkout, path))),
    [],
  );
});
