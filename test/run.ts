/**
 * `npm test`: every check, in order, each bounded in time. Started by root, what starts sandboxes runs a second time as an
 * ordinary user. Ends with a line `N passed, N failed`.
 *
 * node test/run.ts [WORD…]   only the steps whose name holds one of the words
 */
import { dirname } from "node:path";
import { staticChecks } from "./runner/checks.ts";
import { endCommands } from "./runner/command.ts";
import { confinementChecks, type Pass, starter } from "./runner/confinement.ts";
import { copyForOrdinaryUser, type OrdinaryCheckout } from "./runner/ordinary-user.ts";
import { failed, type Outcome, type Step, skipped } from "./runner/step.ts";

const root = dirname(import.meta.dirname);
const words = process.argv.slice(2);
/**
 * Two free cores are through in less than fifteen minutes, the set-up before this included; a machine whose cores are shared
 * is given longer: it is slow, and nothing has failed.
 */
const minutes = 20;
const deadline = Date.now() + minutes * 60_000;

interface Row {
  name: string;
  outcome: Outcome;
  seconds: number;
}

const rows: Row[] = [];
let ordinary: OrdinaryCheckout | undefined;

function counts({ passed, failed: bad, skipped }: Outcome): string {
  const parts = [`${passed} passed`, `${bad} failed`];
  if (skipped.length > 0) parts.push(`${skipped.length} skipped`);
  return parts.join(", ");
}

async function perform(step: Step): Promise<void> {
  if (words.length > 0 && !words.some((word) => step.name.includes(word))) return;
  const begin = Date.now();
  const limitMs = Math.min(step.limitMs, deadline - begin);
  let outcome: Outcome;
  try {
    outcome =
      limitMs > 0
        ? await step.run(limitMs)
        : failed(`no time was left: the whole run is bounded to ${minutes} minutes`);
  } catch (error) {
    outcome = failed(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  const seconds = (Date.now() - begin) / 1000;
  rows.push({ name: step.name, outcome, seconds });
  console.log(`${step.name}: ${counts(outcome)} (${seconds.toFixed(1)} s)`);
  if (outcome.failed > 0) console.log(`${outcome.detail}\n`);
}

function summarise(): void {
  const width = Math.max(...rows.map((row) => row.name.length), 4);
  console.log(`\n${"step".padEnd(width)}  passed  failed  skipped  seconds`);
  for (const { name, outcome, seconds } of rows) {
    const numbers = [
      String(outcome.passed).padStart(6),
      String(outcome.failed).padStart(6),
      String(outcome.skipped.length).padStart(7),
      seconds.toFixed(1).padStart(7),
    ];
    console.log(`${name.padEnd(width)}  ${numbers.join("  ")}`);
  }
  const left = rows.filter((row) => row.outcome.skipped.length > 0);
  if (left.length > 0) console.log("\nskipped:");
  for (const { name, outcome } of left) for (const reason of outcome.skipped) console.log(`  ${name}: ${reason}`);
  const passed = rows.reduce((sum, row) => sum + row.outcome.passed, 0);
  const bad = rows.reduce((sum, row) => sum + row.outcome.failed, 0);
  console.log(`\n${passed} passed, ${bad} failed`);
  process.exitCode = bad > 0 || rows.length === 0 ? 1 : 0;
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    endCommands();
    ordinary?.remove();
    process.exit(130);
  });
}

/** The starter's checkout, and for root an ordinary user's copy of it. */
async function passes(): Promise<{ readonly passes: readonly Pass[]; readonly missing: Step[] }> {
  const own = starter(root);
  if (process.getuid?.() !== 0) {
    const reason = "started by an ordinary user: the pass as root was left out";
    return { passes: [own], missing: [{ name: "the pass as root", limitMs: 1000, run: async () => skipped(reason) }] };
  }
  const copy = await copyForOrdinaryUser(root);
  if (typeof copy === "string") {
    const name = "the pass as an ordinary user";
    return { passes: [own], missing: [{ name, limitMs: 1000, run: async () => failed(copy) }] };
  }
  ordinary = copy;
  const { identity } = copy;
  return { passes: [own, { root: copy.root, label: `${identity.name} (uid ${identity.uid})`, identity }], missing: [] };
}

const { texts, cpp } = staticChecks(root);
const found = await passes();
const confinement = found.passes.map((pass) => confinementChecks(pass, root));
/** One after another; the lanes of one side by side. What waits for half of its time is beside something else. */
const stages: readonly (readonly Step[])[][] = [
  texts.map((step) => [step]),
  [cpp, confinement.map(({ exhaustion }) => exhaustion)],
  ...confinement.map(({ tests }) => [[tests]]),
  confinement.map(({ attacks }) => [attacks]),
  [found.missing],
];
for (const lanes of stages) {
  await Promise.all(
    lanes.map(async (lane) => {
      for (const step of lane) await perform(step);
    }),
  );
}
ordinary?.remove();
summarise();
