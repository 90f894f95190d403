// The rows of seccomp/cases.csv, made as real system calls in a sandbox: the kernel must come to the verdict that the
// interpreter comes to in test/plan/seccomp.test.ts.
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { compileFilter } from "../../lib/plan/bpf-compiler.ts";
import { filterFor } from "../../lib/plan/filter.ts";
import { loadCallTable, type SeccompOptions } from "../../lib/plan/seccomp-profile.ts";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { type LaunchHooks, Sandbox } from "../../lib/sandbox/sandbox.ts";
import { wordValue } from "../plan/seccomp-definition.ts";
import { allowAllFilter, isRoot, unverified } from "./broken-plan.ts";
import { architecture, buildVictim, type Call, inside, noCompiler } from "./victim.ts";

interface Row {
  readonly line: string;
  readonly options: SeccompOptions;
  readonly call: string;
  readonly words: string;
  readonly verdict: string;
}

/** Calls that, when they are let through with a case's arguments, end the victim or make two of it. */
const endsTheVictim: ReadonlySet<string> = new Set([
  "arch_prctl", // another place for thread-local storage
  "clone", // a second process on the same stack
  "kill", // everything in the sandbox, or a group that may be the victim's
  "rseq", // the C library has registered its own
  "seccomp", // strict mode
  "uprobe", // SIGILL outside a probe
  "uretprobe",
  "#335",
]);

/** What only the broker of another mode answers. */
const notHere: ReadonlySet<string> = new Set([
  "notify:bind",
  "notify:metadata",
  "notify:socket",
  "notify:lookup",
  "notify:fork",
]);

const workdir = mkdtempSync(join(tmpdir(), "holdfast-seccomp-"));
chmodSync(workdir, 0o755);
if (isRoot) chownSync(workdir, 64_000, 64_000);
const built = buildVictim(workdir);
test.after.always(() => rmSync(workdir, { recursive: true, force: true }));

function callOf({ call, words }: Row): Call {
  const values = words === "" ? [] : words.split(" ").map(wordValue);
  return [call, ...values];
}

const rows: Row[] = readFileSync(join(import.meta.dirname, "../../seccomp/cases.csv"), "utf8")
  .trimEnd()
  .split("\n")
  .slice(1)
  .flatMap((line) => {
    const [where = "", flags = "", call = "", words = "", verdict = ""] = line.split(",");
    const options = Object.fromEntries(flags === "" ? [] : flags.split("+").map((flag) => [flag, true]));
    if (where === "both" || where === architecture) return [{ line, options, call, words, verdict }];
    // x32 numbers are made as they are, i386 ones by int 0x80.
    if (where === "x32" && architecture === "x86_64") return [{ line, options, call, words, verdict }];
    if (where === "i386" && architecture === "x86_64") {
      return [{ line, options, call: `i386:${call.slice(1)}`, words, verdict }];
    }
    return [];
  });

function start(options: SeccompOptions): Promise<Sandbox> {
  const policy: Policy = {
    ...defaultPolicy,
    process: { mappedFiles: options.mappedFiles ? "executable-only" : "any" },
    limits: { ...defaultPolicy.limits, ...(options.fileSizeLimit ? { fileSizeBytes: 2 ** 40 } : {}) },
  };
  const hooks: LaunchHooks = {
    traceOpens: options.traceOpens ?? false,
    // The modes that these two stand for are not launched yet; their filter is tried all the same.
    alterPlan: (plan) =>
      options.noNamespaces || options.noTruncateRight
        ? { ...plan, seccomp: { ...plan.seccomp, program: compileFilter({ arch: architecture, options }) } }
        : options.programCode
          ? { ...plan, seccomp: filterFor(architecture, options) }
          : plan,
  };
  return Sandbox.create({ workdir, policy }, hooks);
}

const optionSets = [...new Set(rows.map(({ options }) => Object.keys(options).join("+")))];

for (const flags of optionSets) {
  const own = rows.filter(({ options }) => Object.keys(options).join("+") === flags);
  test.serial(
    `The kernel judges ${own.length} calls as the filter's cases say${flags === "" ? "" : `, with ${flags}`}`,
    async (t) => {
      if (!built) {
        t.log(noCompiler);
        t.pass();
        return;
      }
      const sandbox = await start(own[0]?.options ?? {});
      t.teardown(() => sandbox.dispose());
      const open = await Sandbox.create({ workdir }, { alterPlan: unverified(allowAllFilter) });
      t.teardown(() => open.dispose());
      let judged = 0;
      const left: string[] = [];
      for (const row of own) {
        const lets = !row.verdict.startsWith("errno:") && row.verdict !== "notify";
        if (notHere.has(row.verdict) || (lets && endsTheVictim.has(row.call))) {
          left.push(row.call);
          continue;
        }
        const { outcome, denied } = await inside(sandbox, [callOf(row)]);
        if (outcome === "SIGSEGV" && row.call.startsWith("i386:")) {
          left.push(`${row.call} (this kernel has no int 0x80)`);
          continue;
        }
        judged += 1;
        if (row.verdict === "notify") {
          t.is(outcome, "EPERM", row.line);
          t.deepEqual(denied, [row.call], `${row.line}: recorded`);
        } else if (row.verdict.startsWith("errno:")) {
          t.is(outcome, row.verdict.slice("errno:".length), row.line);
        } else if (row.verdict === "return:0") {
          t.is(outcome, "ok", row.line);
        } else if (row.verdict === "notify:connect" || row.verdict === "notify:map") {
          // There is nothing at the address, or no such descriptor: the broker finds the one or the other.
          t.true(["EFAULT", "EBADF"].includes(outcome), `${row.line}: ${outcome}`);
        } else {
          t.is(outcome, (await inside(open, [callOf(row)])).outcome, `${row.line}: as without a filter`);
          t.deepEqual(denied, [], row.line);
        }
      }
      t.is(judged + left.length, own.length);
      if (left.length > 0) t.log(`not made: ${left.join(", ")}`);
    },
  );
}

test.serial(
  "Every call that the profile does not list answers ENOSYS, up to a number that no kernel has",
  async (t) => {
    if (!built) {
      t.log(noCompiler);
      t.pass();
      return;
    }
    const sandbox = await start({});
    t.teardown(() => sandbox.dispose());
    const known = new Set(Object.values(loadCallTable(architecture).calls));
    const unknown = Array.from({ length: 600 }, (_, number) => number).filter((number) => !known.has(number));
    t.true(unknown.length > 100);
    for (const number of unknown) t.is((await inside(sandbox, [[`#${number}`]])).outcome, "ENOSYS", String(number));
  },
);
