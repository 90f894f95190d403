import { constants } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { HoldfastError } from "../errors.ts";
import type { QueueClient } from "../queue/client.ts";
import { clip, describeEvent, describeResults } from "./queue-events.ts";
import { addModelOptions } from "./queue-model.ts";
import { keyFolder, named, type ServeFlags, serve } from "./queue-serve.ts";
import { wholeNumber } from "./whole-number.ts";

interface ClientOptions {
  url?: string;
  operatorKeyFile?: string;
  follow?: boolean;
  json?: boolean;
}

/** The `holdfast queue` command: serves the embedded queue, submits sessions to it, lists and follows them. */
export function queueCommand(): Command {
  const command = new Command("queue").description(
    "serve sessions of task files, or of a model of one's own, on loopback (docs/queue.md)",
  );
  addModelOptions(
    command
      // The one that is meant where none is named: `holdfast queue --model URL --task TEXT`.
      .command("serve [worker-options...]", { isDefault: true })
      .description("serve the work queue until SIGTERM or SIGINT, or until what --task asks for is done")
      .option("--tasks <dir>", "submit every task file (*.yaml, *.yml) of a folder, in order of name")
      .option(
        "--task <text>",
        "have the model do this, print its answer and end; may be repeated",
        (value: string, all: string[]) => [...all, value],
        [],
      )
      .option("--worker", "start a worker too, with the options that stand after --")
      .option("--state <file>", "keep the state in this SQLite file; without it the state is in memory")
      .option("--port <n>", "listen on this port of 127.0.0.1; any free one by default", wholeNumber(0, 65_535))
      .option("--key-file <file>", "the workers' environment key: read from here, or made and written here (0600)")
      .option("--operator-key-file <file>", "the key of those who submit; beside the environment key by default")
      .option("--lease-ttl <seconds>", "how long a lease lasts without a heartbeat", wholeNumber(1, 3600), 120)
      .option("--json", "print the ready line, and what came of --task, as JSON"),
  ).action((workerOptions: string[], options: ServeFlags) => serve(options, workerOptions));
  const client = (name: string, description: string): Command =>
    command
      .command(name)
      .description(description)
      .option("--url <url>", "where the queue listens; HOLDFAST_QUEUE_URL by default")
      .option("--operator-key-file <file>", "the operator key; HOLDFAST_QUEUE_KEY or the queue's own file by default")
      .option("--json", "print JSON, one value a line");
  client("submit <file...>", "submit task files; prints the sessions' ids")
    .option("--follow", "then follow each session to its end")
    .action((files: string[], options: ClientOptions) => submit(files, options));
  client("list", "list the sessions and what came of them").action((options: ClientOptions) => list(options));
  client("follow <session>", "show a session's events until it ends; exit status 0 when all was as expected").action(
    (session: string, options: ClientOptions) => follow(session, options),
  );
  return command;
}

async function connect(options: ClientOptions): Promise<QueueClient> {
  const [{ QueueClient: Client }, { readKeyFile }] = await Promise.all([
    import("../queue/client.ts"),
    import("../queue/keys.ts"),
  ]);
  const url = options.url ?? process.env["HOLDFAST_QUEUE_URL"];
  if (!url) {
    throw new HoldfastError("the queue's URL is missing", {
      code: "ERR_HOLDFAST_QUEUE_UNREACHABLE",
      step: "usage",
      hint: "Give --url, or set HOLDFAST_QUEUE_URL, with what `holdfast queue serve` printed.",
    });
  }
  const given = process.env["HOLDFAST_QUEUE_KEY"];
  const key =
    options.operatorKeyFile === undefined && given
      ? given
      : readKeyFile(options.operatorKeyFile ?? join(keyFolder(undefined), "environment.key.operator"));
  return new Client(url, key);
}

async function submit(files: readonly string[], options: ClientOptions): Promise<void> {
  const client = await connect(options);
  const { readTask } = await import("../queue/task.ts");
  const tasks = files.map((path) => named(readTask(path), path));
  const ids: string[] = [];
  for (const task of tasks) {
    const id = await client.submit(task);
    ids.push(id);
    process.stdout.write(
      options.json ? `${JSON.stringify({ session_id: id, title: task.name ?? null })}\n` : `${id}\n`,
    );
  }
  if (options.follow) for (const id of ids) await follow(id, options);
}

async function list(options: ClientOptions): Promise<void> {
  const client = await connect(options);
  for (const id of await client.list()) {
    const results = await client.results(id);
    process.stdout.write(options.json ? `${JSON.stringify(results)}\n` : `${describeResults(results)}\n`);
  }
}

async function follow(session: string, options: ClientOptions): Promise<void> {
  const client = await connect(options);
  const stop = new AbortController();
  process.once("SIGINT", () => {
    stop.abort();
    process.exitCode = 128 + constants.signals.SIGINT;
  });
  for await (const event of client.follow(session, stop.signal)) {
    process.stdout.write(options.json ? `${JSON.stringify(event)}\n` : describeEvent(event));
    if (await isOver(client, session, event)) break;
  }
  const results = await client.results(session);
  process.stdout.write(options.json ? `${JSON.stringify(results)}\n` : `${describeResults(results)}\n`);
  if (!options.json) {
    if (results.fault !== null) process.stdout.write(`  ${results.fault}\n`);
    for (const call of results.calls.filter((one) => one.passed === false)) {
      process.stdout.write(
        `  ${call.tool}: ${call.reasons.join("; ")}; it was ${JSON.stringify(clip(call.text ?? ""))}\n`,
      );
    }
  }
  if (results.outcome !== "passed") process.exitCode ??= 1;
}

/** A session that stays idle after its last call never says that it is over. */
async function isOver(client: QueueClient, session: string, event: Record<string, unknown>): Promise<boolean> {
  if (event["type"] !== "session.status_idle") return false;
  const reason = event["stop_reason"] as { type?: unknown } | undefined;
  return reason?.type !== "requires_action" && (await client.results(session)).outcome !== "running";
}
