import { testsOf } from "./world-tests.ts";

interface Scanned {
  readonly locked: readonly string[];
  readonly elsewhere: readonly string[];
}

const { found, inThatWorld } = testsOf<{
  readonly count: number;
  readonly processes: number;
  /** Null where another process's memory may not be read. */
  readonly inside: readonly (Scanned | null)[];
  readonly launcher: Scanned | null;
  readonly afterwards: Scanned | null;
}>("secret-memory.ts");

inThatWorld("A secret that goes out eighty times is in no memory of the sandbox's processes", (t) => {
  t.is(found.count, 80);
  t.true(found.processes >= 2);
  for (const scanned of found.inside) {
    if (scanned === null) t.log("skipped one: its memory may not be read");
    else t.deepEqual([...scanned.locked, ...scanned.elsewhere], []);
  }
});

inThatWorld(
  "In the launcher it is in locked memory alone, which no core dump has, and nowhere when the sandbox is gone",
  (t) => {
    if (found.launcher === null || found.afterwards === null) {
      t.log("skipped: this user may not read the launcher's memory");
      t.pass();
      return;
    }
    // The search finds what is there.
    t.true(found.launcher.locked.includes("plain"));
    t.deepEqual(found.launcher.elsewhere, []);
    t.deepEqual(found.afterwards, { locked: [], elsewhere: [] });
  },
);
