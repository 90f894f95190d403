import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import test, { type ExecutionContext } from "ava";
import { Audit, fileSink } from "../../lib/audit/audit.ts";
import { secretsInUse } from "../../lib/secrets/secret-search.ts";
import { scratchFolder } from "../sandbox/session.ts";

/** An audit that is appended to one file, and the types of what is in it. */
function recorded(t: ExecutionContext): { audit: Audit; types: () => string[]; path: string } {
  const path = join(scratchFolder(t), "audit.jsonl");
  const audit = new Audit(fileSink(path));
  t.teardown(() => audit.close());
  return { audit, path, types: () => typesIn(path) };
}

function typesIn(path: string): string[] {
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.slice(0, -1).map((line) => (JSON.parse(line) as { type: string }).type);
}

/** The turn in which a record was made, and the next one, which brings none. */
async function quietTurn(): Promise<void> {
  for (let i = 0; i < 3; i++) await turn();
}

const event = (type: string): { type: string; sandbox: string } => ({ type, sandbox: "one" });

/** What a process of its own appends, with the limits and the end that the script gives it. */
function inProcess(t: ExecutionContext, script: string, before = ""): string[] {
  const path = join(scratchFolder(t), "audit.jsonl");
  const module = JSON.stringify(join(import.meta.dirname, "../../lib/audit/audit.ts"));
  const code = `import { Audit, fileSink } from ${module}; const audit = new Audit(fileSink(process.argv[1])); const event = (type) => ({ type, sandbox: "one" }); ${script}`;
  const args = [process.execPath, "--input-type=module", "-e", code, "--", path];
  execFileSync("sh", ["-c", `${before} exec "$@"`, "sh", ...args], { encoding: "utf8" });
  return typesIn(path);
}

test("A record that may not wait is in the file at once, after those that waited", async (t) => {
  const { audit, types } = recorded(t);
  audit.append(event("first"), true);
  t.deepEqual(types(), []);
  audit.append(event("second"));
  t.deepEqual(types(), ["first", "second"]);
  audit.append(event("third"), true);
  audit.append(event("fourth"), true);
  t.deepEqual(types(), ["first", "second"]);
  await quietTurn();
  t.deepEqual(types(), ["first", "second", "third", "fourth"]);
});

test.serial(
  "Records that may wait are one write while they come, and do not wait longer than a millisecond",
  async (t) => {
    const { audit, path, types } = recorded(t);
    const sizes = new Set<number>();
    const began = performance.now();
    let count = 0;
    while (performance.now() - began < 20) {
      audit.append(event("one of many"), true);
      count++;
      await turn();
      sizes.add(statSync(path).size);
    }
    const ms = performance.now() - began;
    await quietTurn();
    t.is(types().length, count);
    t.true(sizes.size > 2 && sizes.size <= ms + 2, `${count} in ${sizes.size} writes, in ${ms} ms`);
  },
);

test("The same event again is without a secret that is known by then", (t) => {
  const lines: string[] = [];
  const followed: unknown[] = [];
  const audit = new Audit({ write: (line) => void lines.push(line), close: () => {} });
  audit.follow("one", ({ host }) => void followed.push(host));
  const said = { ...event("request"), host: "late-secret.test" };
  const secret = Buffer.from("late-secret");
  audit.append(said);
  audit.append(said);
  const forget = secretsInUse.add(() => [["late", secret]]);
  t.teardown(forget);
  audit.append(said);
  audit.append(said);
  const hosts = ["late-secret.test", "late-secret.test", "[redacted].test", "[redacted].test"];
  t.deepEqual(
    lines.map((line) => (JSON.parse(line) as { host: string }).host),
    hosts,
  );
  t.deepEqual(followed, hosts);
});

test("What waits is written when the audit is closed, and when the process ends", (t) => {
  const path = join(scratchFolder(t), "audit.jsonl");
  const audit = new Audit(fileSink(path));
  audit.append(event("last"), true);
  audit.close();
  t.deepEqual(typesIn(path), ["last"]);
  t.deepEqual(inProcess(t, `audit.append(event("last"), true); process.exit(0)`), ["last"]);
});

test("Where a record that waited cannot be written, the next is refused", async (t) => {
  const audit = new Audit(fileSink("/dev/full"));
  audit.append(event("first"), true);
  await quietTurn();
  t.throws(() => audit.append(event("second"), true), { code: "ENOSPC" });
  t.throws(() => audit.append(event("third")), { code: "ENOSPC" });
  t.throws(() => audit.close(), { code: "ENOSPC" });
});

test("A line that a full file cuts is whole when there is room again, and nothing is in between", (t) => {
  // A block of a limit on files is 512 bytes in sh (POSIX, ulimit -f).
  const script = `
    import { spawnSync } from "node:child_process";
    process.on("SIGXFSZ", () => {});
    audit.append({ ...event("long"), filler: "ä".repeat(400) }, true);
    for (let i = 0; i < 3; i++) await new Promise(setImmediate);
    let refused = "";
    try { audit.append(event("refused"), true) } catch (error) { refused = error.code }
    spawnSync("prlimit", ["--pid", process.pid, "--fsize=unlimited"]);
    audit.append(event(refused));`;
  t.deepEqual(inProcess(t, script, "ulimit -S -f 1;"), ["long", "EFBIG"]);
});
