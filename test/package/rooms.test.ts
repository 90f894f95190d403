import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import test from "ava";

const checkout = dirname(dirname(import.meta.dirname));

/**
 * The rooms of lib/ in the order of the flow: each imports from those before it and from its own line, never from a later
 * one. native.ts stands before host/, which probes with it; audit/ before all that append to it.
 */
const flow: readonly (readonly string[])[] = [
  ["errors.ts"],
  ["policy"],
  ["native.ts"],
  ["host"],
  ["plan"],
  ["audit", "secrets"],
  ["egress", "rego"],
  ["sandbox"],
  ["tools", "denials"],
  ["worker", "queue"],
  ["index.ts"],
  ["cli"],
];

/** Rooms that neither start anything nor look at the machine: their results follow from what they are given. */
const pure = ["plan"];
/** Reads the package's own data (seccomp/), which is the same on every machine. */
const readsPackage = ["plan/seccomp-profile.ts"];

interface Import {
  from: string;
  to: string;
}

const room = (path: string): string => path.split("/")[0] ?? path;
const rank = (path: string): number => flow.findIndex((rooms) => rooms.includes(room(path)));

function importsOf(path: string): string[] {
  const text = readFileSync(join(checkout, "lib", path), "utf8").replace(/\/\*[\s\S]*?\*\//g, "");
  const found = text.matchAll(/^\s*(?:import|export)\b[^"'`;]*?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']/gm);
  return [...found].map((match) => match[1] ?? match[2] ?? "");
}

const files = globSync("**/*.ts", { cwd: join(checkout, "lib") });
const internal: Import[] = files.flatMap((from) =>
  importsOf(from)
    .filter((name) => name.startsWith("."))
    .map((name) => ({ from, to: relative(".", join(dirname(from), name)) }))
    .filter(({ to }) => !to.startsWith("..")),
);

test("Every file of lib/ stands in a room of the flow", (t) => {
  t.true(files.length > 10 && internal.length > 10);
  t.deepEqual(
    files.filter((path) => rank(path) < 0),
    [],
  );
});

test("A room imports from the rooms above it in the flow, never from one below", (t) => {
  t.deepEqual(
    internal.filter(({ from, to }) => rank(to) > rank(from)),
    [],
  );
});

test("The launch plan is pure: plan/ neither reads the machine nor starts anything", (t) => {
  const impure = /^(node:)?(fs|child_process|net|http|https|os|worker_threads|dgram)(\/|$)/;
  t.deepEqual(
    files
      .filter((path) => pure.includes(room(path)) && !readsPackage.includes(path))
      .filter((path) => importsOf(path).some((name) => impure.test(name))),
    [],
  );
  t.deepEqual(
    internal.filter(({ from, to }) => pure.includes(room(from)) && to === "native.ts"),
    [],
  );
});

test("Only native.ts loads the addon", (t) => {
  const loading = files.filter((path) => {
    const text = readFileSync(join(checkout, "lib", path), "utf8");
    return text.includes('"node-gyp-build"') || /require\([^)]*\.node["'`]|\bdlopen\(/.test(text);
  });
  t.deepEqual(loading, ["native.ts"]);
});

test("Only addon.cc knows Node", (t) => {
  const native = globSync("native/**/*.{cc,h}", { cwd: checkout });
  const knowing = native.filter((path) =>
    /#\s*include\s*[<"](napi|node_api|js_native_api|node|v8|uv)\.h/.test(readFileSync(join(checkout, path), "utf8")),
  );
  t.deepEqual(knowing, ["native/addon.cc"]);
});

test("No file or folder is named for nothing in particular", (t) => {
  const vague = /(^|\/)(utils?|helpers?|common|managers?|misc)(\/|\.|$)/;
  t.deepEqual(
    globSync(["lib/**", "native/**", "seccomp/**", "test/**"], {
      cwd: checkout,
      exclude: (name) => name === "node_modules",
    }).filter((path) => vague.test(path)),
    [],
  );
});
