// Sets a checkout up: dependencies, the native part, dist/. Runs before `npm test` and `npm run demo`, on whatever Node the
// host has (18 or newer) and before anything is installed: so plain JavaScript, and no imports from npm.
//
//   node native/bootstrap.mjs            all three, each only where its sources have changed
//   node native/bootstrap.mjs --build    the last two; a type error is a failure (`npm run build`, and npm ci by `prepare`)
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { delimiter, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...names) => join(root, ...names);
const buildOnly = process.argv.includes("--build");

/** Ends with one message for people. */
function fail(message) {
  console.error(`holdfast: ${message}`);
  process.exit(1);
}

/** Runs one step, says how long it took, and ends everything when it fails (unless `tolerate`). */
function step(what, command, args, { tolerate = false, env = process.env } = {}) {
  const begin = Date.now();
  const tty = process.stderr.isTTY;
  process.stderr.write(`holdfast: ${what} …${tty ? "" : "\n"}`);
  // Output is kept back: it is noise unless the step fails.
  const run = spawnSync(command, args, { cwd: root, env, encoding: "utf8", maxBuffer: 64 << 20, timeout: 900_000 });
  const seconds = ((Date.now() - begin) / 1000).toFixed(1);
  const ok = run.status === 0;
  process.stderr.write(`${tty ? "\r\x1b[K" : ""}holdfast: ${what}: ${ok ? "done" : "failed"} in ${seconds} s\n`);
  if (ok) return true;
  process.stderr.write(`${run.stdout ?? ""}${run.stderr ?? ""}`);
  if (run.error) process.stderr.write(`${command}: ${run.error.message}\n`);
  if (!tolerate) fail(`${what} failed; the output above says why.`);
  return false;
}

function onPath(name) {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function* filesBelow(folder) {
  if (!existsSync(at(folder))) return;
  for (const entry of readdirSync(at(folder), { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield path;
  }
}

/** Contents and not times: a branch switched back and forth, or a clock that jumped, builds exactly when it must. */
function fingerprint(paths) {
  const hash = createHash("sha256");
  for (const path of paths)
    hash
      .update(`${path}\0`)
      .update(readFileSync(at(path)))
      .update("\0");
  return hash.digest("hex");
}

function isCurrent(stamp, print, outputs) {
  if (!outputs.every((path) => existsSync(at(path)))) return false;
  try {
    return readFileSync(at(stamp), "utf8") === print;
  } catch {
    return false;
  }
}

// ---- dependencies

function needsInstall() {
  const installed = at("node_modules", ".package-lock.json");
  return !existsSync(installed) || statSync(installed).mtimeMs < statSync(at("package-lock.json")).mtimeMs;
}

function install() {
  // loglevel: npm on an older Node prints a warning for every package that wants a newer one; the scripts use ours.
  // ignore-scripts: no dependency has one that is needed, and our own `prepare` is the rest of this file.
  step(
    "installing packages (npm ci)",
    "npm",
    ["ci", "--ignore-scripts", "--loglevel=error", "--no-audit", "--no-fund"],
    {
      env: { ...process.env, npm_config_loglevel: "error" },
    },
  );
}

// ---- the Node that the checkout is built and tested with

function pinnedNode() {
  const pinned = at("node_modules", ".bin", "node");
  if (existsSync(pinned)) return pinned;
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > 24 || (major === 24 && minor >= 15) || (major === 22 && minor >= 22)) return process.execPath;
  return fail(
    `no Node for ${process.platform}-${process.arch} came with the packages, and this one is ${process.versions.node}. ` +
      "Install Node 22.22.2, 24.15 or newer.",
  );
}

// ---- the native part

function buildNative(node) {
  const sources = [...filesBelow("native")].filter(
    (path) => /\.(cc|h|S|map)$/.test(path) && !path.startsWith("native/test/"),
  );
  const print = fingerprint(["binding.gyp", "package-lock.json", "native/build.ts", "native/headers.ts", ...sources]);
  const stamp = "build/Release/holdfast.stamp";
  if (isCurrent(stamp, print, ["build/Release/holdfast.node", "build/Release/holdfast_init"])) return;
  const missing = ["g++", "make", "python3"].filter((name) => !onPath(name) && !(name === "g++" && process.env.CXX));
  if (missing.length > 0) {
    fail(`building the native part needs ${missing.join(", ")}. On Debian: apt-get install -y ${missing.join(" ")}`);
  }
  step("building the native part", node, ["native/build.ts"]);
  writeFileSync(at(stamp), print);
}

// ---- dist/

/** dist/ mirrors lib/ and seccomp/: what is compiled, and beside it the data that the code reads by relative path. */
function buildDist(node) {
  const sources = [...filesBelow("lib"), ...filesBelow("seccomp")];
  const settings = ["tsconfig.json", "tsconfig.build.json", "package-lock.json", "native/bundle.ts"];
  const print = fingerprint([...settings, ...sources]);
  const stamp = "build/dist.stamp";
  if (isCurrent(stamp, print, ["dist/lib", "dist/command/main.cjs", "dist/seccomp/compiled"])) return;
  const tsc = at("node_modules", "typescript", "bin", "tsc");
  const compiled = step("compiling", node, [tsc, "-p", "tsconfig.build.json"], { tolerate: !buildOnly });
  const wanted = new Set();
  for (const path of sources) {
    const module = /^(.*)\.(m?)ts$/.exec(path);
    if (!module || module[1].endsWith(".d")) {
      mkdirSync(dirname(at("dist", path)), { recursive: true });
      copyFileSync(at(path), at("dist", path));
      wanted.add(path);
    } else {
      wanted.add(`${module[1]}.${module[2]}js`).add(`${module[1]}.d.${module[2]}ts`);
    }
  }
  // A module that was renamed must not live on in dist/.
  for (const path of filesBelow("dist")) if (!wanted.has(relative("dist", path))) rmSync(at(path));
  step("bundling", node, ["native/bundle.ts"]);
  mkdirSync(at("build"), { recursive: true });
  if (compiled) writeFileSync(at(stamp), print);
  else rmSync(at(stamp), { force: true });
}

if (!buildOnly && needsInstall()) install();
const node = pinnedNode();
buildNative(node);
buildDist(node);
