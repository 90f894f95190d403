import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { HoldfastError } from "../errors.ts";
import { inspectPath, isWithin } from "../host/paths.ts";
import type { QueueServer } from "../queue/server.ts";
import type { Task } from "../queue/task.ts";
import { describeEvent } from "./queue-events.ts";
import { chosenModel, type ModelFlags } from "./queue-model.ts";
import { say } from "./report.ts";
import { usageError } from "./usage.ts";

/** So long a worker may take to give back a session that has ended. */
const releaseMs = 15_000;

export interface ServeFlags extends ModelFlags {
  tasks?: string;
  task: string[];
  worker?: boolean;
  state?: string;
  port?: number;
  keyFile?: string;
  operatorKeyFile?: string;
  leaseTtl?: number;
  json?: boolean;
}

/** Where the queue keeps its keys when no option says otherwise. */
export function keyFolder(state: string | undefined): string {
  if (state !== undefined) return dirname(state);
  return join(process.env["XDG_STATE_HOME"] || join(homedir(), ".local", "state"), "holdfast", "queue");
}

/** A task without a name is called as its file is. */
export function named(task: Task, path: string): Task {
  return { ...task, name: task.name ?? basename(path).replace(/\.(ya?ml|json)$/, "") };
}

/** `holdfast queue serve`: until a signal, or with `--task` until those sessions have ended. */
export async function serve(flags: ServeFlags, workerArgs: readonly string[]): Promise<void> {
  if (workerArgs.length > 0 && flags.worker !== true)
    throw usageError(`there is no queue command ${JSON.stringify(workerArgs[0])}`, "See holdfast queue --help.");
  if (flags.task.length > 0 && flags.model === undefined)
    throw usageError("--task is for a model to do, and none is named", "Give --model URL.");
  if (flags.worker === true) refuseShownFiles(flags, workerArgs);
  const [{ QueueServer: Server }, { readOrMakeKeyFile }, { readTask }] = await Promise.all([
    import("../queue/server.ts"),
    import("../queue/keys.ts"),
    import("../queue/task.ts"),
  ]);
  // The tasks first: one that is not valid should stop the command before anything has been made.
  const tasks = (flags.tasks === undefined ? [] : taskFiles(flags.tasks)).map((path) => ({
    path,
    task: readTask(path),
  }));
  const model = await chosenModel(flags);
  const keyFile = flags.keyFile ?? join(keyFolder(flags.state), "environment.key");
  const operatorKeyFile = flags.operatorKeyFile ?? `${keyFile}.operator`;
  const givenKey = process.env["ANTHROPIC_ENVIRONMENT_KEY"];
  const environmentKey =
    flags.keyFile === undefined && givenKey ? givenKey : readOrMakeKeyFile(keyFile, "sk-ant-oat01-");
  const operatorKey =
    flags.operatorKeyFile === undefined && process.env["HOLDFAST_QUEUE_KEY"]
      ? process.env["HOLDFAST_QUEUE_KEY"]
      : readOrMakeKeyFile(operatorKeyFile, "sk-ant-api03-");
  const environmentId = process.env["ANTHROPIC_ENVIRONMENT_ID"];
  const queue = await Server.start({
    environmentKey,
    operatorKey,
    leaseTtlMs: (flags.leaseTtl ?? 120) * 1000,
    ...(flags.port === undefined ? {} : { port: flags.port }),
    ...(flags.state === undefined ? {} : { stateFile: flags.state }),
    ...(environmentId ? { environmentId } : {}),
    ...(model === undefined ? {} : { model }),
  });
  const stop = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort(signal));
  let worker: Worker | undefined;
  try {
    const sessions = tasks.map(({ path, task }) => queue.submit(named(task, path), sourceOf(path, task)));
    const asked = flags.task.map((message) => queue.submit({ name: titleOf(message), message }));
    const ready = {
      url: queue.url,
      environment_id: queue.environmentId,
      key_file: keyFile,
      operator_key_file: operatorKeyFile,
      sessions: [...sessions, ...asked],
    };
    const { length } = ready.sessions;
    const line = flags.json
      ? JSON.stringify(ready)
      : `${queue.url}  environment ${queue.environmentId}, key in ${keyFile}, ${length} sessions`;
    // What the model answers is all that standard output has then.
    (asked.length > 0 && !flags.json ? process.stderr : process.stdout).write(`${line}\n`);
    if (flags.worker) worker = startWorker(queue, flags, workerArgs, asked.length > 0);
    const end = asked.length > 0 ? showAnswers(queue, asked, flags, stop.signal) : once(stop.signal, "abort");
    await Promise.race([end, once(stop.signal, "abort"), ...(worker === undefined ? [] : [worker.failed])]);
    if (asked.length > 0 && stop.signal.aborted) process.exitCode = stop.signal.reason === "SIGINT" ? 130 : 143;
    if (asked.length > 0 && !stop.signal.aborted && worker === undefined) await released(queue, asked);
  } finally {
    stop.abort();
    await worker?.end();
    await queue.close();
  }
}

