// Programs as people use them, in a sandbox, through an inspected endpoint (or tcp) to real servers: one request that is
// permitted and one that is refused, which has to be said to them. A program that this host lacks is skipped by name.
import { clients, lacks } from "./client-table.ts";
import { testsOf } from "./world-tests.ts";

const { found, inThatWorld } = testsOf<Record<string, { said: string; refused: string }>>("clients.ts");

for (const client of clients) {
  inThatWorld(`It needs to be told of nothing, and is told of a refusal: ${client.name}`, (t) => {
    const missing = lacks(client);
    if (missing !== undefined) {
      t.log(`skipped: there is no ${missing}`);
      t.pass();
      return;
    }
    const result = found[client.name];
    t.regex(result?.said ?? "", client.says);
    t.regex(result?.refused ?? "", client.refusal);
  });
}
