import test from "ava";
import fc from "fast-check";
import { compileGlob } from "../../lib/egress/glob.ts";

/** The table of openshell.md 1.7, which was measured on the engine that OpenShell uses. */
const measured: readonly (readonly [string, string, boolean])[] = [
  ["/repos/*/issues", "/repos/a/b/issues", false],
  ["/repos/*/issues", "/repos/a/issues", true],
  ["/repos/**", "/repos/", true],
  ["/repos/**", "/repos/a/b", true],
  ["/repos/**", "/repos", false],
  ["/*", "/a/b", false],
  ["/**/info/refs*", "/info/refs", true],
  ["/**/git-upload-pack", "/a/b/git-upload-pack", true],
  ["**/x", "/x", true],
  ["**/x", "x", true],
  ["**/x", "/a/x", true],
  ["/a**b", "/axxb", true],
  ["/a**b", "/ax/xb", false],
  ["/a/**b", "/a/x/b", false],
  ["/a/**/b", "/a/b", true],
  ["/a/**/b", "/a/x/y/b", true],
  ["/v?/x", "/v//x", false],
  ["/v?/x", "/v1/x", true],
  ["/a/{b,c}/d", "/a/b/d", true],
  ["/a/{b,c}/d", "/a/e/d", false],
  ["/a/\\*", "/a/*", true],
  ["/a/\\*", "/a/b", false],
  ["/A", "/a", false],
  ["", "/", false],
  ["", "", true],
  ["/a/[", "/a/[", false],
  ["/usr/bin/*", "/usr/bin/x/y", false],
  ["/sandbox/.vscode-server/**", "/sandbox/.vscode-server", false],
  ["/x/**/", "/x/a/", true],
  ["/x/**/", "/x/a", false],
  ["**", "/anything/at/all", true],
  ["/a/[b-d]/[!x]", "/a/c/y", true],
  ["/a/[b-d]/[!x]", "/a/c/x", false],
  ["{/a/**,/b}", "/a/x/y", true],
  ["{/a/**,/b}", "/b", true],
  ["}", "}", false],
  ["\\", "\\", false],
];

const byDot: readonly (readonly [string, string, boolean])[] = [
  ["1.*", "1.2", true],
  ["1.*", "1.2.3", false],
  ["*", "a.b", false],
  ["**", "a.b", true],
  ["foo-*", "foo-a.b", false],
  ["NVIDIA/*", "NVIDIA/x/y", true],
];

for (const [table, separator] of [
  [measured, "/"],
  [byDot, "."],
] as const) {
  for (const [pattern, text, matches] of table) {
    test(`With ${separator} between components ${JSON.stringify(pattern)} ${matches ? "matches" : "does not match"} ${JSON.stringify(text)}`, (t) => {
      t.is(compileGlob(pattern, separator)(text), matches);
    });
  }
}

test("Patterns with many wildcards decide as ones with few do, piece by piece", (t) => {
  const piece = fc.constantFrom("a", "b", "*", "?", "**", "/", "[ab]", "{a,b/}", "[!a]");
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), fc.stringMatching(/^[ab/]{0,12}$/u), (pieces, text) => {
      const pattern = pieces.join("");
      // A star that cannot be reached makes the automaton of what would be an expression.
      const forced = compileGlob(`{${pattern},\0*\0*}`, "/");
      // Inside braces a leading ** is no whole component's.
      if (pattern.startsWith("**")) return;
      t.is(compileGlob(pattern, "/")(text), forced(text), `${pattern} on ${text}`);
    }),
    { numRuns: 2000 },
  );
});

test("No text makes a pattern slow", (t) => {
  const glob = compileGlob("/**/a*/**/a*/**/a*/**/a*/**/b", "/");
  const expression = compileGlob(`${"/a*".repeat(8)}/*b`, "/");
  const text = `/${"a/".repeat(2000)}c`;
  const long = `/${"a".repeat(2000)}`.repeat(9);
  const began = performance.now();
  t.false(glob(text));
  t.false(expression(long));
  // Going back over every way to split it would outlast the universe.
  t.true(performance.now() - began < 2000);
});
