import test from "ava";
import fc from "fast-check";
import { lazyParameters, pathGlob, type Rule, RuleIndex, rulesOf } from "../../lib/egress/rules.ts";
import { sound } from "../policy/policy-text.ts";

const endpoint = sound(`version: 1
network_policies:
  one:
    endpoints: [{ host: api.example.test, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/curl }]
`).networkPolicies["one"]?.endpoints[0];

test("The index finds a rule wherever one of the rules meets the path by itself", (t) => {
  if (endpoint === undefined) return t.fail();
  const [any] = rulesOf("one", endpoint).allow;
  if (any === undefined) return t.fail();
  const part = fc.constantFrom(
    "a",
    "b",
    "",
    "*",
    "a*",
    "*b",
    "a**",
    "**",
    "?",
    "[ab]",
    "{a,b}",
    "{a/b,c}",
    "[/]",
    "\\a",
  );
  const pattern = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => `/${parts.join("/")}`);
  const patterns = fc.array(fc.oneof(pattern, fc.constantFrom("**", "*", "")), { maxLength: 6 });
  const path = fc
    .array(fc.constantFrom("a", "b", "ab", "c", ""), { minLength: 1, maxLength: 4 })
    .map((parts) => `/${parts.join("/")}`);
  fc.assert(
    fc.property(patterns, path, (texts, asked) => {
      const rules = texts.map((text): Rule => ({ ...any, method: undefined, text: `* ${text}`, path: pathGlob(text) }));
      const index = new RuleIndex(rules, ({ text }) => text.slice(2));
      const found = index.find({ method: "GET", path: asked }, lazyParameters(), "allow");
      t.is(
        found !== undefined,
        rules.some((rule) => rule.path(asked)),
        `${asked} by ${texts.join(" ")}`,
      );
    }),
    { numRuns: 2000 },
  );
});
