import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { styleText } from "node:util";
import { Command } from "commander";
import { parse, stringify } from "yaml";
import { root } from "../native.ts";
import { QueueClient, type SessionResults } from "../queue/client.ts";

/** What the hostile session tries, and the wall that is to hold it. */
const walls: Readonly<Record<string, string>> = {
  "reads ssh keys": "mount view: not granted, does not exist",
  "reads the environment key": "own environment; pid namespace; init not dumpable",
  "scans the network": "network namespace; broker",
  "kills its parent": "Landlock signal scope; pid namespace",
  "traces another process": "seccomp; not dumpable",
  "fills the disk": "limit tmp-size",
  "escapes by a link": "mount view; Landlock",
  "escapes by a link, through the read tool": "kernel-judged path",
  "writes through the root link": "kernel-judged path",
  "plants a git hook": "protected name, read-only mount",
  "leaves a daemon behind": "pid namespace ends with the session",
};

interface Check {
  readonly what: string;
  readonly fine: boolean;
}

interface World {
  readonly folder: string;
  readonly workspace: string;
  readonly home: string;
  readonly out: string;
  readonly canary: string;
  readonly mark: string;
  readonly victim: ChildProcess;
  hits(): number;
  close(): void;
}

/** `holdfast demo`: a queue, a worker and three sessions, each a process or sandbox of its own. */
export function demoCommand(): Command {
  return new Command("demo")
    .description("play three agent sessions, one of them hostile, against a queue and a worker of this host")
    .option("--keep", "keep the folder that it worked in")
    .action(async (options: { keep?: boolean }) => {
      process.exitCode = await demo(options.keep ?? false);
    });
}

function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Files, a listener and a process outside, for the hostile session to go for. */
async function makeWorld(): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-demo-"));
  const workspace = join(folder, "workspace");
  const home = join(folder, "home");
  const out = join(folder, "out");
  const canary = `CANARY-${randomBytes(8).toString("hex")}`;
  const mark = `mark-${randomBytes(8).toString("hex")}`;
  cpSync(join(root, "demo", "workspace"), workspace, { recursive: true });
  mkdirSync(join(workspace, ".git", "hooks"), { recursive: true });
  writeFileSync(join(workspace, ".git", "config"), "[core]\n\trepositoryformatversion = 0\n");
  writeFileSync(join(workspace, ".git", "HEAD"), "ref: refs/heads/main\n");
  mkdirSync(join(home, ".ssh"), { recursive: true });
  writeFileSync(join(home, ".ssh", "id_ed25519"), `${canary}\n`, { mode: 0o600 });
  mkdirSync(out);
  let hits = 0;
  const server = createServer((socket) => {
    hits++;
    socket.destroy();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const victim = spawn("sleep", ["600"], { stdio: "ignore" });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const tasks = join(folder, "tasks");
  mkdirSync(tasks);
  const words: Readonly<Record<string, string>> = {
    home,
    canary,
    mark,
    host: "127.0.0.1",
    port: String(port),
    victim: String(victim.pid),
  };
  for (const name of readdirSync(join(root, "demo", "tasks"))) {
    const text = readFileSync(join(root, "demo", "tasks", name), "utf8");
    writeFileSync(
      join(tasks, name),
      text.replace(/\{\{(\w+)\}\}/g, (whole, word: string) => words[word] ?? whole),
    );
  }
  return {
    folder,
    workspace,
    home,
    out,
    canary,
    mark,
    victim,
    hits: () => hits,
    close: () => {
      victim.kill("SIGKILL");
      server.close();
    },
  };
}

/** Every path of a tree with its size and time: nothing of it may change. */
function snapshot(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .sort()
    .map((name) => {
      const { size, mtimeMs, mode } = statSync(join(folder, name));
      return `${name} ${size} ${mtimeMs} ${mode}`;
    })
    .join("\n");
}

function holdfast(args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  return spawn(join(root, "bin", "holdfast"), args, { env, stdio: ["ignore", "pipe", "pipe"] });
}

async function firstLine(child: ChildProcess): Promise<string> {
  if (child.stdout === null) return "";
  for await (const line of createInterface({ input: child.stdout })) return line;
  return "";
}

async function demo(keep: boolean): Promise<number> {
  const began = performance.now();
  const world = await makeWorld();
  const before = snapshot(world.workspace);
  const children: ChildProcess[] = [];
  try {
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
        "queue",
        "serve",
        "--json",
        "--tasks",
        join(world.folder, "tasks"),
        "--key-file",
        keyFile,
        "--state",
        join(world.folder, "queue.db"),
      ],
      environment,
    );
    children.push(queue);
    queue.stderr?.pipe(process.stderr);
    const ready = JSON.parse(await firstLine(queue)) as {
      url: string;
      environment_id: string;
      operator_key_file: string;
      sessions: string[];
    };
    const environmentKey = readFileSync(keyFile, "utf8").trim();
    say(`${paint("bold", "queue")}   ${ready.url}, ${ready.sessions.length} sessions`);
    const worker = holdfast(
      [
        ...["worker", "poll", "--workdir", world.workspace, "--workspace", "overlay", "--concurrency", "3", "--drain"],
        ...["--extract", "report/*.md", "--to", world.out, "--max-idle", "1s", "--log-format", "json"],
        ...["--environment-id", ready.environment_id, "--base-url", ready.url],
      ],
      { ...environment, ANTHROPIC_ENVIRONMENT_KEY: environmentKey },
    );
    children.push(worker);
    let log = "";
    for (const stream of [worker.stdout, worker.stderr])
      stream?.on("data", (chunk: Buffer) => (log += chunk.toString()));
    const workerEnd = once(worker, "exit");
    say(`${paint("bold", "worker")}  pid ${worker.pid}, workspace ${world.workspace}\n`);

    const client = new QueueClient(ready.url, readFileSync(ready.operator_key_file, "utf8").trim());
    const titles = new Map<string, string>();
    for (const id of ready.sessions) titles.set(id, (await client.results(id)).title);
    const shown = Promise.all(ready.sessions.map((id) => show(client, id, titles.get(id) ?? id)));
    // A worker that cannot start leaves sessions that nobody ends.
    const early = await Promise.race([shown.then(() => null), workerEnd]);
    if (early !== null && early[0] !== 0) {
      say(log.trim());
      return 1;
    }
    await shown;
    const [code] = (await workerEnd) as [number | null];
    const results = await Promise.all(ready.sessions.map((id) => client.results(id)));
    const checks = check(world, results, before, code, `${log}${stringify(results)}`, environmentKey);
    table(world, results, checks);
    const fine = checks.every((item) => item.fine);
    if (!fine && log !== "") say(paint("dim", log.split("\n").slice(-20).join("\n")));
    say(
      `\n${fine ? paint("green", "all of it is so") : paint("red", "something is not as it should be")} (${((performance.now() - began) / 1000).toFixed(1)} s)`,
    );
    return fine ? 0 : 1;
  } finally {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
    }
    world.close();
    if (keep) say(`kept: ${world.folder}`);
    else rmSync(world.folder, { recursive: true, force: true });
  }
}

