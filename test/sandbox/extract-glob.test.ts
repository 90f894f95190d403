import test from "ava";
import fc from "fast-check";
import picomatch from "picomatch";
import { ExtractGlob } from "../../lib/sandbox/extract-glob.ts";

const cases: readonly [glob: string, matching: readonly string[], other: readonly string[]][] = [
  ["report.md", ["report.md"], ["a/report.md", "report.mdx", "xreport.md"]],
  ["*.md", ["a.md", ".md", ".hidden.md"], ["a/b.md", "a.mdx"]],
  ["out/*", ["out/a", "out/.b"], ["out", "out/a/b"]],
  ["out/**", ["out/a", "out/a/b/.c"], ["out", "outer/a"]],
  ["**/*.json", ["a.json", "x/y/z.json"], ["a.jsonl"]],
  ["**", ["a", "a/b"], []],
  ["a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/x/c"]],
  ["?.txt", ["a.txt", "ü.txt", "😀.txt"], [".txt", "ab.txt"]],
  ["{a,b/c}.txt", ["a.txt", "b/c.txt"], ["b.txt", "c.txt"]],
  ["{a,{b,c}}", ["a", "b", "c"], ["d", "{b,c}"]],
  ["file-[0-9].log", ["file-3.log"], ["file-a.log", "file-33.log"]],
  ["[!a]", ["b"], ["a", "bb"]],
  ["\\[id\\].tsx", ["[id].tsx"], ["i.tsx"]],
  ["a\\*b", ["a*b"], ["axb"]],
  ["*a*a*a*", ["aaa", "xaxaxa"], ["aa", "xaxa"]],
];

for (const [glob, matching, other] of cases) {
  test(`${glob} matches what it should and nothing else`, (t) => {
    const compiled = new ExtractGlob(glob);
    for (const path of matching) t.true(compiled.matches(path), path);
    for (const path of other) t.false(compiled.matches(path), path);
  });
}

test("A pattern that cannot be meant is refused with a sentence", (t) => {
  for (const glob of [
    "",
    "/etc/*",
    "../x",
    "a/./b",
    "a//b",
    "a/",
    "{a",
    "{a}",
    "[a",
    "{1..9}",
    "{a,b}".repeat(11),
    "x".repeat(5000),
  ]) {
    t.throws(() => new ExtractGlob(glob), { code: "ERR_HOLDFAST_BAD_GLOB" }, glob.slice(0, 20));
  }
});

test("It agrees with picomatch where both know the words", (t) => {
  const part = fc
    .stringMatching(/^[ab*?]{1,4}$/)
    .filter((text) => !text.includes("**") && text !== "." && text !== "..");
  const globs = fc.array(fc.oneof(part, fc.constant("**")), { minLength: 1, maxLength: 4 });
  const names = fc.stringMatching(/^[ab]{1,4}$/).filter((text) => text !== "." && text !== "..");
  const paths = fc.array(names, { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(globs, paths, (parts, path) => {
      // picomatch takes `a/**` for a itself as well, and several `**` in a row for something else.
      fc.pre(parts.at(-1) !== "**" && !parts.some((one, i) => one === "**" && parts[i + 1] === "**"));
      const glob = parts.join("/");
      const expected = picomatch.isMatch(path.join("/"), glob, { dot: true, strictSlashes: true });
      t.is(new ExtractGlob(glob).matches(path.join("/")), expected, `${glob} ${path.join("/")}`);
    }),
    { numRuns: 2000 },
  );
});

test("No name makes matching slow", (t) => {
  const glob = new ExtractGlob(`${"*a".repeat(60)}*b`);
  const nested = new ExtractGlob(`${"**/a/".repeat(40)}b`);
  const began = performance.now();
  t.false(glob.matches("a".repeat(255)));
  t.false(nested.matches(`${"a/".repeat(1500)}c`));
  t.true(performance.now() - began < 2000);
});

test("A folder in which nothing can match is not entered", (t) => {
  const glob = new ExtractGlob("out/*.md");
  t.is(glob.step(glob.start(), "src").length, 0);
  t.true(glob.step(glob.start(), "out").length > 0);
});
