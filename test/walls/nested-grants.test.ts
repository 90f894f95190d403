import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { isRoot } from "./broken-plan.ts";

/** Folders each in the one before, with a file in each. */
function folders(): string[] {
  const top = mkdtempSync(join(tmpdir(), "holdfast-nested-"));
  const made = [top];
  for (const name of ["a", "b", "c"]) made.push(join(made.at(-1) ?? top, name));
  for (const folder of made) {
    if (!existsSync(folder)) mkdirSync(folder);
    chmodSync(folder, 0o755);
    writeFileSync(join(folder, "file"), "before\n");
    if (isRoot) for (const path of [folder, join(folder, "file")]) chownSync(path, 64_000, 64_000);
  }
  return made;
}

function granting(readOnly: readonly string[], readWrite: readonly string[]): Policy {
  const add = (paths: readonly string[]) => paths.map((path) => ({ path }));
  const { filesystem } = defaultPolicy;
  return {
    ...defaultPolicy,
    filesystem: {
      ...filesystem,
      readOnly: [...filesystem.readOnly, ...add(readOnly)],
      readWrite: [...filesystem.readWrite, ...add(readWrite)],
    },
  };
}

/** In which of the folders the file could be overwritten, a file made, and the folder below moved away. */
async function written(sandbox: Sandbox, paths: readonly string[]): Promise<string[][]> {
  const script = 'echo after > "$1/file"; echo new > "$1/new"; mv "$1"/[abc] "$1/moved"; true';
  return Promise.all(
    paths.map(async (path) => {
      await sandbox.exec("sh", ["-c", script, "sh", path]);
      const told = [];
      if (readFileSync(join(path, "file"), "utf8") === "after\n") told.push("overwritten");
      if (existsSync(join(path, "new"))) told.push("made");
      if (existsSync(join(path, "moved"))) told.push("moved");
      return told;
    }),
  );
}

for (const outer of ["read", "write"] as const) {
  test(`Folders granted in turn, the outermost to ${outer}, are each what the nearest grant says`, async (t) => {
    const paths = folders();
    const [top = "", a = "", b = "", c = ""] = paths;
    t.teardown(() => rmSync(top, { recursive: true, force: true }));
    const work = mkdtempSync(join(tmpdir(), "holdfast-work-"));
    t.teardown(() => rmSync(work, { recursive: true, force: true }));
    const policy = outer === "read" ? granting([top, b], [a, c]) : granting([a, c], [top, b]);
    const sandbox = await Sandbox.create({ workdir: work, policy });
    t.teardown(() => sandbox.dispose());
    const free = ["overwritten", "made"];
    t.deepEqual(await written(sandbox, paths), outer === "read" ? [[], free, [], free] : [free, [], free, []]);
  });
}

test("A folder of a writable workspace that is granted for reading stays as it is, and cannot be moved away", async (t) => {
  const paths = folders();
  const [top = "", a = "", b = ""] = paths;
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  const sandbox = await Sandbox.create({ workdir: top, policy: granting([a], [b]) });
  t.teardown(() => sandbox.dispose());
  t.deepEqual(await written(sandbox, paths.slice(0, 3)), [
    ["overwritten", "made"],
    [],
    ["overwritten", "made", "moved"],
  ]);
});

test("A workspace that a policy also names as read-only is read-only; in OpenShell's words the rights add up", async (t) => {
  for (const dialect of ["holdfast", "openshell"] as const) {
    const [top = ""] = folders();
    t.teardown(() => rmSync(top, { recursive: true, force: true }));
    const sandbox = await Sandbox.create({ workdir: top, policy: { ...granting([top], []), dialect } });
    t.teardown(() => sandbox.dispose());
    const told = await written(sandbox, [top]);
    t.deepEqual(told, [dialect === "holdfast" ? [] : ["overwritten", "made", "moved"]], dialect);
  }
});

test("A grant that cannot be reached is an error with its place, whoever cannot reach it", async (t) => {
  const [top = "", a = "", b = ""] = folders();
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  chmodSync(a, 0);
  t.teardown(() => chmodSync(a, 0o755));
  const policy: Policy = {
    ...granting([], []),
    source: "p.yaml",
    compatibility: "hard_requirement",
    filesystem: { ...defaultPolicy.filesystem, readOnly: [{ path: b, line: 3, column: 5 }] },
  };
  const error = await t.throwsAsync(Sandbox.create({ workdir: top, policy }));
  t.true(error.message.startsWith(`p.yaml:3:5: "${b}" cannot be reached by `), error.message);
  // As a path that leads through a file.
  const through = {
    ...policy,
    filesystem: { ...policy.filesystem, readOnly: [{ path: join(top, "file/x"), line: 7 }] },
  };
  const other = await t.throwsAsync(Sandbox.create({ workdir: top, policy: through }));
  t.true(other.message.startsWith(`p.yaml:7: "${join(top, "file/x")}" does not exist`), other.message);
});

test("Of /run and /sys all is shown but what holdfast keeps there", async (t) => {
  const work = mkdtempSync(join(tmpdir(), "holdfast-work-"));
  t.teardown(() => rmSync(work, { recursive: true, force: true }));
  for (const run of ["/run", "/var/run"]) {
    const policy = granting([run, "/sys", "/run/holdfast"], []);
    const sandbox = await Sandbox.create({ workdir: work, policy });
    t.teardown(() => sandbox.dispose());
    const { stdout } = await sandbox.exec("sh", [
      "-c",
      `ls -A ${run}; echo /; ls -A /run/holdfast; echo /; ls -A /sys`,
    ]);
    const [shown = "", own, sys = ""] = stdout.toString().split("/\n");
    t.deepEqual(shown.split("\n").filter(Boolean), [...new Set([...readdirSync(run), "holdfast"])].sort());
    t.is(own, "canary\n");
    t.true(sys.includes("kernel\n"));
  }
});
