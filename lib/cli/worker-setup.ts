import type { KeyObject } from "node:crypto";
import { resolve } from "node:path";
import { decoded } from "../egress/upstream-proxy.ts";
import { HoldfastError } from "../errors.ts";
import { mountPointFault, normalise } from "../policy/paths.ts";
import type { Policy } from "../policy/policy.ts";
import { SandboxPool } from "../sandbox/pool.ts";
import { Sandbox } from "../sandbox/sandbox.ts";
import { secretsInUse } from "../secrets/secret-search.ts";
import { Redactor, readEnvironmentKey } from "../worker/credentials.ts";
import { checkExtraction, checkReceiptFolder, type Extraction, extractSession } from "../worker/extraction.ts";
import type { ItemSettings } from "../worker/item.ts";
import { createLog, type WorkerLog } from "../worker/log.ts";
import { SessionSandbox } from "../worker/session-sandbox.ts";
import { folderThatShows } from "./shown-file.ts";
import { usageError } from "./usage.ts";
import type { WorkerFlags } from "./worker-options.ts";

/** What the process was told by its flags and variables, checked; nothing has been started. */
export interface WorkerSetup {
  readonly flags: WorkerFlags;
  readonly log: WorkerLog;
  readonly redactor: Redactor;
  readonly environmentKey: string | undefined;
  readonly baseUrl: string | undefined;
  readonly maxIdleMs: number;
  readonly policy: Policy;
  readonly workdir: string;
  readonly mountAt: string | undefined;
  readonly extraction: Extraction | null;
  readonly receipts: { readonly folder: string; readonly key: KeyObject } | null;
}

/** Sandboxes stand ready. */
export interface Serving extends AsyncDisposable {
  readonly item: ItemSettings;
}

const mostWarm = 4;

/** @throws HoldfastError for the first flag or variable that cannot be used */
export async function readSetup(flags: WorkerFlags): Promise<WorkerSetup> {
  // Whoever reads the log may go away; the sessions go on.
  process.stdout.on("error", () => {});
  const redactor = new Redactor();
  const format = flags.json === true ? "json" : (flags.logFormat ?? (process.stdout.isTTY ? "text" : "json"));
  const log = createLog(format, redactor);
  const workdir = resolve(flags.workdir);
  const policy = await readPolicy(flags, log);
  refuseVisible(flags.environmentKeyFile, workdir, policy);
  const environmentKey = takeCredentials(flags.environmentKeyFile, redactor, log);
  const baseUrl = readBaseUrl(flags.baseUrl ?? process.env["ANTHROPIC_BASE_URL"], log);
  const maxIdleMs = await readMaxIdle(flags.maxIdle);
  const mountAt = readMountPoint(flags.mountAt);
  const extraction = readExtraction(flags, policy, workdir, log);
  const receipts = await readReceipts(flags, policy, workdir);
  return { flags, log, redactor, environmentKey, baseUrl, maxIdleMs, policy, workdir, mountAt, extraction, receipts };
}

function refuseVisible(keyFile: string | undefined, workdir: string, policy: Policy): void {
  const shows = keyFile === undefined ? undefined : folderThatShows(keyFile, workdir, policy);
  if (keyFile === undefined || shows === undefined) return;
  throw new HoldfastError(`the environment key file ${keyFile} lies in ${shows}, where sessions can read it`, {
    code: "ERR_HOLDFAST_KEY_FILE",
    step: "usage",
    path: keyFile,
    hint: "Keep it elsewhere, readable by this user alone.",
  });
}

/** Out of the environment with all of them: nothing that is started later can inherit one. */
function takeCredentials(keyFile: string | undefined, redactor: Redactor, log: WorkerLog): string | undefined {
  const { env } = process;
  redactor.add(env["ANTHROPIC_WEBHOOK_SIGNING_KEY"], env["ANTHROPIC_WORK_SECRET"]);
  delete env["ANTHROPIC_WEBHOOK_SIGNING_KEY"];
  delete env["ANTHROPIC_WORK_SECRET"];
  for (const name of ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"]) {
    if (env[name] === undefined) continue;
    redactor.add(env[name]);
    delete env[name];
    log.warn({}, `${name} is set: a worker needs none, it was dropped`);
  }
  for (const name of ["HTTPS_PROXY", "HTTP_PROXY"])
    redactor.add(passwordIn(env[name]), passwordIn(env[name.toLowerCase()]));
  const key = readEnvironmentKey(keyFile, env);
  redactor.add(key);
  return key;
}

/** Of the way to the queue: Node keeps it where it is. */
function passwordIn(proxy = ""): string {
  return URL.canParse(proxy) ? decoded(new URL(proxy).password) : "";
}

function readBaseUrl(text: string | undefined, log: WorkerLog): string | undefined {
  if (text === undefined || text === "") return undefined;
  const fail = (why: string): HoldfastError =>
    new HoldfastError(`the base URL ${why}`, {
      code: "ERR_HOLDFAST_USAGE",
      step: "usage",
      hint: "Give one like https://api.anthropic.com with --base-url or in ANTHROPIC_BASE_URL, or none for that.",
    });
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) throw fail("is not a URL");
  if (url.protocol !== "https:" && url.protocol !== "http:") throw fail(`begins with ${url.protocol}, not https:`);
  if (url.username !== "" || url.password !== "") throw fail("holds a credential: a request has one place for it");
  if (url.search !== "" || url.hash !== "") throw fail("has a query or a fragment: paths are appended to it");
  if (url.protocol === "http:" && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)) {
    log.warn({ host: url.host }, "the base URL is not https: credentials travel in the clear");
  }
  return text;
}

