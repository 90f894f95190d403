import { styleText } from "node:util";
import { Command, Option } from "commander";
import { HoldfastError } from "../errors.ts";
import { currentFolder } from "../host/paths.ts";
import type { Policy, PolicyProblem } from "../policy/policy.ts";
import { networkRefusal } from "../policy/refusal.ts";
import type { FlowOptions } from "./policy-test.ts";

/** The exit status of a policy that cannot be used: nothing was started (building.md 3). */
const refused = 125;

interface ExplainOptions {
  preset?: string;
  workdir?: string;
  json?: boolean;
  seccomp?: boolean;
}

/** `holdfast policy`: looks at policies without running anything. */
export function policyCommand(): Command {
  const command = new Command("policy").description("check and explain policies (docs/policy.md)");
  command
    .command("check <file...>")
    .description("say everything that is wrong with policy files; never looks at the paths they name")
    .option("--json", "print one JSON object a line")
    .action(check);
  command
    .command("explain [file]")
    .description("what a policy would enforce on this host, wall by wall")
    .option("--preset <name>", "explain a preset instead of a file")
    .option("--workdir <folder>", "the workspace; the current folder by default")
    .option("--json", "print JSON")
    .addOption(new Option("--seccomp", "print the system call filter instead, as a table"))
    .action(explain);
  command
    .command("test [file]")
    .description(
      "what the network rules of a policy say of one connection or request; exit status 1 where it is refused",
    )
    .requiredOption("--to <host:port>", "where it goes")
    .option("--binary <path>", "the program, as the sandbox sees it; without it: one that cannot be told")
    .option("--sha256 <hash>", "its content, where the policy pins one")
    .option("--request <request>", 'on an inspected endpoint: "METHOD /path?query"')
    .option("--preset <name>", "a preset instead of a file")
    .option("--json", "print JSON")
    .action(testPolicy);
  command
    .command("profile <file>")
    .description("print the policy that a provider profile of OpenShell's comes to")
    .option(
      "--set <name=value...>",
      "what the profile leaves open; of a secret where it is kept: env:NAME, file:/PATH, systemd:NAME",
    )
    .action(printProfile);
  command
    .command("presets")
    .description("list the presets and their files")
    .option("--json", "print one JSON object a line")
    .action(listPresets);
  return command;
}

/** Exit status 0 when every file can be used, warnings or not. */
async function check(files: readonly string[], options: { json?: boolean }): Promise<void> {
  const { readPolicy } = await import("../policy/load.ts");
  for (const file of files) {
    const { usable, problems } = look(file, readPolicy);
    if (!usable) process.exitCode = refused;
    if (options.json) {
      write(process.stdout, JSON.stringify({ file, ok: usable, problems }));
      continue;
    }
    for (const problem of problems) write(process.stderr, render(problem));
    if (usable) write(process.stdout, `${file}: ${summary(problems)}`);
  }
}

/** A file that cannot be read is a problem of that file: the others are still looked at. */
function look(
  file: string,
  read: (file: string) => { policy: Policy | null; problems: readonly PolicyProblem[] },
): { usable: boolean; problems: readonly PolicyProblem[] } {
  try {
    const { policy, problems } = read(file);
    const refusal = policy && networkRefusal(policy);
    if (policy === null || refusal === null) return { usable: policy !== null, problems };
    // Sound, and of more than this version enforces.
    const [, line, column, message = ""] =
      /^:(\d+):(\d+): (.*)$/s.exec(refusal.message.slice(policy.source.length)) ?? [];
    const place = { file, line: Number(line), column: Number(column) };
    const warning = {
      severity: "warning",
      ...place,
      message: `nothing runs under it: ${message}`,
      hint: refusal.hint,
    } as const;
    return { usable: true, problems: [...problems, warning] };
  } catch (error) {
    if (!HoldfastError.is(error)) throw error;
    const problem = { severity: "error", file, line: 1, column: 1, message: error.message, hint: error.hint } as const;
    return { usable: false, problems: [problem] };
  }
}

