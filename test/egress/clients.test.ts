// Programs as people use them, in a sandbox, through an inspected endpoint (or tcp) to real servers: one request that is
// permitted and one that is refused, which has to be said to them. A program that this host lacks is skipped by name.
import { clients, lacks } from "./client-table.ts";
import { testsOf } from "./world-tests.ts";

type Results = Record<string, { said: string; refused: string }>;
const { found, inThatWorld } = testsOf<Record<string, Results>>("clients.ts");

for (const mode of ["namespaces", "landlock"]) {
  for (const client of clients) {
    if (mode === "landlock" && client.needsNamespaces === true) continue;
    inThatWorld(`It needs to be told of nothing, and is told of a refusal: ${client.name} (${mode})`, (t) => {
      const missing = lacks(client);
      if (missing !== undefined) {
        t.log(`skipped: there is no ${missing}`);
        t.pass();
        return;
      }
      const result = found[mode]?.[client.name];
      t.regex(result?.said ?? "", client.says);
      t.regex(result?.refused ?? "", client.refusal);
    });
  }
}
