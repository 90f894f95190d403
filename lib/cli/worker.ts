import { hostname } from "node:os";
import { Command } from "commander";
import { HoldfastError } from "../errors.ts";
import { killNetworks } from "../sandbox/network.ts";
import { addPollOptions, addWorkerOptions, type PollFlags, type WorkerFlags } from "./worker-options.ts";

/** The `holdfast worker` command. */
export function workerCommand(): Command {
  const command = new Command("worker").description(
    "serve a self-hosted environment, each session in a sandbox of its own (docs/worker.md)",
  );
  addPollOptions(addWorkerOptions(command.command("poll")))
    .description("claim sessions from the work queue and serve them until SIGTERM")
    .action(async (flags: PollFlags) => {
      process.exitCode = await poll(flags);
    });
  addWorkerOptions(command.command("handle"))
    .description("serve one item that is claimed already: for ant beta:worker poll --on-work")
    .action(async (flags: WorkerFlags) => {
      process.exitCode = await handle(flags);
    });
  return command;
}

function required(value: string | undefined, what: string, hint: string): string {
  if (value !== undefined && value !== "") return value;
  throw new HoldfastError(`${what} is missing`, { code: "ERR_HOLDFAST_USAGE", step: "usage", hint });
}

/** What becomes part of a request. One that no request can carry would fail at every poll, for ever. */
function sendable(value: string, what: string): string {
  if (/^[\x21-\x7e]+$/.test(value) && value !== "." && value !== "..") return value;
  throw new HoldfastError(`${what} cannot be sent: ${JSON.stringify(value)}`, {
    code: "ERR_HOLDFAST_USAGE",
    step: "usage",
    hint: "Give one of printable ASCII characters without spaces.",
  });
}

/** Aborted when the process is asked to end. On the way, SIGUSR1 cuts all its sessions off from the network. */
function untilAsked(): AbortSignal {
  process.on("SIGUSR1", () => {
    const connections = killNetworks();
    process.stderr.write(`holdfast: no session has a network any more (SIGUSR1): ${connections} connections reset\n`);
  });
  const controller = new AbortController();
  for (const [signal, number] of [
    ["SIGTERM", 15],
    ["SIGINT", 2],
    ["SIGHUP", 1],
  ] as const) {
    process.on(signal, () => {
      // Asked twice: at once. The sandboxes end with this process.
      if (controller.signal.aborted) process.exit(128 + number);
      controller.abort(new Error(`the worker was asked to end (${signal})`));
    });
  }
  return controller.signal;
}

async function poll(flags: PollFlags): Promise<number> {
  const asked = untilAsked();
  const { readSetup, prepareServing } = await import("./worker-setup.ts");
  const setup = await readSetup(flags);
  const environmentId = sendable(
    required(
      flags.environmentId ?? process.env["ANTHROPIC_ENVIRONMENT_ID"],
      "the environment's id",
      "Give --environment-id, or set ANTHROPIC_ENVIRONMENT_ID.",
    ),
    "the environment's id",
  );
  const workerId = sendable(
    flags.workerId || process.env["ANTHROPIC_WORKER_ID"] || `${hostname()}-${crypto.randomUUID()}`,
    "the worker's id",
  );
  const environmentKey = required(
    setup.environmentKey,
    "the environment key",
    "Set ANTHROPIC_ENVIRONMENT_KEY, or give --environment-key-file.",
  );
  const { runWorker } = await import("../worker/worker.ts");
  const { describe } = await import("../worker/failure.ts");
  const { log, redactor, baseUrl } = setup;
  const serving = await prepareServing(setup, flags.once ? 0 : flags.concurrency);
  try {
    log.info({ environment: environmentId, workdir: setup.workdir, policy: setup.policy.source }, "polling");
    await runWorker(
      {
        environmentId,
        environmentKey,
        baseUrl,
        workerId,
        concurrency: flags.concurrency,
        drain: flags.drain ?? false,
        once: flags.once ?? false,
        log,
        redactor,
        item: serving.item,
      },
      asked,
    );
    return 0;
  } catch (error) {
    if (HoldfastError.is(error)) throw error;
    throw new HoldfastError(`the queue refused the worker's poll: ${redactor.redact(describe(error))}`, {
      code: "ERR_HOLDFAST_POLL_REFUSED",
      step: "worker",
      hint: "Check the environment's id, its key and the base URL: they belong together.",
      cause: error,
    });
  } finally {
    await serving[Symbol.asyncDispose]();
  }
}

async function handle(flags: WorkerFlags): Promise<number> {
  const asked = untilAsked();
  const { readClaimedItem } = await import("../worker/claimed-item.ts");
  const claimed = await readClaimedItem(process.stdin, process.env);
  const { readSetup, prepareServing } = await import("./worker-setup.ts");
  const setup = await readSetup(flags);
  const { createClient } = await import("../worker/client.ts");
  const { sessionsToken } = await import("../worker/credentials.ts");
  const { serveItem } = await import("../worker/item.ts");
  const token = sessionsToken(claimed.secret);
  setup.redactor.add(claimed.secret, token);
  const credential = required(
    token ?? setup.environmentKey,
    "a credential",
    "The item's secret yields no token, and ANTHROPIC_ENVIRONMENT_KEY is not set.",
  );
  const serving = await prepareServing(setup, 0);
  try {
    const client = createClient(credential, setup.baseUrl);
    const end = await serveItem(claimed, { client, hasSessionsToken: token !== null }, serving.item, asked);
    // Whoever started it logs a status other than 0.
    return end === "failed" || end === "refused" ? 1 : 0;
  } finally {
    await serving[Symbol.asyncDispose]();
  }
}
