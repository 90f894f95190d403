import test from "ava";
import { left, start, withTasks } from "./demo.ts";

test.serial("The demo plays four sessions, looks every fact up, leaves nothing, and ends with 0", async (t) => {
  const demo = start(t);
  const { status, said: shown, errors } = await demo.ended;
  t.is(status, 0, shown + errors);
  t.is(errors, "");
  for (const agent of ["builder", "analyst", "fetcher", "intruder"]) {
    t.regex(shown, new RegExp(`^${agent} +claimed: sandbox`, "m"));
    t.regex(shown, new RegExp(`^${agent} +\\d+ ms {2}`, "m"));
    t.regex(shown, new RegExp(`^${agent} +torn down`, "m"));
  }
  t.is(shown.match(/^ {2}held /gm)?.length, 12);
  t.regex(shown, /yes the service outside was asked by the one program/);
  t.regex(shown, /yes the model was asked with its key, which no session has seen/);
  t.regex(shown, /yes the report came out with the right sums/);
  t.regex(shown, /yes no mount, cgroup, folder or socket is left/);
  t.notRegex(shown, /ESCAPED|^ {2}NO /m);
  t.deepEqual(left(demo), []);
});

test.serial(
  "The demo ends with 1 when an answer, a wall's record or what came out is not as it should be",
  async (t) => {
    const root = withTasks(t, (name, text) => {
      if (name === "1-build.yaml") return text.replace("ok: sum", "ok: something else");
      if (name === "2-analyse.yaml") return text.replace("report/notes.md", "report/others.md");
      if (name === "3-fetch.yaml") return text.replace("DELETE", "GET");
      return text.replace("192.0.2.1", "127.0.0.1");
    });
    const demo = start(t, root);
    const { status, said: shown, errors } = await demo.ended;
    t.is(status, 1, shown + errors);
    t.regex(shown, /NO {2}builds and tests a small project: 7 of 8/);
    t.regex(shown, /expected the text to contain "ok: something else"/);
    t.regex(shown, /NO {2}the report came out/);
    t.regex(shown, /ESCAPED scans the network/);
    t.regex(shown, /NO {2}the service outside was asked by the one program/);
    t.regex(shown, /yes no process is left/);
    t.regex(shown, /something is not as it should be/);
    t.deepEqual(left(demo), []);
  },
);
