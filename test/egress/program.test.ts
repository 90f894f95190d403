import { mkdtempSync, openSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { Programs } from "../../lib/egress/program.ts";
import type { ProgramFacts } from "../../lib/native.ts";

test("A program that was changed between its connect and the look at its content is told by neither", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-program-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "program");
  const state = (): string => {
    const { dev, ino, ctimeNs } = statSync(path, { bigint: true });
    return `${dev}:${ino}:${ctimeNs}`;
  };
  const facts = (): ProgramFacts => ({
    ...{ path, state: state(), links: 1, file: openSync(path, "r") },
    ...{ isReadOnly: true, hasForeignCode: false, script: "", ancestors: [] },
  });
  writeFileSync(path, "granted");
  const granted = await new Programs().identify(facts());
  t.regex(granted?.sha256 ?? "", /^[0-9a-f]{64}$/);

  // Restored before it is looked at: the hash would be the granted one's.
  const programs = new Programs();
  writeFileSync(path, "another");
  const connected = facts();
  do writeFileSync(path, "granted");
  while (state() === connected.state);
  t.is(await programs.identify(connected), null);
  t.is((await programs.identify(facts()))?.sha256, granted?.sha256);
});
