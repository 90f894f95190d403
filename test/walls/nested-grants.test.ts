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

test("Of /run and /sys all is shown", async (t) => {
  const work = mkdtempSync(join(tmpdir(), "holdfast-work-"));
  t.teardown(() => rmSync(work, { recursive: true, force: true }));
  for (const run of ["/run", "/var/run"]) {
    const sandbox = await Sandbox.create({ workdir: work, policy: granting([run, "/sys"], []) });
    t.teardown(() => sandbox.dispose());
    const { stdout } = await sandbox.exec("sh", ["-c", `ls -A ${run}; echo /; ls -A /sys`]);
    const [shown = "", sys = ""] = stdout.toString().split("/\n");
    t.deepEqual(shown.split("\n").filter(Boolean).sort(), readdirSync(run).sort());
    t.true(sys.includes("kernel\n"));
  }
});

/** Whether a folder was put in the place of another, as the host sees it, by moving away one of those above it. */
async function replaced(sandbox: Sandbox, above: string, path: string): Promise<boolean> {
  const script = 'mv "$1" "$1.moved"; mkdir -p "$2"; echo other > "$2/file"';
  await sandbox.exec("sh", ["-c", script, "sh", above, path]);
  return readFileSync(join(path, "file"), "utf8") !== "before\n";
}

test("No folder above a path that is granted for reading can be moved away to put another in its place", async (t) => {
  const paths = folders();
  const [top = "", a = "", b = "", c = ""] = paths;
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  const work = mkdtempSync(join(tmpdir(), "holdfast-work-"));
  t.teardown(() => rmSync(work, { recursive: true, force: true }));
  const readOnlyWorkspace: Policy = {
    ...granting([], [top]),
    workspace: { ...defaultPolicy.workspace, access: "read-only" },
  };
  for (const [what, workdir, policy, protectedPath] of [
    ["in the workspace", top, granting([c], []), c],
    ["in a folder granted for writing", work, granting([c], [top]), c],
    ["in one that is granted in the workspace", top, granting([join(c, "file")], [b]), c],
    ["the workspace itself", b, readOnlyWorkspace, b],
  ] as const) {
    const sandbox = await Sandbox.create({ workdir, policy });
    try {
      for (const above of [a, b])
        if (above !== workdir && above !== protectedPath) t.false(await replaced(sandbox, above, protectedPath), what);
    } finally {
      await sandbox.dispose();
    }
  }
});

test("In a workspace that began empty a path granted for reading is there, and stays where it is", async (t) => {
  const paths = folders();
  const [top = "", a = "", , c = ""] = paths;
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  const sandbox = await Sandbox.create({ workdir: top, workspace: "fresh", policy: granting([c], []) });
  t.teardown(() => sandbox.dispose());
  const { stdout } = await sandbox.exec("sh", ["-c", `mv ${a} ${a}.moved; find ${top} -type f; echo > ${top}/new`]);
  t.is(stdout.toString(), `${join(c, "file")}\n`);
});

test("A path that is granted for writing by name is writable also inside a protected name", async (t) => {
  const workdir = mkdtempSync(join(tmpdir(), "holdfast-work-"));
  t.teardown(() => rmSync(workdir, { recursive: true, force: true }));
  const settings = join(workdir, ".vscode", "settings.json");
  mkdirSync(join(workdir, ".vscode"));
  for (const path of [settings, join(workdir, ".vscode", "tasks.json")]) writeFileSync(path, "before\n");
  const sandbox = await Sandbox.create({ workdir, policy: granting([], [settings]) });
  t.teardown(() => sandbox.dispose());
  await sandbox.exec("sh", ["-c", "for file in .vscode/*; do echo after > $file; done"]);
  t.is(readFileSync(settings, "utf8"), "after\n");
  t.is(readFileSync(join(workdir, ".vscode", "tasks.json"), "utf8"), "before\n");
});

test("A grant of /run is the host's, and nothing of the sandbox's own is made in it", async (t) => {
  const workdir = mkdtempSync(join(tmpdir(), "holdfast-work-"));
  t.teardown(() => rmSync(workdir, { recursive: true, force: true }));
  for (const policy of [granting(["/run"], []), granting([], ["/run"])]) {
    const sandbox = await Sandbox.create({ workdir, policy });
    const { exitCode } = await sandbox.exec("test", ["-e", "/run/holdfast"]);
    await sandbox.dispose();
    t.is(exitCode, 1);
  }
  t.false(existsSync("/run/holdfast"));
});
