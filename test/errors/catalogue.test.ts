import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";

const root = join(import.meta.dirname, "..", "..");
const codePattern = /ERR_HOLDFAST_[A-Z_]+/g;

function codesIn(folder: string): Set<string> {
  const found = new Set<string>();
  for (const name of readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })) {
    if (!/\.m?ts$/.test(name)) continue;
    for (const code of readFileSync(join(root, folder, name), "utf8").match(codePattern) ?? []) found.add(code);
  }
  return found;
}

const documented = new Set(
  readFileSync(join(root, "docs", "errors.md"), "utf8")
    .split("\n")
    .flatMap((line) => /^\| `(ERR_HOLDFAST_[A-Z_]+)` +\|/.exec(line)?.[1] ?? []),
);

test("Every error code of the sources is in docs/errors.md", (t) => {
  t.deepEqual(
    [...codesIn("lib")].filter((code) => !documented.has(code)),
    [],
  );
});

test("Every documented error code is one that the sources use", (t) => {
  const used = codesIn("lib");
  t.deepEqual(
    [...documented].filter((code) => !used.has(code)),
    [],
  );
});
