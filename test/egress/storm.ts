// The scenario of storm.test.ts, and of `npm run storm`: programs/storm.c's storms of connections, forks, execs and ends. What
// the broker said of each connection is compared with what the program itself said, by the port that it connected to.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Audit } from "../../lib/audit/audit.ts";
import { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { runnable, sound } from "../policy/policy-text.ts";
import { addresses } from "./world.ts";

/** Four numbers each: of the granted program and the other, each without foreign code and with some. */
export interface Storm {
  /** Connections that were recorded. */
  readonly total: number;
  readonly ms: number;
  /** As the programs counted them: what a kill or an exec cut short is tried and not made. */
  readonly tried: readonly number[];
  readonly made: readonly number[];
  readonly failed: readonly number[];
  /** The errno of one that failed. */
  readonly lastError: number;
  /** As they were recorded. */
  readonly seen: readonly number[];
  /** Records and words that are not what the program said. */
  readonly wrong: number;
  readonly examples: readonly unknown[];
  /** What was printed by programs that failed. */
  readonly said: string;
}

const [mode, ...numbers] = process.argv.slice(2);
const [connections = 1000, seconds = 60, seed = 1] = numbers.map(Number);
const atOnce = 8;

const place = mkdtempSync(join(tmpdir(), "holdfast-storm-"));
const [folder, workdir] = [join(place, "granted"), join(place, "work")];
for (const made of [folder, workdir]) mkdirSync(made);
for (const made of [place, folder]) chmodSync(made, 0o755);
chmodSync(workdir, 0o777);
// Root's own folders are nothing for a sandbox that shares the host's view.
if (mode === "landlock" && process.getuid?.() === 0) chownSync(workdir, 1000, 1000);
const source = join(import.meta.dirname, "programs", "storm.c");
const [granted, other] = [join(folder, "granted"), join(folder, "other")];
execFileSync("cc", ["-O1", "-o", granted, source, "-lpthread"]);
execFileSync("cc", ["-O1", "-DOTHER_PROGRAM=1", "-o", other, source, "-lpthread"]);
writeFileSync(join(place, "foreign.c"), "int foreign = 1;\n");
execFileSync("cc", ["-shared", "-fPIC", "-o", join(place, "foreign.so"), join(place, "foreign.c")]);
copyFileSync(join(place, "foreign.so"), join(workdir, "foreign.so"));
const counts = join(workdir, "counts");
writeFileSync(counts, Buffer.alloc(4096), { mode: 0o666 });
chmodSync(counts, 0o666);

const policy = sound(`${runnable(folder)}network_policies:
  one:
    endpoints: [{ host: "${addresses.api}", ports: [7, 8, 9, 10] }]
    binaries: [{ path: "${granted}" }]
`);

/** By port: which program says that it is this one, and what is to become of it. */
const truths = [
  { port: 7, program: granted, allowed: true, reason: undefined, word: "P" },
  { port: 8, program: granted, allowed: false, reason: "identity", word: "" },
  { port: 9, program: other, allowed: false, reason: "program", word: "" },
  { port: 10, program: other, allowed: false, reason: "identity", word: "" },
] as const;

const wrong: unknown[] = [];
const seen = truths.map(() => 0);
let total = 0;
let look = (): void => {};
const audit = new Audit({
  write(line) {
    const record = JSON.parse(line) as Record<string, unknown>;
    if (record["type"] !== "connection") return;
    const index = truths.findIndex(({ port }) => port === record["port"]);
    const truth = truths[index];
    if (
      truth === undefined ||
      record["program"] !== truth.program ||
      record["allowed"] !== truth.allowed ||
      record["reason"] !== truth.reason
    )
      wrong.push(record);
    seen[index] = (seen[index] ?? 0) + 1;
    total++;
    look();
  },
  close: () => {},
});
const servers = truths.map(({ port, word }) => {
  const server = createServer((socket) => {
    if (word === "") wrong.push(`a connection at port ${port}`);
    socket.on("error", () => {});
    socket.on("data", (data) => {
      if (String(data) !== word) wrong.push(`${data} was said at port ${port}`);
      socket.end(data);
    });
    socket.on("end", () => socket.end());
  });
  return server.listen(port, addresses.api);
});
await Promise.all(servers.map((server) => once(server, "listening")));

const sandbox = await Sandbox.create({ workdir, policy, audit, mode: mode === "landlock" ? mode : "namespaces" });
const began = performance.now();
const driver = sandbox.spawn(granted, ["drive", String(seed), String(atOnce)], {
  env: { TO: addresses.api, GRANTED: granted, OTHER: other, FOREIGN: join(workdir, "foreign.so"), COUNTS: counts },
});
const said: string[] = [];
driver.stdout?.on("data", (data) => said.push(String(data)));
driver.stderr?.on("data", (data) => said.push(String(data)));
const tooLong = setTimeout(() => driver.stdin?.end(), seconds * 1000);
look = () => {
  if (total >= connections) driver.stdin?.end();
};
await once(driver, "close");
clearTimeout(tooLong);
const counted = new BigUint64Array(new Uint8Array(readFileSync(counts)).buffer);
const of = (first: number): number[] => [...counted.subarray(first, first + truths.length)].map(Number);
const [tried, made, failed] = [of(0), of(4), of(8)];
// What the programs know to be made is recorded soon, though they may have gone.
const isRecorded = (): boolean => made.every((count, index) => (seen[index] ?? 0) >= count);
if (!isRecorded()) {
  await new Promise<void>((resolve) => {
    const late = setTimeout(resolve, 10_000);
    look = () => {
      if (!isRecorded()) return;
      clearTimeout(late);
      resolve();
    };
  });
}
const ms = performance.now() - began;
await sandbox.dispose();
for (const server of servers) server.close();
rmSync(place, { recursive: true, force: true });
const found: Storm = {
  ...{ total, ms: Math.round(ms), tried, made, failed, seen, lastError: Number(counted[12]) },
  ...{ wrong: wrong.length, examples: wrong.slice(0, 5), said: said.join("").slice(0, 1000) },
};
process.stdout.write(JSON.stringify(found));
process.exit(0);
