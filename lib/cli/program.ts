import { constants } from "node:os";
import { Command, CommanderError } from "commander";
import { withoutTokens } from "../secrets/token-shapes.ts";
import { reportError } from "./report.ts";

const usageStatus = 125;

/** The commands but `run`, each loaded when it is asked for. Returns the exit status. */
export async function program(args: readonly string[]): Promise<number> {
  const top = new Command("holdfast");
  top
    .description("Runs an AI agent's tool calls as confined children on a plain Linux host.")
    .version(await versionText(), "--version", "version, addon and kernel facts")
    .showSuggestionAfterError()
    .exitOverride()
    .configureHelp({ showGlobalOptions: false });
  top.command("run").description("run a command behind kernel walls: holdfast run -- CMD ARG…").allowUnknownOption();
  const name = args.find((word) => !word.startsWith("-"));
  // Both have something to bring to its end whoever reads.
  if (name !== "worker" && name !== "demo") endWithReader();
  for (const command of await commands(name)) top.addCommand(exiting(command));
  try {
    if (args.length === 0) {
      process.stderr.write(top.helpInformation());
      return usageStatus;
    }
    await top.parseAsync([...args], { from: "user" });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : usageStatus;
    return reportError(error);
  }
}

/** A reader that goes away, as `head` does, ends the command without a word, as it ends any other program of a pipe. */
function endWithReader(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(128 + constants.signals.SIGPIPE);
    throw error;
  });
}

function exiting(command: Command): Command {
  // A word that is refused is repeated: one that looks like a key is not.
  command.exitOverride().configureOutput({ writeErr: (text) => void process.stderr.write(withoutTokens(text)) });
  for (const sub of command.commands) exiting(sub);
  return command;
}

const loaders: Readonly<Record<string, () => Promise<Command>>> = {
  doctor: async () => (await import("./doctor.ts")).doctorCommand(),
  policy: async () => (await import("./policy.ts")).policyCommand(),
  worker: async () => (await import("./worker.ts")).workerCommand(),
  queue: async () => (await import("./queue.ts")).queueCommand(),
  extract: async () => (await import("./extract.ts")).extractCommand(),
  import: async () => (await import("./import.ts")).importCommand(),
  receipt: async () => (await import("./receipt.ts")).receiptCommand(),
  "kill-network": async () => (await import("./kill-network.ts")).killNetworkCommand(),
  demo: async () => (await import("./demo.ts")).demoCommand(),
};

async function commands(name: string | undefined): Promise<Command[]> {
  const load = name === undefined ? undefined : loaders[name];
  if (load !== undefined) return [await load()];
  return Promise.all(Object.values(loaders).map((each) => each()));
}

async function versionText(): Promise<string> {
  if (!process.argv.includes("--version")) return "";
  const { readFileSync } = await import("node:fs");
  const { join } = await import("node:path");
  const { native, root } = await import("../native.ts");
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  return [
    `holdfast ${version}`,
    `node     ${process.versions.node} (N-API ${process.versions["napi"] ?? "?"})`,
    `package  ${root}`,
    `landlock ABI ${native().probe().landlockAbi}`,
  ].join("\n");
}
