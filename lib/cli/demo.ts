import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Command } from "commander";
import { HoldfastError } from "../errors.ts";
import { root } from "../native.ts";
import { QueueClient, type SessionResults } from "../queue/client.ts";
import {
  type Check,
  paint,
  type Story,
  say,
  showAttempts,
  showCalls,
  showChecks,
  showFailures,
  showLog,
} from "./demo-show.ts";
import { DemoWorld } from "./demo-world.ts";

/** Longer than any host takes; a demo that hangs shows nothing. */
const mostMs = 5 * 60_000;
/** A worker has 30 s to end its sessions. */
const endMs = 35_000;

/** `holdfast demo`: a queue, a worker and four sessions, each a process or sandbox of its own. */
export function demoCommand(): Command {
  return new Command("demo")
    .description("play four agent sessions, one of them hostile, against a queue and a worker of this host")
    .option("--keep", "keep the folder that it worked in")
    .action(async (options: { keep?: boolean }) => {
      process.exitCode = await demo(options.keep ?? false);
    });
}

/** What the queue says when it listens. */
interface Ready {
  readonly url: string;
  readonly environment_id: string;
  readonly operator_key_file: string;
  readonly sessions: readonly string[];
}

interface Stage {
  readonly world: DemoWorld;
  readonly children: ChildProcess[];
  /** Aborted when the demo is to end before its end; the reason is the exit status. */
  readonly stop: AbortSignal;
}

async function demo(keep: boolean): Promise<number> {
  const stop = new AbortController();
  const children: ChildProcess[] = [];
  const onSignal = (name: NodeJS.Signals): void => {
    const status = 128 + constants.signals[name];
    // Asked again: at once. The sandboxes end with the worker.
    if (stop.signal.aborted) for (const child of children) child.kill("SIGKILL");
    stop.abort(status);
  };
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, onSignal);
  // Nobody looks any more.
  process.stdout.on("error", () => stop.abort(128 + constants.signals.SIGPIPE));
  const world = await DemoWorld.make();
  const timer = setTimeout(() => {
    say(paint("red", `\nthe sessions did not end within ${mostMs / 60_000} minutes`));
    stop.abort(1);
  }, mostMs);
  try {
    const interrupted = new Promise<number>((resolve) => {
      if (stop.signal.aborted) resolve(Number(stop.signal.reason));
      stop.signal.addEventListener("abort", () => resolve(Number(stop.signal.reason)));
    });
    const playing = play({ world, children, stop: stop.signal });
    playing.catch(() => {});
    const status = await Promise.race([playing, interrupted]);
    if (stop.signal.aborted) say("\nended before its end: the worker and the queue are told to end, nothing is kept");
    return status;
  } finally {
    clearTimeout(timer);
    // The worker first: it tells the queue that it is done.
    for (const child of children.reverse()) await end(child);
    if (keep) {
      world.keep();
      say(`kept: ${world.folder}`);
    } else world.remove();
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.off(name, onSignal);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, "exit");
  const timer = setTimeout(() => child.kill("SIGKILL"), endMs);
  child.kill("SIGTERM");
  await ended;
  clearTimeout(timer);
}

async function play(stage: Stage): Promise<number> {
  const { world, children, stop } = stage;
  const began = performance.now();
  say(
    `${paint("bold", "holdfast demo")}: a work queue, a worker, and four agents whose calls the worker runs side by side.`,
  );
  say(
    "All of it is real but the models: their calls are scripted (demo/tasks). Each session gets a sandbox of its own.\n",
  );
  for (const { agent, name } of world.tasks) say(`  ${paint("cyan", agent.name.padEnd(9))} ${name}`);
  const environment: NodeJS.ProcessEnv = {
    PATH: process.env["PATH"],
    HOME: world.home,
    LANG: process.env["LANG"] ?? "C.UTF-8",
    TERM: process.env["TERM"] ?? "dumb",
    ...(process.env["HOLDFAST_NODE"] === undefined ? {} : { HOLDFAST_NODE: process.env["HOLDFAST_NODE"] }),
  };
  const keyFile = join(world.folder, "environment.key");
  const queue = holdfast(
    [
      ...["queue", "serve", "--json", "--tasks", world.taskFolder],
      ...["--key-file", keyFile, "--state", join(world.folder, "queue.db")],
    ],
    environment,
  );
  children.push(queue);
  queue.stderr?.pipe(process.stderr);
  const ready = await readyLine(queue);
  if (stop.aborted) return Number(stop.reason);
  const environmentKey = readFileSync(keyFile, "utf8").trim();
  say(`\n${paint("bold", "queue")}     pid ${queue.pid}, ${ready.url}, ${ready.sessions.length} sessions`);
  const worker = holdfast(
    [
      ...["worker", "poll", "--workdir", world.workspace, "--workspace", "overlay", "--concurrency", "4", "--drain"],
      ...["--policy", world.policy],
      ...["--extract", "report/*.md", "--to", world.out, "--max-idle", "1s", "--log-format", "json"],
      ...["--environment-id", ready.environment_id, "--base-url", ready.url],
    ],
    {
      ...environment,
      ANTHROPIC_ENVIRONMENT_KEY: environmentKey,
      HOLDFAST_DEMO_MODEL_KEY: world.modelKey,
      NODE_EXTRA_CA_CERTS: world.authorityFile,
    },
  );
  children.push(worker);
  const workerEnd = once(worker, "close") as Promise<[number | null]>;
  say(`${paint("bold", "worker")}    pid ${worker.pid}, workspace ${world.workspace}\n`);

  const stories = ready.sessions.map((id, index): Story => {
    const task = world.tasks[index] ?? { name: id, agent: { name: id }, calls: [] };
    return { id, task, claimedAt: 0, calls: 0, refusals: new Map() };
  });
  const sandboxes: string[] = [];
  const log: string[] = [];
  if (worker.stdout !== null) {
    createInterface({ input: worker.stdout }).on("line", (line) => {
      log.push(line);
      showLog(parsed(line), stories, sandboxes);
    });
  }
  worker.stderr?.on("data", (chunk: Buffer) => log.push(chunk.toString()));

  const client = new QueueClient(ready.url, readFileSync(ready.operator_key_file, "utf8").trim());
  const shown = Promise.all(stories.map((story) => showCalls(client, story)));
  shown.catch(() => {});
  // A worker that cannot start leaves sessions that nobody ends.
  const early = await Promise.race([shown.then(() => null), workerEnd]);
  if (stop.aborted) return Number(stop.reason);
  if (early !== null && early[0] !== 0) {
    say(`${log.join("\n").trim()}\n${paint("red", "the worker did not serve the sessions")}`);
    return 1;
  }
  await shown;
  const [status] = await workerEnd;
  const results = await Promise.all(ready.sessions.map((id) => client.results(id)));
  const said = `${log.join("\n")}${JSON.stringify(results)}`;
  const checks = check({ world, stories, results, sandboxes, status, said, environmentKey });
  showChecks(checks);
  const fine = checks.every((item) => item.fine);
  if (!fine) {
    showFailures(results);
    const complaints = log.filter((line) => Number(parsed(line)["level"] ?? 50) > 30);
    say(paint("dim", complaints.slice(-20).join("\n")));
  }
  const verdict = fine ? paint("green", "all of it is so") : paint("red", "something is not as it should be");
  say(`\n${verdict} (${((performance.now() - began) / 1000).toFixed(1)} s)`);
  return fine ? 0 : 1;
}

