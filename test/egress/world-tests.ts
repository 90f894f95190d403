import test, { type ExecutionContext } from "ava";
import { inWorld, missingForWorld } from "./world.ts";

/**
 * Tests of what a script of this folder found in its world; each is skipped by name where none can be made.
 *
 * @param missing why the script cannot run here
 * @param mode its argument, where it runs in several: it stands in the titles
 */
export function testsOf<Found extends object = Record<string, unknown>>(
  script: string,
  missing: string | null = missingForWorld(),
  mode?: string,
): {
  readonly found: Found;
  /** A test of the results that the title speaks of. */
  holds(title: string, expected: Readonly<Record<string, unknown>>): void;
  inThatWorld(title: string, look: (t: ExecutionContext) => void): void;
} {
  const found = (missing === null ? inWorld(script, { args: mode === undefined ? [] : [mode] }) : {}) as Found;
  const inThatWorld = (title: string, look: (t: ExecutionContext) => void): void =>
    test(mode === undefined ? title : `${title} (${mode})`, (t) => {
      if (missing === null) return look(t);
      t.log(`skipped: ${missing}`);
      t.pass();
    });
  return {
    found,
    inThatWorld,
    holds: (title, expected) => inThatWorld(title, (t) => void t.like(found, expected)),
  };
}
