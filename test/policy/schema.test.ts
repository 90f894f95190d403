import { readFileSync } from "node:fs";
import test from "ava";
import { policySchema } from "../../lib/policy/load.ts";

test("The JSON schema that the package ships is the one that the readers describe", (t) => {
  // Written by: node -e 'import("./lib/policy/load.ts").then(m => console.log(JSON.stringify(m.policySchema, null, 2)))'
  const shipped: unknown = JSON.parse(readFileSync(new URL("../../policy.schema.json", import.meta.url), "utf8"));
  t.deepEqual(shipped, JSON.parse(JSON.stringify(policySchema)));
});