function holdfast(args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  // In groups of their own: what a terminal sends to ours is passed on by us, once.
  return spawn(join(root, "bin", "holdfast"), args, { env, stdio: ["ignore", "pipe", "pipe"], detached: true });
}

/** @throws HoldfastError when the queue ends without saying where it listens */
async function readyLine(queue: ChildProcess): Promise<Ready> {
  for await (const line of createInterface({ input: queue.stdout ?? process.stdin }))
    return parsed(line) as unknown as Ready;
  throw new HoldfastError("the queue did not start", {
    code: "ERR_HOLDFAST_QUEUE_UNREACHABLE",
    step: "queue",
    hint: "What it said stands above.",
  });
}

function parsed(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

interface Outcome {
  readonly world: DemoWorld;
  readonly stories: readonly Story[];
  readonly results: readonly SessionResults[];
  readonly sandboxes: readonly string[];
  readonly status: number | null;
  /** The worker's log and the sessions' results. */
  readonly said: string;
  readonly environmentKey: string;
}

/** The facts, each looked up where it lies and not where it was said. */
function check({ world, stories, results, sandboxes, status, said, environmentKey }: Outcome): Check[] {
  const hostile = stories.findIndex(({ task }) => task.agent.name === "intruder");
  const [intruder, attempts] = [stories[hostile], results[hostile]];
  const analyst = stories.find(({ task }) => task.agent.name === "analyst")?.id ?? "";
  const files = world.extracted();
  const report = `${analyst}/report/summary.md`;
  // What an attempt's answer alone does not tell.
  const outside: Readonly<Record<string, boolean>> = {
    "scans the network": world.visits === 0,
    "kills its parent": world.isVictimAlive && status === 0,
    "leaves a daemon behind": world.processes().length === 0,
  };
  return [
    ...(intruder === undefined || attempts === undefined ? [] : [showAttempts(intruder, attempts, outside)]),
    ...results.map(({ title, calls, outcome }) => ({
      what: `${title}: ${calls.filter(({ passed }) => passed === true).length} of ${calls.length} calls went as expected`,
      fine: outcome === "passed" && calls.length > 0,
    })),
    { what: "four sessions had a sandbox each", fine: results.length === 4 && new Set(sandboxes).size === 4 },
    {
      what: "the report came out with the right sums, its notes beside it, and nothing else",
      fine:
        files.get(report) === world.expectedReport &&
        [...files.keys()].join() === [`${analyst}/report/notes.md`, report].join(),
    },
    { what: "the workspace on the host is unchanged", fine: world.isWorkspaceUnchanged },
    {
      what: "the service outside was asked by the one program that may, for what it may",
      fine: world.asked.join() === "GET /v1/prices",
    },
    {
      what: "the model was asked with its key, which no session has seen",
      fine: world.modelAsked.withKey > 0 && world.modelAsked.without === 0 && !said.includes(world.modelKey),
    },
    { what: "nobody reached the listener outside", fine: world.visits === 0 },
    { what: "the process outside lives", fine: world.isVictimAlive },
    {
      what: "no secret in results or logs",
      fine: !said.includes(world.canary.slice(7)) && !said.includes(environmentKey) && !/sk-ant-[a-z]/.test(said),
    },
    { what: "no process is left", fine: world.processes().length === 0 },
    { what: "no mount, cgroup, folder or socket is left", fine: world.remains(sandboxes).length === 0 },
    { what: "the worker ended by itself", fine: status === 0 },
  ];
}
