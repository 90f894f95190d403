import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { inspectPath } from "../../lib/host/paths.ts";

test("A path that cannot be followed to its end is missing, and not an exception", (t) => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-paths-")));
  t.teardown(() => {
    chmodSync(join(folder, "closed"), 0o700);
    rmSync(folder, { recursive: true, force: true });
  });
  writeFileSync(join(folder, "file"), "");
  mkdirSync(join(folder, "closed"), { mode: 0 });
  symlinkSync("file/below", join(folder, "link"));
  for (const name of ["nothing", "nothing/below", "file/below", "file/below/further", "link", "x".repeat(300)]) {
    t.is(inspectPath(join(folder, name)).kind, "missing", name);
  }
  // Root may search it.
  t.is(inspectPath(join(folder, "closed", "inside")).kind, "missing");
  t.like(inspectPath(join(folder, "file")), { kind: "file", real: join(folder, "file") });
});
