import test from "ava";
import { writeZip } from "../../lib/queue/zip-writer.ts";
import { endTurn, terminated } from "./faulty-server.ts";
import { openHarness } from "./harness.ts";
import { file, refused } from "./hostile-archives.ts";

const skill = { type: "custom", skill_id: "skill_1", version: "latest" };

test("A skill is fetched by its concrete version and put below skills/, with modes of its own", async (t) => {
  const { server, start, folders } = await openHarness(t);
  server.session = { ...server.session, agent: { skills: [skill] } };
  server.archive = writeZip([file("pdf/SKILL.md", "words", 0o100600), file("pdf/run", "#!", 0o100711)]);
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1);
  t.is(server.of("skill")[0]?.path, "/v1/skills/skill_1/versions/latest");
  t.is(server.of("archive")[0]?.path, "/v1/skills/skill_1/versions/skver_1/content");
  t.is(server.of("archive")[0]?.headers.accept, "application/binary");
  t.is(server.of("archive")[0]?.headers["anthropic-beta"], undefined);
  t.deepEqual(
    [...folders.files].map(([path, { data, mode }]) => [path, data.toString(), mode]),
    [
      ["/workspace/skills/greet/SKILL.md", "words", 0o644],
      ["/workspace/skills/greet/run", "#!", 0o755],
    ],
  );
  server.happen(terminated);
  await server.untilCount("stop", 1);
  t.is(folders.files.size, 0, "it goes with the session");
});

test("A folder of the skill's name that was there is replaced", async (t) => {
  const { server, start, folders } = await openHarness(t);
  folders.folders.add("/workspace/skills/greet");
  await folders.write("/workspace/skills/greet", "old", Buffer.from("old"));
  server.session = { ...server.session, agent: { skills: [skill] } };
  server.archive = writeZip([file("new")]);
  server.enqueue({ id: "work_1" });
  void start();
  await server.until(() => server.openStreams === 1);
  t.deepEqual([...folders.files.keys()], ["/workspace/skills/greet/new"]);
});

test("Skills that fail are passed over, and the session is served", async (t) => {
  const { server, start, folders, log } = await openHarness(t, { maxIdleMs: 20 });
  server.happen(endTurn);
  server.session = { ...server.session, agent: { skills: [skill, skill, skill, skill, null, 7, { skill_id: "x" }] } };
  const gone = { status: 404 };
  server.fail("skill", gone);
  const bytes = (archive: Uint8Array) => (response: import("node:http").ServerResponse) => void response.end(archive);
  server.fail("archive", gone, bytes(refused["zip: a parent component"] ?? new Uint8Array()));
  server.archive = writeZip([file("last")]);
  server.enqueue({ id: "work_1" });
  void start();
  await server.untilCount("stop", 1);
  t.is(server.of("stream").length, 1);
  t.is(log.lines.filter(({ message }) => message === "a skill was passed over").length, 6);
  t.is(folders.files.size, 0);
});
