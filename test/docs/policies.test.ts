import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "ava";
import { errors } from "../policy/policy-text.ts";

const checkout = dirname(dirname(import.meta.dirname));

test("Every policy that the documents show is sound", (t) => {
  const shown = [...globSync("docs/*.md", { cwd: checkout }), "README.md"].flatMap((name) =>
    [...readFileSync(join(checkout, name), "utf8").matchAll(/^```yaml\n(holdfast: 1\n[\s\S]*?)^```$/gm)].map(
      ([, text = ""]) => [name, text] as const,
    ),
  );
  t.true(shown.length > 2);
  for (const [name, text] of shown) t.deepEqual(errors(text), [], `${name}:\n${text}`);
});
