import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { readEnvironmentKey } from "../../lib/worker/credentials.ts";
import { environmentKey, FaultyServer } from "./faulty-server.ts";
import { scratch, turn, WorkerProcess, workspace } from "./worker-process.ts";

interface Misuse {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** On standard error. */
  readonly says: RegExp;
}

/** A worker that was told something wrong says so, starts nothing, asks nobody, and ends with 125. */
const refuses = test.macro(async (t: ExecutionContext, misuse: Misuse) => {
  await turn(t);
  const server = await FaultyServer.start();
  t.teardown(() => server.close());
  const folder = workspace(t);
  const worker = WorkerProcess.start(
    t,
    ["poll", "--workdir", folder, ...(misuse.args ?? []).map((word) => word.replace("{workdir}", folder))],
    {
      ANTHROPIC_ENVIRONMENT_KEY: environmentKey,
      ANTHROPIC_ENVIRONMENT_ID: "env_test",
      ANTHROPIC_BASE_URL: server.url,
      ...misuse.env,
    },
  );
  t.deepEqual(await worker.ended, { code: 125, signal: null });
  t.regex(worker.stderr, misuse.says);
  t.notRegex(worker.stderr, /^\s+at /m, "no stack");
  t.false(worker.said.includes(environmentKey));
  t.deepEqual(server.requests, []);
});

