import { hostname } from "node:os";
import { resolve } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { HoldfastError } from "../errors.ts";
import type { Policy } from "../policy/policy.ts";
import type { SandboxPool } from "../sandbox/pool.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import type { Redactor } from "../worker/credentials.ts";
import type { ItemSettings } from "../worker/item.ts";
import type { WorkerLog } from "../worker/log.ts";

interface WorkerFlags {
  workdir: string;
  policy?: string;
  preset?: string;
  concurrency: number;
  workspace?: "overlay" | "fresh" | "direct";
  mountAt?: string;
  extract?: string[];
  to?: string;
  maxIdle: string;
  drain?: boolean;
  once?: boolean;
  json?: boolean;
  environmentId?: string;
  environmentKeyFile?: string;
  baseUrl?: string;
  workerId?: string;
  logFormat?: "text" | "json";
}

function count(value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1 || number > 256)
    throw new InvalidArgumentError("It must be a whole number from 1 to 256.");
  return number;
}

function shared(command: Command): Command {
  return command
    .option("--workdir <dir>", "the folder that sessions see as their workspace", ".")
    .option("--policy <file>", "a policy file; the preset agent without one")
    .option("--preset <name>", "default, read-only, build or agent")
    .addOption(
      new Option(
        "--workspace <mode>",
        "overlay keeps writes private (the default), fresh starts empty, direct writes to the folder",
      ).choices(["overlay", "fresh", "direct"]),
    )
    .option("--mount-at <path>", "where the workspace appears inside; the folder's own path by default")
    .option(
      "--extract <glob>",
      "files that leave a session, relative to the workspace; may be repeated",
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .option("--to <dir>", "where extracted files go, in a folder a session")
    .option(
      "--max-idle <duration>",
      "leave a session that has been idle this long after the end of a turn; 0 for never",
      "60s",
    )
    .option("--environment-id <id>", "the environment; ANTHROPIC_ENVIRONMENT_ID by default")
    .option("--environment-key-file <file>", "the environment key; ANTHROPIC_ENVIRONMENT_KEY by default")
    .option("--base-url <url>", "the API; ANTHROPIC_BASE_URL by default")
    .addOption(new Option("--log-format <format>", "one line each for people, or JSON").choices(["text", "json"]))
    .option("--json", "the same as --log-format json");
}

/** The `holdfast worker` command. */
export function workerCommand(): Command {
  const command = new Command("worker").description(
    "serve a self-hosted environment, each session in a sandbox of its own (docs/worker.md)",
  );
  shared(command.command("poll"))
    .description("claim sessions from the work queue and serve them until SIGTERM")
    .option("--concurrency <n>", "sessions at once", count, 1)
    .option("--drain", "end when the queue is empty")
    .option("--once", "serve one item, then end")
    .option("--worker-id <id>", "unique for each worker; ANTHROPIC_WORKER_ID, else host name and a random part")
    .action(async (flags: WorkerFlags) => {
      process.exitCode = await poll(flags);
    });
  shared(command.command("handle"))
    .description("serve one item that is claimed already: for ant beta:worker poll --on-work")
    .action(async (flags: WorkerFlags) => {
      process.exitCode = await handle({ ...flags, concurrency: 1 });
    });
  return command;
}

async function policyOf(flags: WorkerFlags): Promise<Policy> {
  if (flags.policy !== undefined) {
    const { loadPolicy } = await import("../policy/load.ts");
    return loadPolicy(flags.policy);
  }
  const { namedPreset } = await import("../policy/presets.ts");
  return namedPreset(flags.preset ?? "agent");
}

function required(value: string | undefined, what: string, hint: string): string {
  if (value !== undefined && value !== "") return value;
  throw new HoldfastError(`${what} is missing`, { code: "ERR_HOLDFAST_USAGE", step: "usage", hint });
}

interface Prepared {
  readonly log: WorkerLog;
  readonly redactor: Redactor;
  readonly environmentKey: string | undefined;
  readonly pool: SandboxPool;
  readonly item: ItemSettings;
}

async function prepare(flags: WorkerFlags): Promise<Prepared> {
  const [
    { Redactor: MadeRedactor, readEnvironmentKey },
    { createLog },
    { SandboxPool: MadePool },
    { Sandbox: Made },
    { parseDuration },
    { SessionSandbox },
  ] = await Promise.all([
    import("../worker/credentials.ts"),
    import("../worker/log.ts"),
    import("../sandbox/pool.ts"),
    import("../sandbox/sandbox.ts"),
    import("../policy/limits.ts"),
    import("../worker/session-sandbox.ts"),
  ]);
  // Whoever reads the log may go away; the sessions go on.
  process.stdout.on("error", () => {});
  const redactor = new MadeRedactor();
  const log = createLog(flags.json ? "json" : (flags.logFormat ?? "text"), redactor);
  if (process.env["ANTHROPIC_API_KEY"] !== undefined) {
    redactor.add(process.env["ANTHROPIC_API_KEY"]);
    delete process.env["ANTHROPIC_API_KEY"];
    log.warn({}, "ANTHROPIC_API_KEY is set: a worker needs none, it was dropped");
  }
  delete process.env["ANTHROPIC_AUTH_TOKEN"];
  const environmentKey = readEnvironmentKey(flags.environmentKeyFile, process.env);
  redactor.add(environmentKey, process.env["ANTHROPIC_WEBHOOK_SIGNING_KEY"], process.env["ANTHROPIC_WORK_SECRET"]);
  const policy = await policyOf(flags);
  const base = {
    policy,
    workdir: resolve(flags.workdir),
    workspace: flags.workspace ?? "overlay",
    tools: true,
    ...(flags.mountAt === undefined ? {} : { mountAt: flags.mountAt }),
  } as const;
  const make = (): Promise<Sandbox> => Made.create(base);
  // Proves before anything is claimed that this host can raise the walls; and the first session starts warm.
  const pool = new MadePool(make, flags.once ? 0 : Math.min(flags.concurrency, 4));
  const first = await pool.take();
  const { workdir } = first;
  await first.dispose();
  const maxIdleMs = flags.maxIdle === "0" ? 0 : parseDuration(flags.maxIdle);
  if ((flags.extract ?? []).length > 0 && flags.to === undefined && policy.extract.length === 0) {
    throw new HoldfastError("--extract needs --to", {
      code: "ERR_HOLDFAST_USAGE",
      step: "usage",
      hint: "Name the folder that the files go to.",
    });
  }
  const extract = async (sandbox: Sandbox, sessionId: string): Promise<void> => {
    const rules = [...policy.extract, ...(flags.extract ?? []).map((glob) => ({ glob }))];
    if (rules.length === 0 || flags.to === undefined) return;
    const { extractFrom } = await import("../worker/extraction.ts");
    await extractFrom(sandbox, rules, resolve(flags.to), sessionId, log);
  };
  const item: ItemSettings = {
    log,
    maxIdleMs,
    redact: (text) => redactor.redactKnown(text),
    places: {
      workdir,
      async open(request) {
        const { privateFolders } = request;
        const sandbox = await (privateFolders.length === 0 ? pool.take() : Made.create({ ...base, privateFolders }));
        return new SessionSandbox(sandbox, request, { log, extract });
      },
    },
  };
  return { log, redactor, environmentKey, pool, item };
}

function untilSignal(): AbortController {
  const controller = new AbortController();
  const stop = (signal: string): void => controller.abort(new Error(`the worker was asked to end (${signal})`));
  for (const [signal, number] of [
    ["SIGTERM", 15],
    ["SIGINT", 2],
  ] as const) {
    process.on(signal, () => {
      // Asked twice: at once. The sandboxes end with this process.
      if (controller.signal.aborted) process.exit(128 + number);
      stop(signal);
    });
  }
  return controller;
}

async function poll(flags: WorkerFlags): Promise<number> {
  const stop = untilSignal();
  const { runWorker } = await import("../worker/worker.ts");
  const { log, redactor, environmentKey, pool, item } = await prepare(flags);
  try {
    await runWorker(
      {
        environmentId: required(
          flags.environmentId ?? process.env["ANTHROPIC_ENVIRONMENT_ID"],
          "the environment's id",
          "Give --environment-id, or set ANTHROPIC_ENVIRONMENT_ID.",
        ),
        environmentKey: required(
          environmentKey,
          "the environment key",
          "Set ANTHROPIC_ENVIRONMENT_KEY, or give --environment-key-file.",
        ),
        baseUrl: flags.baseUrl ?? process.env["ANTHROPIC_BASE_URL"],
        workerId: flags.workerId ?? process.env["ANTHROPIC_WORKER_ID"] ?? `${hostname()}-${crypto.randomUUID()}`,
        concurrency: flags.concurrency,
        drain: flags.drain ?? false,
        once: flags.once ?? false,
        log,
        redactor,
        item,
      },
      stop.signal,
    );
    return 0;
  } catch (error) {
    if (HoldfastError.is(error)) throw error;
    return 1;
  } finally {
    await pool.dispose();
  }
}

async function handle(flags: WorkerFlags): Promise<number> {
  const stop = untilSignal();
  const { createClient } = await import("../worker/client.ts");
  const { serveItem } = await import("../worker/item.ts");
  const { sessionsToken } = await import("../worker/credentials.ts");
  const { readClaimedItem } = await import("../worker/claimed-item.ts");
  const claimed = await readClaimedItem(process.stdin, process.env);
  const { redactor, environmentKey, pool, item } = await prepare({ ...flags, once: true });
  try {
    const token = sessionsToken(claimed.secret);
    redactor.add(claimed.secret, token);
    const credential = required(
      token ?? environmentKey,
      "a credential",
      "The item's secret yields no token, and ANTHROPIC_ENVIRONMENT_KEY is not set.",
    );
    const client = createClient(credential, flags.baseUrl ?? process.env["ANTHROPIC_BASE_URL"]);
    await serveItem(claimed, { client, hasSessionsToken: token !== null }, item, stop.signal);
    return 0;
  } finally {
    await pool.dispose();
  }
}