async function readMaxIdle(text: string): Promise<number> {
  if (text === "0" || /^0(ms|s|m|h)$/.test(text)) return 0;
  const { parseDuration } = await import("../policy/limits.ts");
  try {
    return parseDuration(text);
  } catch (cause) {
    if (!HoldfastError.is(cause)) throw cause;
    throw new HoldfastError(`--max-idle: ${cause.message}`, {
      code: "ERR_HOLDFAST_USAGE",
      step: "usage",
      hint: "Write a duration like 500ms, 30s or 5m, or 0 for never.",
      cause,
    });
  }
}

function readMountPoint(path: string | undefined): string | undefined {
  const fault = path === undefined ? undefined : mountPointFault(path);
  if (fault === undefined) return path === undefined ? undefined : normalise(path);
  throw new HoldfastError(`--mount-at ${JSON.stringify(path)}: that ${fault}`, {
    code: "ERR_HOLDFAST_USAGE",
    step: "usage",
    hint: "Name an absolute path that is the workspace's own, such as /workspace.",
  });
}

async function readPolicy(flags: WorkerFlags, log: WorkerLog): Promise<Policy> {
  if (flags.policy !== undefined) {
    const { readPolicy: read } = await import("../policy/load.ts");
    const { PolicyInvalidError } = await import("../policy/problem.ts");
    const { policy, problems } = read(flags.policy);
    if (policy === null) throw new PolicyInvalidError(flags.policy, problems);
    for (const { file, line, column, message } of problems) log.warn({ file, line, column }, message);
    return policy;
  }
  const { namedPreset } = await import("../policy/presets.ts");
  return namedPreset(flags.preset ?? "agent");
}

async function readReceipts(
  { receipts, receiptKey: keyFile }: WorkerFlags,
  policy: Policy,
  workdir: string,
): Promise<WorkerSetup["receipts"]> {
  if (receipts === undefined) {
    if (keyFile === undefined) return null;
    throw usageError("--receipt-key needs --receipts", "Name the folder that receipts go to.");
  }
  const { receiptKey } = await import("./receipt-key.ts");
  const key = receiptKey(keyFile, workdir, policy);
  const folder = resolve(receipts);
  checkReceiptFolder(folder, workdir);
  return { folder, key };
}

function readExtraction(flags: WorkerFlags, policy: Policy, workdir: string, log: WorkerLog): Extraction | null {
  const usage = (message: string, hint: string): HoldfastError =>
    new HoldfastError(message, { code: "ERR_HOLDFAST_USAGE", step: "usage", hint });
  const rules = [...policy.extract, ...flags.extract.map((glob) => ({ glob }))];
  if (flags.to === undefined) {
    if (flags.extract.length > 0) throw usage("--extract needs --to", "Name the folder that the files go to.");
    if (rules.length > 0) log.warn({ policy: policy.source }, "the policy has extract rules, but there is no --to");
    return null;
  }
  if (rules.length === 0) {
    throw usage("--to needs --extract", "Say which files leave a session: --extract 'report/*.md'.");
  }
  const extraction = { rules, to: resolve(flags.to) };
  checkExtraction(extraction, workdir);
  return extraction;
}

/**
 * Makes the pool that sessions take their sandboxes from. One is made and thrown away first: a host that cannot raise
 * the walls is told of before anything is claimed.
 *
 * @param sessions that will be served at once; 0: one, once
 * @throws HoldfastError as `Sandbox.create`
 */
export async function prepareServing(setup: WorkerSetup, sessions: number): Promise<Serving> {
  const { flags, log, policy, workdir, mountAt, extraction, receipts, maxIdleMs } = setup;
  const base = {
    policy,
    workdir,
    // A policy can ask for less than an overlay shows, but writing to the real folder is for the command line to say.
    workspace: flags.workspace ?? (policy.workspace.mode === "fresh" ? "fresh" : "overlay"),
    tools: true,
    ...(mountAt === undefined ? {} : { mountAt }),
    ...(flags.mode === undefined ? {} : { mode: flags.mode }),
    ...(receipts === null ? {} : { receiptKey: receipts.key }),
  } as const;
  const first = await Sandbox.create(base);
  const inside = first.workdir;
  await first.dispose();
  const pool = new SandboxPool(() => Sandbox.create(base), Math.min(sessions, mostWarm));
  const item: ItemSettings = {
    log,
    maxIdleMs,
    redact: (text) => secretsInUse.redact(text),
    places: {
      workdir: inside,
      async open(request) {
        const { privateFolders } = request;
        const sandbox = await (privateFolders.length === 0 ? pool.take() : Sandbox.create({ ...base, privateFolders }));
        return new SessionSandbox(sandbox, request, {
          log,
          tools: policy.tools,
          receipts: receipts?.folder,
          extract: async (session) => {
            if (extraction === null) return;
            const guard = await sandbox.leakGuard();
            await extractSession(sandbox, extraction, session, { log, guard });
          },
        });
      },
    },
  };
  return { item, [Symbol.asyncDispose]: () => pool.dispose() };
}
