import { type Command, InvalidArgumentError, Option } from "commander";
import { HoldfastError } from "../errors.ts";

/** The flags of `holdfast worker poll` and `holdfast worker handle`, as commander gives them. */
export interface WorkerFlags {
  workdir: string;
  policy?: string;
  preset?: string;
  workspace?: "overlay" | "fresh" | "direct";
  mountAt?: string;
  mode?: "namespaces" | "landlock";
  extract: string[];
  to?: string;
  receipts?: string;
  receiptKey?: string;
  maxIdle: string;
  environmentId?: string;
  environmentKeyFile?: string;
  baseUrl?: string;
  logFormat?: "text" | "json";
  json?: boolean;
}

export interface PollFlags extends WorkerFlags {
  concurrency: number;
  drain?: boolean;
  once?: boolean;
  workerId?: string;
}

function count(value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1 || number > 256) {
    throw new InvalidArgumentError("It must be a whole number from 1 to 256.");
  }
  return number;
}

/** Everybody on the host can read a process's arguments. */
function neverAnArgument(): never {
  throw new HoldfastError("the environment key is never an argument: everybody on this host could read it", {
    code: "ERR_HOLDFAST_USAGE",
    step: "usage",
    hint: "Set ANTHROPIC_ENVIRONMENT_KEY, or give --environment-key-file.",
  });
}

/** What both commands take. */
export function addWorkerOptions(command: Command): Command {
  return command
    .option("--workdir <dir>", "the folder that sessions see as their workspace", ".")
    .option("--policy <file>", "a policy file; the preset agent without one")
    .addOption(new Option("--preset <name>", "default, read-only, build or agent").conflicts("policy"))
    .addOption(
      new Option(
        "--workspace <mode>",
        "overlay keeps writes private (the default), fresh starts empty, direct writes to the folder",
      ).choices(["overlay", "fresh", "direct"]),
    )
    .addOption(
      new Option("--mode <mode>", "landlock where a host refuses namespaces; by itself when absent").choices([
        "namespaces",
        "landlock",
      ]),
    )
    .option("--mount-at <path>", "where the workspace appears inside; the folder's own path by default")
    .option(
      "--extract <glob>",
      "files that leave a session, relative to the workspace; may be repeated",
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option("--to <dir>", "where extracted files go, in a folder a session")
    .option("--receipts <dir>", "where each session's signed receipt goes")
    .option("--receipt-key <file>", "what receipts are signed with (holdfast receipt keygen)")
    .option(
      "--max-idle <duration>",
      "leave a session that has been idle this long after the end of a turn; 0 for never",
      "60s",
    )
    .option("--environment-id <id>", "the environment; ANTHROPIC_ENVIRONMENT_ID by default")
    .option("--environment-key-file <file>", "the environment key; ANTHROPIC_ENVIRONMENT_KEY by default")
    .addOption(new Option("--environment-key <key>").hideHelp().argParser(neverAnArgument))
    .option("--base-url <url>", "the API; ANTHROPIC_BASE_URL by default")
    .addOption(
      new Option("--log-format <format>", "a line for people (on a terminal), or JSON (else)").choices([
        "text",
        "json",
      ]),
    )
    .option("--json", "the same as --log-format json");
}

/** What only polling takes. */
export function addPollOptions(command: Command): Command {
  return command
    .option("--concurrency <n>", "sessions at once", count, 1)
    .option("--drain", "end when the queue is empty")
    .option("--once", "serve one item, then end")
    .option("--worker-id <id>", "unique for each worker; ANTHROPIC_WORKER_ID, else host name and a random part");
}
