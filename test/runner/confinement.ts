import { chownSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { homedir, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import type { Mode } from "../../lib/sandbox/types.ts";
import { AvaOutput } from "./ava-output.ts";
import { hasProgram, type Identity, runCommand } from "./command.ts";
import { failed, type Outcome, type Step, skipped, tail } from "./step.ts";

const minute = 60_000;

/** One pass over everything that starts sandboxes, as one user. */
export interface Pass {
  /** Where the checkout stands for this user. */
  root: string;
  label: string;
  /** Given when the tests run as somebody else than their starter. */
  identity?: Identity;
}

/** Ava, with a folder of its own where Node keeps what it compiled: every test file is a process, and all load the same. */
async function runAva(pass: Pass, limitMs: number, patterns: readonly string[]): Promise<Outcome> {
  const cache = mkdtempSync(join(tmpdir(), "holdfast-compiled-"));
  if (pass.identity) chownSync(cache, pass.identity.uid, pass.identity.gid);
  try {
    return await runAvaWith(cache, pass, limitMs, patterns);
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
}

/**
 * The files of the tests that failed run once more, one at a time: a test that only a busy machine fails is counted as
 * passed, and named with what is skipped.
 */
async function runAvaWith(cache: string, pass: Pass, limitMs: number, patterns: readonly string[]): Promise<Outcome> {
  const begin = Date.now();
  const { failedFiles, ...first } = await avaOnce(cache, pass, limitMs, patterns);
  const files = [...failedFiles];
  if (first.failed === 0 || files.length === 0 || files.length > mostRepeatedFiles) return first;
  const second = await avaOnce(cache, pass, limitMs - (Date.now() - begin), ["--concurrency=1", ...files]);
  if (second.failed > 0) return { ...first, failed: second.failed, detail: second.detail };
  // What only a busy machine shows is seen here or nowhere.
  console.log(`failed at the first try, beside others:\n${first.detail}\n`);
  const notes = files.map((file) => `${file}: passed at the second try, by itself`);
  return { passed: first.passed + first.failed, failed: 0, skipped: [...first.skipped, ...notes], detail: "" };
}

/** All tests but those of exhaustion; for another user than the starter, without what he does not change. */
async function runTests(pass: Pass, limitMs: number): Promise<Outcome> {
  const left = pass.identity ? [...alikeForAll, ...long] : [];
  const outcome = await runAva(pass, limitMs, [
    "test/**/*.test.ts",
    ...[...left, exhaustion].map((pattern) => `!${pattern}`),
  ]);
  const skips = left.map((pattern) => {
    const why = alikeForAll.includes(pattern) ? "alike for every user" : "long, and of what comes behind the walls";
    return `${pattern}: ${why}; run above`;
  });
  return { ...outcome, skipped: [...outcome.skipped, ...skips] };
}

/** It takes, outside a sandbox, what all of the user's processes share: no other test runs beside it. */
const exhaustion = "test/attacks/exhaust.test.ts";

const mostRepeatedFiles = 8;

/** What starts no sandbox and looks at no user: pure functions, the queue, and the worker against a faulty queue. */
const alikeForAll = [
  "test/{plan,fuzz,runner,errors}/**",
  "test/policy/*-{properties,dialect}.test.ts",
  "test/policy/{bad-files,credentials,inference,schema}.test.ts",
  "test/queue/{leases,tasks,documentation}.test.ts",
  "test/package/{contents,docstrings,floor,rooms,sources}.test.ts",
  "test/secrets/{leak-guard,sigv4,token}.test.ts",
  "test/egress/{addresses,authority,canonical,client-hello,decide,glob,http-head,names,trust,websocket}.test.ts",
  "test/egress/{body-swap,carry,draft,hostile-http1,hostile-http2,model-server,program,resolver,rules,scrub}.test.ts",
  "test/egress/signed-request.test.ts",
  "test/worker/{archive,dispatch,documentation,lease,memory,poll,results,skills,stream}.test.ts",
];

/**
 * Long, and of what is done with a connection, a file or an item once it is there; that it comes, and what the walls let each
 * user do, is tested as each.
 */
const long = [
  "test/egress/{clients,credentialed-programs,half-open,hostile-tls,hostless,issued,secret-memory,signed,storm,tls}.test.ts",
  "test/egress/{credentials,exfiltration,inference,leaks,sdks,trust,upstream}.test.ts",
  "test/e2e/{demo-ends,run-apply,run-extract,run-options,run-receipt,run-status,run-streams}.test.ts",
  "test/sandbox/{apply,changes,extract,extract-glob,git-settings,line-diff,render-diff}*.test.ts",
  "test/scale/many-calls.test.ts",
  "test/{audit,cli,docs,queue}/**",
  "test/tools/{bash,files,inputs,limits,pattern,search}.test.ts",
  "test/worker/{credentials,leak-guard,process,proxy}.test.ts",
];

async function avaOnce(
  cache: string,
  pass: Pass,
  limitMs: number,
  args: readonly string[],
): Promise<Outcome & { failedFiles: readonly string[] }> {
  const ava = new AvaOutput();
  const tty = process.stderr.isTTY;
  const bin = join(pass.root, "node_modules", ".bin");
  const result = await runCommand(join(bin, "ava"), ["--no-color", ...args], {
    cwd: pass.root,
    limitMs,
    identity: pass.identity,
    env: { ...process.env, PATH: `${bin}:${process.env["PATH"] ?? "/usr/bin:/bin"}`, NODE_COMPILE_CACHE: cache },
    onLine: (line) => {
      ava.add(line);
      if (tty) process.stderr.write(`\r  ${ava.passed} passed, ${ava.failed} failed `);
    },
  });
  if (tty) process.stderr.write("\r\x1b[K");
  const problems: string[] = [];
  if (result.exitCode !== 0) problems.push(ava.detail);
  if (result.timedOut) problems.push(`ava was ended after ${limitMs / 1000} s; it had not finished`);
  else if (!ava.ended) problems.push(`ava broke down:\n${tail(result.output)}`);
  return {
    passed: ava.passed,
    failed: Math.max(ava.failed, problems.length > 0 ? 1 : 0),
    skipped: ava.skipped,
    detail: problems.join("\n\n"),
    failedFiles: [...ava.failedFiles],
  };
}

interface AttackRow {
  case: string;
  class: string;
  verdict: string;
  vacuous?: boolean;
  detail?: string;
}

/** What the attack harness asks of a launcher (its README), without network and with; it fills the braces in. */
function launchers(root: string, mode: Mode): string[] {
  const limits = ["processes={pids}", "memory={memMB}M", "file-size={fsizeMB}M", "open-files={nofile}"];
  const options = [`--mode ${mode}`, "--workdir {workdir}", ...limits.map((limit) => `--limit ${limit}`), "--quiet"];
  const run = `${join(root, "bin", "holdfast")} run ${options.join(" ")}`;
  const allowed = ["{allowhost}", "*.wild.hf.test"].map((host) => `--allow ${host}:{allowport}`);
  return ["--launcher", `${run} --`, "--egress", `${run} --proxy-env ${allowed.join(" ")} --`];
}

async function runAttacks(pass: Pass, harness: string, limitMs: number): Promise<Outcome> {
  const outcome = await runAttacksBy("namespaces", pass, harness, limitMs);
  // Without namespaces a folder of root's cannot be worked in.
  const { thisHost } = await import("../../lib/sandbox/sandbox.ts"); // built by now
  const { landlockAbi } = thisHost();
  if ((pass.identity === undefined && process.getuid?.() === 0) || landlockAbi < 6) return outcome;
  const other = await runAttacksBy("landlock", pass, harness, limitMs);
  return {
    passed: outcome.passed + other.passed,
    failed: outcome.failed + other.failed,
    skipped: [...outcome.skipped, ...other.skipped.map((reason) => `--mode landlock: ${reason}`)],
    detail: [outcome.detail, other.detail && `--mode landlock:\n${other.detail}`]
      .filter((text) => text !== "")
      .join("\n"),
  };
}

async function runAttacksBy(mode: Mode, pass: Pass, harness: string, limitMs: number): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-attacks-"));
  try {
    const out = join(folder, "result.json");
    const args = [harness, ...launchers(pass.root, mode), "--out", out];
    // What else comes of it there, docs/hosts.md lists.
    if (mode === "landlock") args.push("--class", "core,control");
    // Root's harness runs the launcher as that user and brings namespaces of its own: more cases mean something there than
    // when an ordinary user starts it.
    if (pass.identity) args.push("--user", pass.identity.name, "--home", pass.identity.home);
    // It hides the starter's home behind an empty one, and with it a checkout that stands there.
    else if (process.getuid?.() === 0 && `${pass.root}/`.startsWith(`${homedir()}/`)) {
      args.push("--home", mkdtempSync(join(folder, "home-")));
    }
    const result = await runCommand(process.execPath, args, { cwd: pass.root, limitMs });
    if (!existsSync(out)) {
      return failed(`${tail(result.output, 30)}${result.timedOut ? `\nended after ${limitMs / 1000} s` : ""}`);
    }
    const security = join(pass.root, "SECURITY.md");
    return judgeAttacks(
      JSON.parse(readFileSync(out, "utf8")).results,
      existsSync(security) ? readFileSync(security, "utf8") : "",
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * A core or surface case that escapes is a failure, unless SECURITY.md names the surface case in backquotes and so says why
 * it stays open. Option cases are for policies that ask for them, and have tests of their own.
 */
export function judgeAttacks(rows: readonly AttackRow[], security: string): Outcome {
  const open = (row: AttackRow): boolean =>
    row.class === "option" || (row.class === "surface" && security.includes(`\`${row.case}\``));
  const bad = rows.filter(
    (row) =>
      row.verdict === "ERROR" || row.verdict === "BROKEN" || (row.verdict === "ESCAPED" && !row.vacuous && !open(row)),
  );
  const inapplicable = rows.filter((row) => row.verdict === "INAPPLICABLE");
  return {
    passed: rows.length - bad.length - inapplicable.length,
    failed: bad.length,
    skipped: inapplicable.map((row) => `attack ${row.case}: ${row.detail ?? "not applicable here"}`),
    detail: bad.map((row) => `${row.verdict} ${row.class} ${row.case}: ${row.detail ?? ""}`).join("\n"),
  };
}

/**
 * The tests and the attacks as one user.
 * @param root the starter's own checkout: the harness that root runs is never another user's copy
 */
export function confinementChecks(pass: Pass, root: string): { exhaustion: Step; tests: Step; attacks: Step } {
  const harness = join(root, "..", "shared", "attacks", "run.mjs");
  return {
    exhaustion: {
      name: `tests of exhaustion (ava), as ${pass.label}`,
      limitMs: 3 * minute,
      run: (limitMs) => runAva(pass, limitMs, [exhaustion]),
    },
    tests: { name: `tests (ava), as ${pass.label}`, limitMs: 11 * minute, run: (limitMs) => runTests(pass, limitMs) },
    attacks: {
      name: `attacks, as ${pass.label}`,
      limitMs: 6 * minute,
      run: async (limitMs) => {
        if (!existsSync(harness)) {
          return skipped(
            "../shared/attacks does not stand beside the checkout; the project's own attacks are among the tests",
          );
        }
        if (!(await hasProgram("cc"))) return skipped("no C compiler (cc) for the attack programs");
        return runAttacks(pass, harness, limitMs);
      },
    },
  };
}

/** The one who started the tests. */
export function starter(root: string): Pass {
  const uid = process.getuid?.() ?? -1;
  let label = `uid ${uid}`;
  try {
    label = userInfo().username;
  } catch {
    // A uid without an entry in /etc/passwd.
  }
  return { root, label };
}
