import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { playGroup, type RecordedCases } from "./recorded-cases.ts";
import { openSession } from "./session.ts";

const shared = join(import.meta.dirname, "../../../shared/toolset-golden.json");

playTable("our own table", join(import.meta.dirname, "cases.json"));
if (existsSync(shared)) playTable("the recorded official results", shared);
else
  test.skip("the recorded official results (../shared/toolset-golden.json does not stand beside the checkout)", () => {});

function playTable(name: string, path: string): void {
  const { fixture, groups } = JSON.parse(readFileSync(path, "utf8")) as RecordedCases;
  for (const group of groups) {
    // One after another: each is a sandbox of its own.
    test.serial(`${name}: ${group.name}`, async (t) => {
      t.deepEqual(await playGroup(await openSession(t), fixture, group.steps), []);
    });
  }
}
