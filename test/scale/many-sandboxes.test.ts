// Sixty-four sandboxes with different policies, live at once in one process: none sees another.
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import test from "ava";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";

const count = 64;
const numbers = Array.from({ length: count }, (_, i) => i);
const tagOf = (i: number): string => `tag-${i}-of-${count}`;

interface Member {
  readonly tag: string;
  readonly workdir: string;
  readonly granted: string;
  readonly sandbox: Sandbox;
}

/** Each its own: what may be read, whether the workspace may be written, an environment, limits. */
function policyOf(i: number, granted: string, programs: string): Policy {
  const { filesystem, limits, workspace, environment } = defaultPolicy;
  return {
    ...defaultPolicy,
    source: `<member ${i}>`,
    filesystem: { ...filesystem, readOnly: [...filesystem.readOnly, { path: granted }, { path: programs }] },
    limits: { ...limits, processes: 100 + i, openFiles: 200 + i },
    workspace: { ...workspace, access: i % 2 === 0 ? "read-write" : "read-only" },
    environment: { ...environment, set: { MEMBER: tagOf(i) } },
  };
}

/** Open descriptors of this process, counted by what they are. */
function descriptors(): Record<string, number> {
  const found: Record<string, number> = {};
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      const what = readlinkSync(`/proc/self/fd/${fd}`).replace(/\[\d+\]$/, "");
      found[what] = (found[what] ?? 0) + 1;
    } catch {
      // The one that reads the folder.
    }
  }
  return found;
}

test("64 sandboxes with different policies live at once, and none sees another's files, processes, sockets or signals", async (t) => {
  t.timeout(120_000);
  const top = mkdtempSync(join(tmpdir(), "holdfast-many-"));
  chmodSync(top, 0o755);
  t.teardown(() => rmSync(top, { recursive: true, force: true }));
  const programs = join(top, "programs");
  mkdirSync(programs);
  const neighbour = join(programs, "neighbour");
  const source = join(import.meta.dirname, "neighbour.c");
  const built = spawnSync("cc", ["-O1", "-o", neighbour, source], { encoding: "utf8", timeout: 60_000 });
  if (built.error !== undefined) {
    t.log("skipped: there is no C compiler (cc) for its program");
    t.pass();
    return;
  }
  t.is(built.status, 0, built.stderr);

  // One that is over first: what this process keeps for all (the reaper's list, the init's image) is open then.
  await (await Sandbox.create({ workdir: programs })).dispose();
  const before = descriptors();

  const members: Member[] = await Promise.all(
    numbers.map(async (i) => {
      const [workdir, granted] = [join(top, `work-${i}`), join(top, `granted-${i}`)];
      for (const folder of [workdir, granted]) {
        mkdirSync(folder);
        chmodSync(folder, 0o777);
        writeFileSync(join(folder, "secret"), tagOf(i));
      }
      const sandbox = await Sandbox.create({
        workdir,
        policy: policyOf(i, granted, programs),
        name: `many-${process.pid}-${i}`,
      });
      t.teardown(() => sandbox.dispose());
      return { tag: tagOf(i), workdir, granted, sandbox };
    }),
  );
  t.is(new Set(members.map(({ sandbox }) => sandbox.name)).size, count);

  // The same names and ports in each: were anything shared, all but the first could not listen.
  const servers = await Promise.all(
    members.map(async ({ sandbox, tag }) => {
      const child = sandbox.spawn(neighbour, ["serve", tag], { stdin: "ignore" });
      const [line]: unknown[] = child.stdout === null ? [] : await once(child.stdout, "data");
      t.is(String(line), "ready\n", tag);
      return child;
    }),
  );

  const look = `
    cat "$MINE/secret"; echo
    cat "$OTHER/secret" "$OTHER_WORK/secret" 2>&1 | grep -c "No such file"
    ls ${JSON.stringify(top)} | tr "\\n" " "; echo
    cat /proc/[0-9]*/cmdline | tr "\\0" "\\n" | grep "^tag-" | sort -u | tr "\\n" " "; echo
    echo "$MEMBER"; ulimit -n
    ${JSON.stringify(neighbour)} ask
    echo "$MEMBER" > /tmp/shared; echo "$MEMBER" > /dev/shm/shared
    if echo new > new 2> /dev/null; then echo writable; else echo read-only; fi
    kill -9 -1 2> /dev/null
  `;
  const looks = await Promise.all(
    members.map(({ sandbox, granted }, i) => {
      const other = members[(i + 1) % count];
      return sandbox.exec("/bin/bash", ["-c", look], {
        env: { MINE: granted, OTHER: other?.granted ?? "", OTHER_WORK: other?.workdir ?? "" },
      });
    }),
  );
  members.forEach(({ tag }, i) => {
    const lines = looks[i]?.stdout.toString().split("\n");
    t.deepEqual(
      lines,
      [
        tag,
        "2",
        `granted-${i} programs work-${i} `,
        `${tag} `,
        tag,
        String(200 + i),
        `unix ${tag}`,
        `tcp ${tag}`,
        i % 2 === 0 ? "writable" : "read-only",
        "",
      ],
      `${tag}: ${looks[i]?.stderr.toString()}`,
    );
  });

  // After `kill -9 -1` in every one of them all servers still answer, each in its own sandbox.
  const asked = await Promise.all(
    members.map(({ sandbox }) => sandbox.exec("/bin/sh", ["-c", `${neighbour} ask; cat /tmp/shared /dev/shm/shared`])),
  );
  t.deepEqual(
    asked.map(({ stdout }) => stdout.toString()),
    members.map(({ tag }) => `unix ${tag}\ntcp ${tag}\n${tag}\n${tag}\n`),
  );
  t.true(servers.every(({ exitCode, signalCode }) => exitCode === null && signalCode === null));
  t.deepEqual(
    members.map(({ workdir }) => readdirSync(workdir).includes("new")),
    numbers.map((i) => i % 2 === 0),
  );

  // The end of one is nobody else's.
  const [first, ...rest] = members;
  await first?.sandbox.dispose();
  const still = await Promise.all(rest.map(({ sandbox }) => sandbox.exec(neighbour, ["ask"])));
  t.deepEqual(
    still.map(({ stdout }) => stdout.toString()),
    rest.map(({ tag }) => `unix ${tag}\ntcp ${tag}\n`),
  );

  const closed = servers.map((child) =>
    child.exitCode === null && child.signalCode === null ? once(child, "close") : null,
  );
  await Promise.all(rest.map(({ sandbox }) => sandbox.dispose()));
  await Promise.all(closed);
  // A broker's thread closes its listener when it sees that nobody is left behind the filter.
  const deadline = Date.now() + 10_000;
  while (!isDeepStrictEqual(descriptors(), before) && Date.now() < deadline) await pause(10);
  t.deepEqual(descriptors(), before, "every descriptor is closed");
  const parents = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return (
          readFileSync(`/proc/${pid}/stat`, "utf8").includes(`(memfd:holdfast-`) &&
          readFileSync(`/proc/${pid}/status`, "utf8").includes(`PPid:\t${process.pid}\n`) &&
          !readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("reaper")
        );
      } catch {
        return false; // it ended meanwhile
      }
    });
  t.deepEqual(parents, [], "every init is gone");
});
