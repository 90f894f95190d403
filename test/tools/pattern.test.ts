import test from "ava";
import { BadPattern, parsePattern } from "../../lib/tools/programs/pattern.mts";

/** Whether one of the patterns that a pattern of one component stands for matches a name. */
function matches(pattern: string, name: string): boolean {
  return parsePattern(pattern).some(([first]) => first !== undefined && first !== "**" && first.matches(name));
}

const table: readonly (readonly [pattern: string, yes: readonly string[], no: readonly string[]])[] = [
  ["*", ["a", "a b", "é"], [".a"]],
  ["?", ["a", "é"], ["", "ab", "."]],
  ["a*c", ["ac", "abc", "abcc"], ["ab", "abcd"]],
  [".*", [".a", ".gitignore"], ["a"]],
  ["[.]a", [".a"], ["a"]],
  ["[!x]a", ["ba"], [".a", "xa"]],
  ["[a-c]", ["a", "b", "c"], ["d", "-"]],
  ["[c-a]", [], ["a", "b", "c"]],
  ["[]-]", ["]", "-"], ["a"]],
  ["[^]]", ["a"], ["]"]],
  ["[[:upper:]_][[:digit:]]", ["A1", "_9", "É0"], ["a1", "AA"]],
  ["[[:nope:]", ["["], ["x:"]],
  ["[", ["["], ["a"]],
  ["a[", ["a["], ["a"]],
  ["{a,b{1,2}}", ["a", "b1", "b2"], ["b", "{a,b{1,2}}"]],
  ["{a}{}", ["{a}{}"], ["a"]],
  ["a{,b}", ["a", "ab"], ["a,b"]],
  ["f{1..3}", ["f1", "f2", "f3"], ["f0", "f4"]],
  ["f{08..10}", ["f08", "f09", "f10"], ["f8"]],
  ["f{3..1..2}", ["f3", "f1"], ["f2"]],
  ["{a..c}", ["a", "b", "c"], ["d"]],
  ["@(a|b)c", ["ac", "bc"], ["c", "abc"]],
  ["+(ab)", ["ab", "abab"], ["", "aba"]],
  ["*(a|bc)d", ["d", "ad", "abcd"], ["bd"]],
  ["?(a)b", ["b", "ab"], ["aab"]],
  ["!(*.ts)", ["a.js"], ["a.ts", ".x"]],
  ["@(a", ["@(a"], ["a"]],
  ["a.b+(c)", ["a.bc"], ["aXbc"]],
  ["$^(x)", ["$^(x)"], ["x"]],
];

test("A component matches what shells match with it", (t) => {
  for (const [pattern, yes, no] of table) {
    for (const name of yes) t.true(matches(pattern, name), `${pattern} should match ${name}`);
    for (const name of no) t.false(matches(pattern, name), `${pattern} should not match ${name}`);
  }
});

test("Components are split at slashes and backslashes, after the braces", (t) => {
  const shape = (pattern: string): string[] =>
    parsePattern(pattern).map((parts) =>
      parts.map((part) => (part === "**" ? "**" : part.isLiteral ? "name" : "glob")).join("/"),
    );
  t.deepEqual(shape("./a//b/*"), ["name/name/glob"]);
  t.deepEqual(shape("a\\**"), ["name/**"]);
  t.deepEqual(shape("{a/b,**}/[c]"), ["name/name/name", "**/name"]);
});

test("A step upwards is refused, however it is spelled", (t) => {
  for (const pattern of ["..", "a/..", "{.,x}./a", "a\\..\\b"])
    t.throws(() => parsePattern(pattern), { instanceOf: BadPattern });
});

test("Matching takes no exponential time", (t) => {
  const began = performance.now();
  t.false(matches(`${"*a".repeat(100)}b`, "a".repeat(255)));
  t.false(matches(`${"+(a|aa|aaa)".repeat(20)}b`, "a".repeat(255)));
  t.false(matches(`${"!(a*)".repeat(10)}b`, "a".repeat(200)));
  t.throws(() => parsePattern("{a,b}".repeat(50)), { instanceOf: BadPattern });
  t.true(performance.now() - began < 5000);
});