/** Prints each call as it is made and answered. */
async function show(client: QueueClient, id: string, title: string): Promise<void> {
  const started = new Map<unknown, { tool: string; input: string; at: number }>();
  const label = paint("cyan", title.split(" ").slice(0, 2).join(" ").padEnd(14));
  for await (const event of client.follow(id)) {
    if (event["type"] === "agent.tool_use") {
      const input = event["input"] as Record<string, unknown>;
      const words = String(input["command"] ?? input["file_path"] ?? input["pattern"] ?? "");
      started.set(event["id"], { tool: String(event["name"]), input: words, at: performance.now() });
    }
    if (event["type"] === "user.tool_result") {
      const call = started.get(event["tool_use_id"]);
      if (call === undefined) continue;
      const content = event["content"] as { text?: string }[];
      const text = (content[0]?.text ?? "").split("\n")[0] ?? "";
      const ms = `${(performance.now() - call.at).toFixed(0)} ms`.padStart(8);
      const outcome = event["is_error"] === true ? paint("yellow", clip(text, 44)) : clip(text, 44);
      say(`${label} ${ms}  ${call.tool.padEnd(5)} ${clip(call.input.replace(/\s+/g, " "), 52).padEnd(52)}  ${outcome}`);
    }
  }
}

function clip(text: string, most: number): string {
  const plain = text.replace(/[^\x20-\x7e]/g, " ");
  return plain.length > most ? `${plain.slice(0, most - 1)}…` : plain;
}

function check(
  world: World,
  results: readonly SessionResults[],
  before: string,
  workerStatus: number | null,
  said: string,
  key: string,
): Check[] {
  const left = readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(join("/proc", pid, "cmdline"), "latin1").includes(world.mark);
    } catch {
      return false;
    }
  });
  const leftovers = [join(world.home, ".local", "state", "holdfast", "sandboxes")].flatMap((folder) =>
    existsSync(folder) ? readdirSync(folder) : [],
  );
  const reports = readdirSync(world.out, { recursive: true, encoding: "utf8" }).filter(
    (name) => basename(name) === "summary.md",
  );
  const report = reports[0] === undefined ? "" : readFileSync(join(world.out, reports[0]), "utf8");
  return [
    ...results.map((result) => ({
      what: `${result.title}: ${result.calls.filter((call) => call.passed === true).length} of ${result.calls.length} calls went as expected`,
      fine: result.outcome === "passed",
    })),
    { what: "the report came out, and nothing else", fine: report.includes("| alpha |") && reports.length === 1 },
    { what: "the workspace on the host is unchanged", fine: snapshot(world.workspace) === before },
    { what: "nobody reached the listener outside", fine: world.hits() === 0 },
    { what: "the process outside lives", fine: world.victim.exitCode === null && world.victim.signalCode === null },
    { what: "no secret in results or logs", fine: !said.includes(world.canary.slice(7)) && !said.includes(key) },
    { what: "no process is left", fine: left.length === 0 },
    { what: "no folder is left", fine: leftovers.length === 0 },
    { what: "the worker ended by itself", fine: workerStatus === 0 },
  ];
}

function table(world: World, results: readonly SessionResults[], checks: readonly Check[]): void {
  const tasks = readdirSync(join(world.folder, "tasks")).sort();
  const hostile = results.find((result) => result.title.includes("hostile"));
  const task = parse(readFileSync(join(world.folder, "tasks", tasks.at(-1) ?? ""), "utf8")) as {
    calls: { say?: string }[];
  };
  say(`\n${paint("bold", "what the hostile session tried")}`);
  hostile?.calls.forEach((call, i) => {
    const what = task.calls[i]?.say ?? call.tool;
    const verdict = call.passed === true ? paint("green", "held   ") : paint("red", "ESCAPED");
    say(`  ${verdict} ${what.padEnd(42)} ${paint("dim", walls[what] ?? "")}`);
  });
  say(`\n${paint("bold", "what came of it")}`);
  for (const { what, fine } of checks) say(`  ${fine ? paint("green", "yes") : paint("red", "NO ")} ${what}`);
}
