import test from "ava";
import { type Answer, chooseChanges } from "../../lib/cli/choose-changes.ts";
import type { Change } from "../../lib/sandbox/changes.ts";
import type { Entry, EntryType } from "../../lib/sandbox/directory.ts";

const entry = (type: EntryType): Entry => ({ type }) as Entry;

/** `A d/`, `D f`, `M f`, and `T f` for a folder that became a file. */
function change(text: string): Change {
  const [mark = "", name = ""] = text.split(" ");
  const kinds = { A: "added", D: "deleted", M: "modified", T: "type-changed" } as const;
  const type = name.endsWith("/") ? "directory" : "file";
  return {
    path: Buffer.from(name.replace(/\/$/, "")),
    kind: kinds[mark as keyof typeof kinds],
    before: mark === "A" ? null : entry(mark === "T" ? "directory" : type),
    after: mark === "D" ? null : entry(type),
    conflict: false,
  };
}

async function choose(texts: readonly string[], answers: string): Promise<{ asked: string[]; chosen: string[] }> {
  const asked: string[] = [];
  const chosen = await chooseChanges(texts.map(change), async ({ change: one }) => {
    asked.push(one.path.toString());
    return (answers[asked.length - 1] ?? "?") as Answer;
  });
  return { asked, chosen: chosen.map(({ path }) => path.toString()) };
}

test("Each file is asked about, and y and n are for it alone", async (t) => {
  t.deepEqual(await choose(["A a", "M b", "D c"], "yny"), { asked: ["a", "b", "c"], chosen: ["a", "c"] });
});

test("a and d answer for what is left in the folder and below, q for all that is left", async (t) => {
  const files = ["A d/1", "A d/2", "A d/e/3", "A f/4", "A f/5", "A g"];
  t.deepEqual(await choose(files, "yady"), { asked: ["d/1", "d/2", "f/4", "g"], chosen: ["d/1", "d/2", "d/e/3", "g"] });
  t.deepEqual(await choose(files, "yq"), { asked: ["d/1", "d/2"], chosen: ["d/1"] });
  t.deepEqual((await choose(["A a", "A d/1", "A z"], "a")).chosen, ["a", "d/1", "z"]);
});

test("A folder that came comes with the first thing in it, one that went goes with the last; empty ones are asked about", async (t) => {
  const came = ["A d/", "A d/1", "A d/e/", "A d/e/2"];
  t.deepEqual(await choose(came, "yn"), { asked: ["d/1", "d/e/2"], chosen: ["d", "d/1"] });
  t.deepEqual((await choose(came, "ny")).chosen, ["d", "d/e", "d/e/2"]);
  t.deepEqual((await choose(came, "nn")).chosen, []);
  const went = ["D d/", "D d/1", "D d/e/", "D d/e/2"];
  t.deepEqual((await choose(went, "ny")).chosen, ["d/e", "d/e/2"]);
  t.deepEqual((await choose(went, "yy")).chosen, ["d", "d/1", "d/e", "d/e/2"]);
  t.deepEqual(await choose(["A d/", "D e/"], "yn"), { asked: ["d", "e"], chosen: ["d"] });
});

test("What became something else goes with all that lay in it", async (t) => {
  t.deepEqual(await choose(["T d", "D d/1", "D d/2", "A e"], "yn"), { asked: ["d", "e"], chosen: ["d", "d/1", "d/2"] });
  t.deepEqual((await choose(["T d", "D d/1", "A e"], "ny")).chosen, ["e"]);
});
