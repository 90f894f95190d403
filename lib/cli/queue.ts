import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { constants, homedir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { HoldfastError } from "../errors.ts";
import type { QueueClient, SessionResults } from "../queue/client.ts";
import type { Task } from "../queue/task.ts";

interface ServeOptions {
  tasks?: string;
  state?: string;
  port?: number;
  keyFile?: string;
  operatorKeyFile?: string;
  leaseTtl?: number;
  json?: boolean;
}

interface ClientOptions {
  url?: string;
  operatorKeyFile?: string;
  follow?: boolean;
  json?: boolean;
}

function wholeNumber(from: number, to: number): (value: string) => number {
  return (value) => {
    const number = Number(value);
    if (!/^\d+$/.test(value) || number < from || number > to) {
      throw new InvalidArgumentError(`It must be a whole number from ${from} to ${to}.`);
    }
    return number;
  };
}

/** Where the queue keeps its keys when no option says otherwise. */
function keyFolder(state: string | undefined): string {
  if (state !== undefined) return dirname(state);
  return join(process.env["XDG_STATE_HOME"] || join(homedir(), ".local", "state"), "holdfast", "queue");
}

/** The `holdfast queue` command: serves the embedded queue, submits sessions to it, lists and follows them. */
export function queueCommand(): Command {
  const command = new Command("queue").description("serve sessions from task files on loopback (docs/queue.md)");
  command
    .command("serve")
    .description("serve the work queue until SIGTERM or SIGINT")
    .option("--tasks <dir>", "submit every task file (*.yaml, *.yml) of a folder, in order of name")
    .option("--state <file>", "keep the state in this SQLite file; without it the state is in memory")
    .option("--port <n>", "listen on this port of 127.0.0.1; any free one by default", wholeNumber(0, 65_535))
    .option("--key-file <file>", "the workers' environment key: read from here, or made and written here (0600)")
    .option("--operator-key-file <file>", "the key of those who submit; beside the environment key by default")
    .option("--lease-ttl <seconds>", "how long a lease lasts without a heartbeat", wholeNumber(1, 3600), 120)
    .option("--json", "print the ready line as JSON")
    .action((options: ServeOptions) => serve(options));
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

async function serve(options: ServeOptions): Promise<void> {
  const [{ QueueServer }, { readOrMakeKeyFile }, { readTask }] = await Promise.all([
    import("../queue/server.ts"),
    import("../queue/keys.ts"),
    import("../queue/task.ts"),
  ]);
  // The tasks first: one that is not valid should stop the command before anything has been made.
  const tasks = (options.tasks === undefined ? [] : taskFiles(options.tasks)).map((path) => ({
    path,
    task: readTask(path),
  }));
  const keyFile = options.keyFile ?? join(keyFolder(options.state), "environment.key");
  const operatorKeyFile = options.operatorKeyFile ?? `${keyFile}.operator`;
  const givenKey = process.env["ANTHROPIC_ENVIRONMENT_KEY"];
  const environmentKey =
    options.keyFile === undefined && givenKey ? givenKey : readOrMakeKeyFile(keyFile, "sk-ant-oat01-");
  const operatorKey =
    options.operatorKeyFile === undefined && process.env["HOLDFAST_QUEUE_KEY"]
      ? process.env["HOLDFAST_QUEUE_KEY"]
      : readOrMakeKeyFile(operatorKeyFile, "sk-ant-api03-");
  const environmentId = process.env["ANTHROPIC_ENVIRONMENT_ID"];
  const queue = await QueueServer.start({
    environmentKey,
    operatorKey,
    leaseTtlMs: (options.leaseTtl ?? 120) * 1000,
    ...(options.port === undefined ? {} : { port: options.port }),
    ...(options.state === undefined ? {} : { stateFile: options.state }),
    ...(environmentId ? { environmentId } : {}),
  });
  const sessions = tasks.map(({ path, task }) => queue.submit(named(task, path), sourceOf(path, task)));
  const ready = {
    url: queue.url,
    environment_id: queue.environmentId,
    key_file: keyFile,
    operator_key_file: operatorKeyFile,
    sessions,
  };
  process.stdout.write(
    options.json
      ? `${JSON.stringify(ready)}\n`
      : `${queue.url}  environment ${queue.environmentId}, key in ${keyFile}, ${sessions.length} sessions\n`,
  );
  await new Promise<void>((stop) => {
    process.once("SIGTERM", stop);
    process.once("SIGINT", stop);
  });
  await queue.close();
}

/** A task without a name is called as its file is. */
function named(task: Task, path: string): Task {
  return { ...task, name: task.name ?? basename(path).replace(/\.(ya?ml|json)$/, "") };
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
    process.stdout.write(options.json ? `${JSON.stringify(results)}\n` : `${summary(results)}\n`);
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
    process.stdout.write(options.json ? `${JSON.stringify(event)}\n` : describe(event));
    if (await isOver(client, session, event)) break;
  }
  const results = await client.results(session);
  process.stdout.write(options.json ? `${JSON.stringify(results)}\n` : `${summary(results)}\n`);
  if (!options.json) {
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

function clip(text: string): string {
  return text.length > 400 ? `${text.slice(0, 400)}…` : text;
}

function summary(results: SessionResults): string {
  const passed = results.calls.filter((call) => call.passed === true).length;
  return `${results.session_id}  ${results.outcome.padEnd(8)} ${passed}/${results.calls.length} calls  ${results.title}`;
}

function describe(event: Record<string, unknown>): string {
  const type = String(event["type"]);
  switch (type) {
    case "agent.tool_use":
    case "agent.custom_tool_use":
      return `→ ${event["name"]} ${clip(JSON.stringify(event["input"]))}\n`;
    case "user.tool_result":
    case "user.custom_tool_result":
      return `← ${event["is_error"] === true ? "error: " : ""}${clip(textOf(event))}\n`;
    case "agent.message":
    case "user.message":
      return `${type === "agent.message" ? "agent" : "user"}: ${clip(textOf(event))}\n`;
    default:
      return `· ${type}\n`;
  }
}

function textOf(event: Record<string, unknown>): string {
  const content = Array.isArray(event["content"]) ? event["content"] : [];
  return content.map((block: { text?: unknown }) => (typeof block.text === "string" ? block.text : "[…]")).join("\n");
}