function summary(problems: readonly PolicyProblem[]): string {
  if (problems.length === 0) return "ok";
  return problems.length === 1 ? "ok, with 1 warning" : `ok, with ${problems.length} warnings`;
}

/** As `formatProblem`, coloured where standard error is a terminal (NO_COLOR and FORCE_COLOR are honoured). */
function render(problem: PolicyProblem): string {
  const style = (format: Parameters<typeof styleText>[0], text: string): string =>
    styleText(format, text, { stream: process.stderr, validateStream: true });
  const severity = style(problem.severity === "error" ? "red" : "yellow", `${problem.severity}:`);
  const hint = problem.hint === undefined ? "" : style("cyan", ` (${problem.hint})`);
  const place = style("bold", `${problem.file}:${problem.line}:${problem.column}:`);
  return `${place} ${severity} ${problem.message}${hint}`;
}

function write(stream: NodeJS.WriteStream, line: string): void {
  stream.write(`${line}\n`);
}

async function explain(file: string | undefined, options: ExplainOptions): Promise<void> {
  const policy = await chosenPolicy(file, options.preset);
  if (options.seccomp) {
    const [{ describeProfile, renderSeccompTable }, { filterOptions }, { thisHost }] = await Promise.all([
      import("../plan/seccomp-table.ts"),
      import("../plan/filter.ts"),
      import("../sandbox/sandbox.ts"),
    ]);
    const rows = describeProfile(thisHost().architecture, filterOptions(policy));
    process.stdout.write(options.json ? `${JSON.stringify(rows, null, 2)}\n` : renderSeccompTable(rows));
    return;
  }
  const [{ explainPolicy }, { renderExplanation }] = await Promise.all([
    import("../sandbox/explain.ts"),
    import("../plan/explain-text.ts"),
  ]);
  const explained = explainPolicy(policy, options.workdir ?? currentFolder());
  process.stdout.write(options.json ? `${JSON.stringify(explained, null, 2)}\n` : renderExplanation(explained));
}

async function testPolicy(
  file: string | undefined,
  options: FlowOptions & { preset?: string; json?: boolean },
): Promise<void> {
  const { renderVerdict, testFlow } = await import("./policy-test.ts");
  const verdict = testFlow(await chosenPolicy(file, options.preset), options);
  process.stdout.write(options.json ? `${JSON.stringify(verdict)}\n` : renderVerdict(verdict));
  if (!verdict.allowed) process.exitCode = 1;
}

async function chosenPolicy(file: string | undefined, preset: string | undefined): Promise<Policy> {
  if (file !== undefined && preset !== undefined) {
    throw new HoldfastError("a policy file and --preset were given", {
      code: "ERR_HOLDFAST_USAGE",
      step: "usage",
      hint: "Name one of them.",
    });
  }
  if (preset !== undefined) return (await import("../policy/presets.ts")).namedPreset(preset);
  if (file !== undefined) return (await import("../policy/load.ts")).loadPolicy(file);
  return (await import("../policy/default-policy.ts")).defaultPolicy;
}

/** Nothing is printed of a profile with errors. */
async function printProfile(file: string, { set = [] }: { set?: readonly string[] }): Promise<void> {
  const [{ policyOfProfile }, { readPolicyBytes }] = await Promise.all([
    import("../policy/profile.ts"),
    import("../policy/load.ts"),
  ]);
  const given = new Map(set.map((each) => [each.split("=", 1)[0] ?? "", each.slice(each.indexOf("=") + 1)]));
  const { text, problems } = policyOfProfile(readPolicyBytes(file), file, given);
  for (const problem of problems) write(process.stderr, render(problem));
  if (text === null) process.exitCode = refused;
  else process.stdout.write(text);
}

async function listPresets(options: { json?: boolean }): Promise<void> {
  const { presetFile, presets, isPresetName } = await import("../policy/presets.ts");
  for (const name of Object.keys(presets)) {
    if (!isPresetName(name)) continue;
    const entry = { name, description: presets[name], file: presetFile(name) };
    const line = `${name.padEnd(10)} ${entry.description}\n${" ".repeat(11)}${entry.file}`;
    write(process.stdout, options.json ? JSON.stringify(entry) : line);
  }
}
