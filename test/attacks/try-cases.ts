// Every case is tried twice: in a sandbox, where nothing may come of it, and outside as the same user, where it works, or
// else it would prove nothing. A new idea is one file in cases/; its first lines say what it is.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import { applyLimit } from "../../lib/policy/limits.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import type { Mode } from "../../lib/sandbox/types.ts";
import { architecture } from "../walls/victim.ts";
import { alone } from "./alone.ts";
import { buildCase, World } from "./world.ts";

interface Case {
  readonly file: string;
  /** After "A program in a sandbox cannot". */
  readonly title: string;
  readonly limits: readonly string[];
  /** Variants, as the parameter `way`. */
  readonly ways: readonly string[];
  /** What it goes for. */
  readonly kind: string;
  /** Its workspace is worked in with git afterwards. */
  readonly git: boolean;
  /** Why it is not tried outside. */
  readonly control: string | undefined;
  readonly machine: string | undefined;
}

function readCase(file: string): Case {
  const text = readFileSync(join(import.meta.dirname, "cases", file), "utf8");
  const said = new Map(
    [...text.matchAll(/^(?:#|\/\/) (\w+): (.*)$/gm)].map(([, key = "", value = ""]) => [key, value]),
  );
  return {
    file,
    title: said.get("title") ?? file,
    limits: said.get("limits")?.split(" ") ?? [],
    ways: said.get("ways")?.split(", ") ?? [""],
    kind: said.get("kind") ?? "",
    git: said.has("git"),
    control: said.get("control"),
    machine: said.get("machine"),
  };
}

const cases = readdirSync(join(import.meta.dirname, "cases"))
  .filter((file) => /\.(c|py|sh)$/.test(file))
  .map(readCase);

const has = (program: string): boolean => spawnSync(program, ["--version"], { stdio: "ignore" }).error === undefined;
const programs = { c: has("cc"), git: has("git") };

const builds = mkdtempSync(join(tmpdir(), "holdfast-attack-programs-"));
test.after.always(() => rmSync(builds, { recursive: true, force: true }));

function policyFor({ limits }: Case, granted: string): Policy {
  const filesystem = {
    ...defaultPolicy.filesystem,
    readOnly: [...defaultPolicy.filesystem.readOnly, { path: granted }],
  };
  return {
    ...defaultPolicy,
    filesystem,
    limits: limits.reduce((set, word) => {
      const [name = "", value = ""] = word.split("=");
      return applyLimit(set, name, value);
    }, defaultPolicy.limits),
  };
}

/** How a sandbox's walls are made, where not by namespaces. */
export interface OtherMode {
  readonly mode: Mode;
  /** Cases that come to something there: docs/hosts.md says so, and why. */
  readonly open: readonly string[];
  /** Why none can be tried on this host. */
  readonly missing: string | null;
}

const namespaces: OtherMode = { mode: "namespaces", open: [], missing: null };

/**
 * Makes a test of each way of each case of the kinds that are chosen. What works outside is shown once: not in another
 * mode again.
 */
export function tryCases(isChosen: (kind: string) => boolean, other: OtherMode = namespaces): void {
  for (const each of cases.filter(({ kind }) => isChosen(kind))) for (const way of each.ways) tryCase(each, way, other);
}

function tryCase(each: Case, way: string, other: OtherMode): void {
  const isOpen = other.open.includes(each.file);
  const where = `in a sandbox${other === namespaces ? "" : ` by ${other.mode}`} ${isOpen ? "can" : "cannot"}`;
  const title = `A program ${where} ${each.title}${way === "" ? "" : `: ${way}`}`;
  test.serial(`${title} (${each.file})`, async (t) => {
    const missing =
      each.file.endsWith(".c") && !programs.c
        ? "there is no C compiler (cc)"
        : each.git && !programs.git
          ? "there is no git"
          : each.machine !== undefined && each.machine !== architecture
            ? `it means something only on ${each.machine}`
            : other.missing;
    if (missing !== null) {
      t.log(`skipped: ${missing}`);
      t.pass();
      return;
    }
    const program = buildCase(each.file, builds);
    const world = await World.make();
    t.teardown(() => world.close());
    const inside = world.prepare(program, way, true);
    const sandbox = await Sandbox.create({
      workdir: inside.workdir,
      policy: policyFor(each, world.granted),
      mode: other.mode,
    });
    t.teardown(() => sandbox.dispose());
    const [file = "", ...args] = inside.argv;
    const tryInside = (): Promise<string[]> =>
      world.watch(
        inside.mark,
        () => sandbox.start(file, args, { timeoutMs: 90_000 }),
        () => sandbox.dispose(),
      );
    // What is tried outside changes what everybody shares (/dev/null for one): not while another mode's file looks.
    const came = await (other === namespaces ? tryInside() : alone(tryInside));
    if (each.git && world.gitRuns(inside.workdir, inside.mark)) came.push("git outside ran what was planted");
    if (isOpen) t.not(came.length, 0, "it is held now: it comes off the list, and out of docs/hosts.md");
    else t.deepEqual(came, [], "in a sandbox");
    if (other !== namespaces) return;
    if (each.control !== undefined) {
      t.log(`skipped: not tried outside: ${each.control}`);
      return;
    }
    const outside = world.prepare(program, way, false);
    const { unconfined } = world;
    const done = await alone(() =>
      world.watch(
        outside.mark,
        () => unconfined(outside.argv, outside.workdir),
        async () => {},
      ),
    );
    if (each.git && world.gitRuns(outside.workdir, outside.mark)) done.push("git outside ran what was planted");
    t.not(done.length, 0, "outside it works");
  });
}
