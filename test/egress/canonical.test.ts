import test from "ava";
import fc from "fast-check";
import { canonicalTarget, queryParameters, TargetError } from "../../lib/egress/canonical.ts";

const same: readonly (readonly [string, string])[] = [
  ["/", "/"],
  ["/repos/a/b", "/repos/a/b"],
  ["/repos//a///b", "/repos/a/b"],
  ["//", "/"],
  ["/a/./b/../c", "/a/c"],
  ["/a/..", "/"],
  ["/a/b/..", "/a/"],
  ["/a/b/.", "/a/b/"],
  ["/a/b/", "/a/b/"],
  ["/%61dmin", "/admin"],
  ["/a/%2e%2E/b", "/b"],
  ["/a/%2e/b", "/a/b"],
  ["/a%7Eb%3a", "/a~b%3A"],
  ["/a;jsessionid=1/b;x", "/a/b"],
  ["/;x", "/"],
  ["/a/..;/b", "/b"],
  ['/a"b', "/a%22b"],
  ["/a|b{c}", "/a%7Cb%7Bc%7D"],
  ["/%e2%82%ac", "/%E2%82%AC"],
  ["/a%25b", "/a%25b"],
  ["/...", "/..."],
];

for (const [target, path] of same) {
  test(`${target} is judged and forwarded as ${path}`, (t) => {
    t.deepEqual(canonicalTarget(target), { path, query: undefined });
    t.deepEqual(canonicalTarget(`${target}?q=/../%41`), { path, query: "q=/../%41" });
  });
}

const refused: readonly (readonly [string, RegExp])[] = [
  ["", /slash/],
  ["a", /slash/],
  ["/..", /climbs/],
  ["/a/../..", /climbs/],
  ["/a/%2e%2e/%2e%2e/b", /climbs/],
  ["/a%2fb", /encoded slash/],
  ["/a%5cb", /backslash/],
  ["/a\\b", /backslash/],
  ["/a%00", /control/],
  ["/a%0d%0ab", /control/],
  ["/a\tb", /control/],
  ["/a b", /space/],
  ["/a%", /broken/],
  ["/a%2", /broken/],
  ["/a%zz", /broken/],
  ["/a#b", /fragment/],
  ["/é", /not ASCII/],
  [`/${"a".repeat(4096)}`, /longer/],
  ["/a?b c", /space/],
  ["/a?b#c", /fragment/],
  ["/a?%", /broken/],
  ["/a?\u00e9", /not ASCII/],
];

for (const [target, reason] of refused) {
  test(`${JSON.stringify(target.slice(0, 30))} is refused`, (t) => {
    const error = t.throws(() => canonicalTarget(target), { instanceOf: TargetError });
    t.regex(error.message, reason);
  });
}

test("An encoded slash is kept where the endpoint allows it, and no separator for the judge", (t) => {
  t.is(canonicalTarget("/a%2fb/%2e%2e/c", { encodedSlash: true }).path, "/c");
  t.is(canonicalTarget("/a%2Fb", { encodedSlash: true }).path, "/a%2Fb");
});

test("The canonical form of a canonical form is itself, and has no dots, no empty segments, no needless encoding", (t) => {
  const piece = fc.constantFrom(
    "/",
    ".",
    "..",
    "%2e",
    "%2F",
    "%41",
    "a",
    ";",
    ";p=1",
    "%25",
    '"',
    "~",
    "%7e",
    "//",
    "b",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.boolean(), (pieces, encodedSlash) => {
      let path: string;
      try {
        path = canonicalTarget(`/${pieces.join("")}`, { encodedSlash }).path;
      } catch (error) {
        t.true(error instanceof TargetError);
        return;
      }
      t.is(canonicalTarget(path, { encodedSlash }).path, path);
      t.true(path.startsWith("/"));
      for (const segment of path.slice(1).split("/").slice(0, -1)) t.false(["", ".", ".."].includes(segment), path);
      t.false([".", ".."].includes(path.split("/").at(-1) ?? ""), path);
      t.notRegex(path, /%(?:2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])|;|%[0-9A-F]?[a-f]/);
    }),
    { numRuns: 3000 },
  );
});

test("A path means to Node's own reader what it means here", (t) => {
  const piece = fc.constantFrom("/", ".", "..", "%2e", "%41", "a", "~", "b-c", "%25", "x=y");
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 10 }), (pieces) => {
      const target = `/${pieces.join("")}`;
      let ours: string;
      try {
        ours = canonicalTarget(target).path;
      } catch {
        return;
      }
      const theirs = new URL(`http://h${target.replace(/\/{2,}/g, "/")}`).pathname;
      t.is(canonicalTarget(theirs.replace(/\/{2,}/g, "/")).path, ours, target);
    }),
    { numRuns: 2000 },
  );
});

test("Parameters are read with a plus as a space and as itself, each value, in any encoding", (t) => {
  const found = queryParameters("a=1&a=2&b&c=x%20y&d=x+y&%65=%zz&f=%ff&&g%2bh=1");
  t.deepEqual(found.get("a"), [["1"], ["2"]]);
  t.deepEqual(found.get("b"), [[""]]);
  t.deepEqual(found.get("c"), [["x y"]]);
  t.deepEqual(found.get("d"), [["x+y", "x y"]]);
  t.deepEqual(found.get("e"), [["%zz"]]);
  t.deepEqual(found.get("f"), [["\u00ff"]]);
  t.deepEqual(found.get("g+h"), [["1"]]);
});
