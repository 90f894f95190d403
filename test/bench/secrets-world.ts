// The scenario of secrets.ts, run where the server's address is this namespace's own: secrets-world.ts SCALE
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Audit, fileSink } from "../../lib/audit/audit.ts";
import { Authority } from "../../lib/egress/authority.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { addresses } from "../egress/world.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import type { Line } from "./result.ts";
import { inRounds, paired, summarise } from "./rounds.ts";

const scale = Number(process.argv[2] ?? 1);
/**
 * Two processes that do the same differ by several per cent for as long as they live: each asks for both, and there are some.
 */
const processes = 6;
const rounds = processes * Math.ceil(10 * scale);
const requests = Math.ceil(1000 * scale);
/** Two names of one server. */
const hosts = { with: "api.example.test", without: "good.example.test" } as const;
const closers: (() => unknown)[] = [];
const folder = mkdtempSync(join(tmpdir(), "holdfast-bench-secrets-"));
chmodSync(folder, 0o755);
const workdir = mkdtempSync(join(tmpdir(), "holdfast-bench-work-"));
chmodSync(workdir, 0o777);
closers.push(
  () => rmSync(folder, { recursive: true, force: true }),
  () => rmSync(workdir, { recursive: true, force: true }),
);

const node = process.execPath;
const policyOf = (host: string): string =>
  `{ endpoints: [{ host: ${host}, port: 443, protocol: rest, enforcement: enforce, access: full }], binaries: [{ path: "${node}" }] }`;
const policy = `${runnable(dirname(node))}network_policies:
  api: ${policyOf(hosts.with)}
  plain: ${policyOf(hosts.without)}
credentials:
  token: { source: { file: ${join(folder, "token")} }, env: TOKEN, network_policy: api }
`;

/** A client that stays: a line says what to do, and a line answers. */
class Client {
  readonly #child: Pick<ChildProcess, "stdin" | "stdout">;
  readonly #lines: AsyncIterator<string>;

  constructor(sandbox: Sandbox) {
    const child = sandbox.spawn(node, [join(workdir, "client.mjs")]) as unknown as ChildProcess;
    child.stderr?.pipe(process.stderr);
    this.#child = child;
    this.#lines = linesOf(child);
  }

  async ask(words: string): Promise<number> {
    this.#child.stdin?.write(`${words}\n`);
    const { value } = await this.#lines.next();
    return Number(value);
  }
}

/** Where a quarter of the values are above it, of their median: what is not further away is no other than they are. */
function upperQuartile(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.ceil(((sorted[Math.floor(sorted.length * 0.75)] ?? 0) / summarise(sorted).median) * 100) / 100;
}

async function* linesOf({ stdout }: Pick<ChildProcess, "stdout">): AsyncGenerator<string> {
  let held = "";
  for await (const part of stdout ?? []) {
    held += part;
    const lines = held.split("\n");
    held = lines.pop() ?? "";
    yield* lines;
  }
}

const kinds = {
  "one connection": `requests ${Math.ceil(requests / 4)} 1 /small`,
  "16 connections": `requests ${requests} 16 /small`,
  "first byte of a stream": `first ${Math.ceil(requests / 10)} 1 /stream`,
  "a download": "requests 1 1 /large",
} as const;

try {
  const authority = new Authority("the server", 3_600_000);
  const trusted = join(folder, "host-trust.pem");
  writeFileSync(trusted, authority.certificate);
  process.env["SSL_CERT_FILE"] = trusted;
  for (const host of Object.values(hosts)) writeFileSync(join(folder, `${host}.pem`), authority.leafFor(host));
  writeFileSync(join(folder, "server.key"), authority.leafKey);
  writeFileSync(join(folder, "token"), `ghp_${"x".repeat(36)}\n`);
  const server = spawn(node, [join(import.meta.dirname, "secrets-server.mjs"), folder, addresses.api], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  closers.push(() => server.kill());
  await once(server.stdout, "data");
  copyFileSync(join(import.meta.dirname, "secrets-client.mjs"), join(workdir, "client.mjs"));
  const audit = new Audit(fileSink(join(folder, "audit.jsonl")));
  closers.push(() => audit.close());
  const clients: Client[] = [];
  for (let i = 0; i < processes; i++) {
    const sandbox = await Sandbox.create({ workdir, audit, policy: sound(policy) });
    closers.push(() => sandbox.dispose());
    clients.push(new Client(sandbox));
  }

  // What has not run some thousand times is not compiled yet.
  for (const client of clients)
    for (const host of Object.values(hosts)) await client.ask(`${host} requests ${Math.ceil(4000 * scale)} 16 /small`);

  const lines: Line[] = [];
  for (const [kind, words] of Object.entries(kinds)) {
    const times = { without: [] as number[], with: [] as number[] };
    const cpu = { without: [] as number[], with: [] as number[] };
    let turn = 0;
    await inRounds(["without", "with"] as const, rounds, 2 * processes, async (name, counts) => {
      const client = clients[(turn++ >> 1) % processes];
      if (client === undefined) throw new Error("there is no such client");
      const before = process.cpuUsage();
      const took = await client.ask(`${hosts[name]} ${words}`);
      const { user, system } = process.cpuUsage(before);
      if (!counts) return;
      times[name].push(took);
      cpu[name].push(user + system);
    });
    const line = { name: `secrets, ${kind}`, what: "a secret in a header", base: "the same without one" };
    const bar = kind === "a download" ? null : kind === "first byte of a stream" ? upperQuartile(times.without) : 1.05;
    lines.push({ ...line, unit: "us", ...paired(times.with, times.without), bar });
    if (kind !== "first byte of a stream")
      lines.push({ ...line, unit: "CPU us", ...paired(cpu.with, cpu.without), bar: null });
  }
  console.log(JSON.stringify(lines));
} finally {
  for (const close of closers.reverse()) await close();
}
process.exit(0);
