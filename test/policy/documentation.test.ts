import { readFileSync } from "node:fs";
import test from "ava";
import { limitNames } from "../../lib/policy/limits.ts";
import { policySchema } from "../../lib/policy/load.ts";
import { presets } from "../../lib/policy/presets.ts";
import { protectedNames } from "../../lib/policy/protected-names.ts";
import { wallNames } from "../../lib/policy/sections.ts";

const text = readFileSync(new URL("../../docs/policy.md", import.meta.url), "utf8");

test("The policy reference names every key, limit, wall, preset and protected name", (t) => {
  const { properties } = policySchema as { properties: Record<string, { properties?: Record<string, unknown> }> };
  const sections = ["filesystem_policy", "landlock", "process", "limits", "environment", "workspace"];
  const keys = sections.flatMap((section) => Object.keys(properties[section]?.properties ?? {}));
  const names = protectedNames.map((entry) => (entry.kind === "folder" ? `${entry.name}/` : entry.name));
  const words = [...Object.keys(properties), ...keys, ...limitNames, ...wallNames, ...Object.keys(presets)];
  t.true(keys.length > 15);
  t.deepEqual(
    [
      ...words.filter((word) => !new RegExp(`[\`# ,]${word}\\b`, "u").test(text)),
      ...names.filter((name) => !text.includes(`\`${name}\``)),
    ],
    [],
  );
});