/** Nothing that the queue keeps may lie where the sessions of its own worker see it. */
function refuseShownFiles(
  { state, keyFile, operatorKeyFile, modelKey }: ServeFlags,
  workerArgs: readonly string[],
): void {
  const given = workerArgs.findLast((_, index) => workerArgs[index - 1] === "--workdir");
  const joined = workerArgs.findLast((each) => each.startsWith("--workdir="))?.slice("--workdir=".length);
  const { path: named, real } = inspectPath(given ?? joined ?? ".");
  const kept = [state, keyFile, operatorKeyFile, /^file:(.+)$/.exec(modelKey ?? "")?.[1]];
  for (const file of kept.filter((each) => each !== undefined)) {
    const path = resolve(file);
    // It may not be there yet.
    const places = [path, inspectPath(path).real, join(inspectPath(dirname(path)).real, basename(path))];
    if (!places.some((place) => isWithin(place, real) || isWithin(place, named))) continue;
    throw new HoldfastError(`${file} lies in the workspace ${named}, where the worker's sessions can read it`, {
      code: "ERR_HOLDFAST_KEY_FILE",
      step: "queue",
      path: file,
      hint: "Keep what --state, --key-file, --operator-key-file and --model-key name elsewhere, or name another --workdir.",
    });
  }
}

/** What a session is called that was given a text alone. */
function titleOf(message: string): string {
  const [line = ""] = message.trim().split("\n");
  return line.length > 60 ? `${line.slice(0, 60)}…` : line || "untitled";
}

/** Shows what happens in sessions, and what the model says at their end. */
async function showAnswers(
  queue: QueueServer,
  ids: readonly string[],
  { json }: ServeFlags,
  signal: AbortSignal,
): Promise<void> {
  const { QueueClient } = await import("../queue/client.ts");
  const client = new QueueClient(queue.url, queue.operatorKey);
  for (const id of ids) {
    for await (const event of client.follow(id, signal)) if (!json) process.stderr.write(describeEvent(event));
    if (signal.aborted) return;
    const results = await client.results(id);
    if (json) process.stdout.write(`${JSON.stringify(results)}\n`);
    else if (results.answer !== null) process.stdout.write(`${results.answer}\n`);
    if (results.outcome === "passed") continue;
    process.exitCode = 1;
    if (!json) say(`${results.title ?? id}: ${results.outcome}${results.fault === null ? "" : `: ${results.fault}`}`);
  }
}

/** Waits until the worker has given these back: it is not cut off in the middle of that. */
async function released(queue: QueueServer, ids: readonly string[]): Promise<void> {
  const until = performance.now() + releaseMs;
  while (ids.some((id) => queue.isHeld(id)) && performance.now() < until) await wait(50);
}

interface Worker {
  /** Rejects when it ends before it was told to, and not because all is done. */
  readonly failed: Promise<never>;
  end(): Promise<void>;
}

/** `holdfast worker poll` beside this queue; without the keys of the queue's that are not a worker's. */
function startWorker(queue: QueueServer, { modelKey }: ServeFlags, args: readonly string[], drains: boolean): Worker {
  const env: NodeJS.ProcessEnv = { ...process.env, ANTHROPIC_ENVIRONMENT_KEY: queue.environmentKey };
  delete env["HOLDFAST_QUEUE_KEY"];
  const variable = /^env:(.+)$/.exec(modelKey ?? "")?.[1];
  if (variable !== undefined) delete env[variable];
  const own = ["--base-url", queue.url, "--environment-id", queue.environmentId, ...(drains ? ["--drain"] : [])];
  const [, main = ""] = process.argv;
  const child: ChildProcess = spawn(process.execPath, [...process.execArgv, main, "worker", "poll", ...own, ...args], {
    env,
    // What it logs is none of the answers. In a group of its own: a terminal's signals are passed on by us, once.
    stdio: ["ignore", process.stderr, process.stderr],
    detached: true,
  });
  const closed = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
  const failed = closed.then(([code, signal]): Promise<never> => {
    if (drains && code === 0) return new Promise<never>(() => {});
    throw new HoldfastError(`the worker has ended (${code === null ? signal : `status ${code}`})`, {
      code: "ERR_HOLDFAST_WORKER_ENDED",
      step: "queue",
      hint: "What it said stands above.",
    });
  });
  failed.catch(() => undefined);
  return {
    failed,
    async end() {
      // One that drains ends by itself when it has given its sessions back.
      const timer = setTimeout(() => child.kill("SIGTERM"), drains && process.exitCode === undefined ? releaseMs : 0);
      await closed.catch(() => undefined);
      clearTimeout(timer);
    },
  };
}

/** A file that was submitted before a restart is the same source; changed, it is another. */
function sourceOf(path: string, task: object): string {
  return createHash("sha256")
    .update(JSON.stringify([resolve(path), task]))
    .digest("hex");
}

function taskFiles(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => /\.ya?ml$/.test(name));
  } catch (error) {
    throw new HoldfastError(
      `the task folder ${folder} cannot be read: ${error instanceof Error ? error.message : error}`,
      {
        code: "ERR_HOLDFAST_TASK_UNREADABLE",
        step: "queue",
        hint: "Give a folder of task files that you may read.",
        path: folder,
        cause: error,
      },
    );
  }
  return names.sort().map((name) => join(folder, name));
}
