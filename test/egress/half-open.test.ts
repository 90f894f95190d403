// A thousand connections that a sandbox begins and does not go on with: silent, within a TLS hello, within a request, within a body.
import test from "ava";
import { inWorld, missingForWorld } from "./world.ts";

interface Found {
  readonly said: readonly string[];
  readonly denials: readonly unknown[];
  /** A hundred requests on one connection, and ten on one each, in milliseconds. */
  readonly alone: readonly number[];
  readonly beside: readonly number[];
  readonly elsewhere: readonly number[];
  /** Bytes of the launcher. */
  readonly grown: number;
}

const missing = missingForWorld();
const found = (missing === null ? inWorld("half-open.ts") : {}) as Readonly<Record<string, Found>>;

for (const mode of ["namespaces", "landlock"]) {
  test(`A thousand connections that have only begun leave all others their speed, and cost little (${mode})`, (t) => {
    const own = found[mode];
    if (own === undefined) {
      t.log(`skipped: ${missing}`);
      t.pass();
      return;
    }
    t.deepEqual(own.said, ["1000", "1000"]);
    t.deepEqual(own.denials, []);
    for (const where of ["beside", "elsewhere"] as const) {
      for (const [index, took] of own[where].entries()) {
        // The machine does other things as well.
        t.true(took < 10 * (own.alone[index] ?? 0) + 1000, `${where}: ${took} ms instead of ${own.alone[index]}`);
      }
    }
    t.true(own.grown < 60_000_000, `${own.grown} bytes`);
  });
}
