import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import test from "ava";
import fc from "fast-check";
import { packFolder, writeZip } from "../../lib/queue/zip-writer.ts";
import { ArchiveError } from "../../lib/worker/archive/members.ts";
import { readSkillArchive } from "../../lib/worker/archive/skill-archive.ts";
import { folderName } from "../../lib/worker/skills.ts";
import { file, partly, pax, plain, refused, tar } from "./hostile-archives.ts";

const paths = (archive: Uint8Array): string[] => readSkillArchive(archive).map(({ path }) => path);

for (const [name, archive] of Object.entries(refused)) {
  test(`A skill's archive is refused: ${name}`, (t) => {
    const began = performance.now();
    t.throws(() => readSkillArchive(archive), { instanceOf: ArchiveError });
    t.true(performance.now() - began < 5000);
  });
}

for (const [name, [archive, taken]] of Object.entries(partly)) {
  test(`What is neither file nor folder is left out: ${name}`, (t) => {
    t.deepEqual(paths(archive), taken);
  });
}

test("One top folder shared by all is stripped, from zip, tar and gzipped tar", (t) => {
  const members = [
    { name: "pdf/", type: "5" },
    { name: "pdf/SKILL.md", data: "read me" },
    { name: "./pdf/bin/run", data: "#!/bin/sh\n", mode: 0o755 },
  ];
  const zip = writeZip([
    { name: "pdf/", data: Buffer.alloc(0), mode: 0o040755 },
    file("pdf/SKILL.md", "read me"),
    file("./pdf/bin/run", "#!/bin/sh\n", 0o100755),
  ]);
  for (const archive of [zip, tar(members), gzipSync(tar(members))]) {
    t.deepEqual(
      readSkillArchive(archive).map(({ path, executable, data }) => [path, executable, Buffer.from(data).toString()]),
      [
        ["SKILL.md", false, "read me"],
        ["bin/run", true, "#!/bin/sh\n"],
      ],
    );
  }
});

test("Archives without one shared top folder keep their paths", (t) => {
  t.deepEqual(paths(writeZip([file("SKILL.md"), file("a/b")])), ["SKILL.md", "a/b"]);
  t.deepEqual(paths(writeZip([file("a/x"), file("b/y")])), ["a/x", "b/y"]);
  t.deepEqual(paths(writeZip([file("only")])), ["only"]);
  t.deepEqual(paths(plain), ["one.txt", "two.txt"]);
});

test("Long names of pax and GNU archives are read", (t) => {
  const long = `${"folder/".repeat(30)}file`;
  t.deepEqual(
    paths(tar([pax({ path: long, comment: "x" }), { name: "short", data: "x" }, { name: "other", data: "" }])),
    [long, "other"],
  );
  t.deepEqual(
    paths(tar([{ name: "././@LongLink", type: "L", data: `${long}\0` }, { name: "short", data: "x" }, { name: "z" }])),
    [long, "z"],
  );
});

test("What the system's own programs pack is read as they mean it", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-archive-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "skill", "deep", "er"), { recursive: true });
  writeFileSync(join(folder, "skill", "SKILL.md"), "words");
  writeFileSync(join(folder, "skill", "deep", "er", "é 🦀.txt"), "x".repeat(100_000));
  writeFileSync(join(folder, "skill", "run"), "#!/bin/sh\n", { mode: 0o755 });
  const expected = ["SKILL.md", "deep/er/é 🦀.txt", "run"];
  for (const format of ["gnu", "ustar", "pax"]) {
    execFileSync("tar", ["-C", folder, `--format=${format}`, "-cf", join(folder, `${format}.tar`), "skill"]);
    const archive = execFileSync("cat", [join(folder, `${format}.tar`)], { maxBuffer: 1e8 });
    t.deepEqual(paths(archive).sort(), expected, format);
  }
  t.deepEqual(paths(packFolder(join(folder, "skill"), "skill")).sort(), expected);
});

test("Any damage to an archive ends in a refusal or in files that stay inside", (t) => {
  const archives = [plain, tar([{ name: "a/b", data: "x" }, pax({ path: "a/long" }), { name: "c", data: "y" }])];
  fc.assert(
    fc.property(
      fc.constantFrom(...archives),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 8 }),
      (archive, changes) => {
        const copy = Buffer.from(archive);
        for (const [at, value] of changes) copy[at % copy.length] = value;
        try {
          for (const { path } of readSkillArchive(copy)) {
            if (path.startsWith("/") || path.split("/").some((part) => part === "" || part === "..")) return false;
          }
          return true;
        } catch (error) {
          return error instanceof ArchiveError;
        }
      },
    ),
    { numRuns: 1000 },
  );
  t.pass();
});

test("A skill's folder is one component, whatever the skill is called", (t) => {
  t.is(folderName("pdf", "skill_1"), "pdf");
  t.is(folderName("../../etc/cron.d", "skill_1"), "cron.d");
  t.is(folderName("  pdf  ", "skill_1"), "pdf");
  for (const name of ["", ".", "..", "/", "a/..", "a\0b", "\ud800", "x".repeat(300), 7, null]) {
    t.is(folderName(name, "skill_1"), "skill_1");
  }
  for (const id of ["..", "", "a/b"]) t.throws(() => folderName("..", id));
});