const cases: Readonly<Record<string, Misuse>> = {
  "No environment key": {
    env: { ANTHROPIC_ENVIRONMENT_KEY: "" },
    says: /environment key is missing.*\n.*--environment-key-file/,
  },
  "A key of several lines": { env: { ANTHROPIC_ENVIRONMENT_KEY: "one\ntwo" }, says: /does not hold one key/ },
  "A key file that is not there": { args: ["--environment-key-file", "/nowhere"], says: /\/nowhere is not there/ },
  "A key file that is empty": {
    args: ["--environment-key-file", "/dev/null"],
    says: /\/dev\/null is empty/,
  },
  "The key as a word": { args: [environmentKey], says: /too many arguments.*\[redacted\]/ },
  "A key file that sessions could read": {
    args: ["--environment-key-file", "{workdir}/key"],
    says: /lies in .*, where sessions can read it/,
  },
  "No environment id": {
    env: { ANTHROPIC_ENVIRONMENT_ID: "" },
    says: /environment's id is missing.*\n.*--environment-id/,
  },
  "The key as an argument": { args: [`--environment-key=${environmentKey}`], says: /never an argument/ },
  "A misspelt flag": { args: ["--concurency", "2"], says: /--concurency.*\n.*Did you mean --concurrency/ },
  "No sessions at once": { args: ["--concurrency", "0"], says: /whole number from 1 to 256/ },
  "An unknown way to show the workspace": { args: ["--workspace", "overlai"], says: /overlay, fresh, direct/ },
  "A duration that is none": { args: ["--max-idle", "soon"], says: /--max-idle.*soon/ },
  "An unknown preset": { args: ["--preset", "agnt"], says: /no preset "agnt".*\n.*agent/ },
  "A preset and a policy file": { args: ["--preset", "agent", "--policy", "x"], says: /cannot be used with/ },
  "A policy file that is not there": { args: ["--policy", "/nowhere.yaml"], says: /nowhere\.yaml/ },
  "A folder that is not there": { args: ["--workdir", "/nowhere"], says: /\/nowhere/ },
  "Files to extract and no place for them": { args: ["--extract", "*.md"], says: /--extract needs --to/ },
  "A place for files and none to extract": { args: ["--to", "/tmp"], says: /--to needs --extract/ },
  "A place for files inside the workspace": {
    args: ["--extract", "*", "--to", "{workdir}/out"],
    says: /lies in the workspace/,
  },
  "A place for files that cannot be made": {
    args: ["--extract", "*", "--to", "/etc/hostname/out"],
    says: /\/etc\/hostname is no folder/,
  },
  "Receipts inside the workspace": {
    args: ["--receipts", "{workdir}/out", "--receipt-key", "/nowhere.key"],
    says: /\/nowhere\.key does not exist/,
  },
  "A key and no place for receipts": { args: ["--receipt-key", "x"], says: /--receipt-key needs --receipts/ },
  "A pattern that is none": { args: ["--extract", "/etc/*", "--to", "/tmp"], says: /not relative/ },
  "A place for the workspace that is not absolute": { args: ["--mount-at", "workspace"], says: /not absolute/ },
  "A place for the workspace with ..": { args: ["--mount-at", "/work/../etc"], says: /"\.\."/ },
  "A place for the workspace in what the sandbox needs": {
    args: ["--mount-at", "/usr/src"],
    says: /--mount-at "\/usr\/src": that would hide \/usr.*\n.*\/workspace/,
  },
  "The root as the place for the workspace": { args: ["--mount-at", "/"], says: /would hide \// },
  "A place for the workspace where the sandbox keeps its tools": {
    args: ["--mount-at", "//.holdfast/"],
    says: /would hide \/\.holdfast/,
  },
  "A worker id that no header can carry": {
    args: ["--worker-id", "a\nb"],
    says: /worker's id cannot be sent: "a\\nb"/,
  },
  "An environment id that leads elsewhere": {
    args: ["--environment-id", ".."],
    says: /environment's id cannot be sent/,
  },
  "A base URL that is none": { args: ["--base-url", "queue.example"], says: /not a URL/ },
  "A base URL of another kind": { args: ["--base-url", "ftp://queue.example"], says: /ftp:/ },
  "A base URL with a credential": {
    args: ["--base-url", "https://me:secret@queue.example"],
    says: /holds a credential/,
  },
};

for (const [what, misuse] of Object.entries(cases)) test(`${what} is refused before anything starts`, refuses, misuse);

test("A misspelt command names the right one", async (t) => {
  await turn(t);
  const worker = WorkerProcess.start(t, ["pol"]);
  t.deepEqual(await worker.ended, { code: 125, signal: null });
  t.regex(worker.stderr, /Did you mean poll/);
});

test("A key file in a folder that the policy grants is refused before anything is claimed", async (t) => {
  await turn(t);
  const granted = scratch(t);
  const [key, policy] = [join(granted, "environment.key"), join(scratch(t), "policy.yaml")];
  writeFileSync(key, environmentKey);
  writeFileSync(policy, `holdfast: 1\nfilesystem_policy:\n  include_workdir: true\n  read_only: [/usr, ${granted}]\n`);
  const worker = WorkerProcess.start(
    t,
    ["poll", "--workdir", workspace(t), "--policy", policy, "--environment-key-file", key],
    { ANTHROPIC_ENVIRONMENT_ID: "env_test", ANTHROPIC_BASE_URL: "http://127.0.0.1:1" },
  );
  t.deepEqual(await worker.ended, { code: 125, signal: null });
  t.regex(worker.stderr, /environment\.key lies in .*, where sessions can read it/);
});

test("A policy with a misspelt field is refused with its place before anything is claimed", async (t) => {
  await turn(t);
  const server = await FaultyServer.start();
  t.teardown(() => server.close());
  const folder = scratch(t);
  const policy = join(folder, "policy.yaml");
  writeFileSync(policy, "holdfast: 1\nfilesystem_policy:\n  include_workdir: true\n  read_onyl: [/usr]\n");
  mkdirSync(join(folder, "project"));
  server.enqueue({ id: "work_1" });
  const worker = WorkerProcess.start(
    t,
    ["poll", "--workdir", join(folder, "project"), "--policy", policy, "--base-url", server.url],
    { ANTHROPIC_ENVIRONMENT_KEY: environmentKey, ANTHROPIC_ENVIRONMENT_ID: "env_test" },
  );
  t.deepEqual(await worker.ended, { code: 125, signal: null });
  t.regex(worker.stderr, /policy\.yaml:4.*read_onyl[\s\S]*read_only/);
  t.deepEqual(server.requests, []);
});

test("Help is no misuse", async (t) => {
  await turn(t);
  const worker = WorkerProcess.start(t, ["poll", "--help"]);
  t.deepEqual(await worker.ended, { code: 0, signal: null });
  t.regex(worker.stdout, /--environment-key-file/);
  t.notRegex(worker.stdout, /--environment-key </);
});

test("A key can come late by a pipe; one that nobody writes to is not waited for", async (t) => {
  const pipe = join(scratch(t), "pipe");
  execFileSync("mkfifo", [pipe]);
  t.throws(() => readEnvironmentKey(pipe, {}), { message: /is empty/ });
  // What is written before there is a reader goes with its writer.
  const whenRead = `until readlink /proc/$PPID/fd/* | grep -qx ${pipe}; do sleep 0.02; done`;
  const writer = spawn("sh", ["-c", `exec 3<> ${pipe}; echo ready; ${whenRead}; echo ${environmentKey} >&3`]);
  await once(writer.stdout, "data");
  t.is(readEnvironmentKey(pipe, {}), environmentKey);
});
