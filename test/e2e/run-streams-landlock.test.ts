// run-streams.test.ts in the mode without namespaces.
import "./landlock-mode.ts";
import test from "ava";
import { thisHost } from "../../lib/sandbox/sandbox.ts";

const { landlockAbi } = thisHost();

if (landlockAbi >= 6) await import("./run-streams.test.ts");
else {
  test("What run-streams.test.ts says holds without namespaces as well", (t) => {
    t.log(`skipped: this kernel's Landlock has ABI ${landlockAbi}, the mode needs 6`);
    t.pass();
  });
}
