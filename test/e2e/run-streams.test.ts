import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { folder, holdfast, run, said, shell, start } from "./holdfast.ts";
import { byMode } from "./mode.ts";

const megabytes = 24;

function digest(data: Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

test("Binary data passes both ways unchanged, more than any buffer holds", async (t) => {
  const cwd = folder(t);
  const input = randomBytes(megabytes * 1024 * 1024);
  const result = await run(t, ["--", "cat"], { cwd, input });
  t.is(result.status, 0, result.stderr);
  t.is(result.stdout.length, input.length);
  t.is(digest(result.stdout), digest(input));
  t.is(result.stderr, "");
});

test("Standard input may be a file, and is read to its end", async (t) => {
  const cwd = folder(t);
  const content = randomBytes(3_000_001);
  writeFileSync(join(cwd, "in"), content);
  const fd = openSync(join(cwd, "in"), "r");
  const result = await run(t, ["--", "sha256sum"], { cwd, stdin: fd });
  closeSync(fd);
  t.is(result.stdout.toString(), `${digest(content)}  -\n`);
});

test("Standard input that is /dev/null, an empty pipe, a folder or closed ends at once", async (t) => {
  const cwd = folder(t);
  t.is((await shell(t, "wc -c", { cwd, stdin: "ignore" })).stdout.toString(), "0\n");
  t.is((await shell(t, "wc -c", { cwd, input: "" })).stdout.toString(), "0\n");
  const directory = openSync(cwd, "r");
  t.is((await shell(t, "wc -c", { cwd, stdin: directory })).stdout.toString(), "0\n");
  closeSync(directory);
  const script = `${JSON.stringify(holdfast)} run ${byMode.join(" ")} -- wc -c <&-`;
  const child = spawn("sh", ["-c", script], { cwd, stdio: ["ignore", "pipe", "inherit"] });
  const [size] = await Promise.all([said(child.stdout, /\d+/), once(child, "exit")]);
  t.is(size[0], "0");
});

test("A command that does not read its input ends although more is coming", async (t) => {
  const cwd = folder(t);
  const child = start(t, ["--", "true"], cwd, ["pipe", "pipe", "pipe"]);
  child.stdin?.on("error", () => {});
  child.stdin?.write("never read\n");
  const [code] = await once(child, "exit");
  t.is(code, 0);
});

test("What is written first is read first: a line at a time, without waiting for the end", async (t) => {
  const cwd = folder(t);
  const child = start(t, ["--", "sh", "-c", 'while read -r line; do echo "got $line"; done'], cwd, [
    "pipe",
    "pipe",
    "pipe",
  ]);
  for (const word of ["one", "two"]) {
    child.stdin?.write(`${word}\n`);
    t.is((await said(child.stdout, /got \w+\n/))[0], `got ${word}\n`);
  }
  child.stdin?.end();
  const [code] = await once(child, "exit");
  t.is(code, 0);
});

test("A reader that goes away ends the command with SIGPIPE, and holdfast says nothing about it", async (t) => {
  const cwd = folder(t);
  const child = start(t, ["--status-fd", "3", "--", "yes"], cwd);
  await once(child.stdout ?? process.stdin, "data");
  child.stdout?.destroy();
  const exited = once(child, "exit");
  const [ending, words] = await Promise.all([
    said(child.stdio[3] as NodeJS.ReadableStream, /"event":"exited".*\n/),
    (async () => {
      let text = "";
      for await (const chunk of child.stderr ?? []) text += String(chunk);
      return text;
    })(),
  ]);
  t.regex(ending[0], /"signal":"SIGPIPE"/);
  t.is(words, "");
  t.deepEqual(await exited, [141, null]);
});

test("A reader that does not read holds up the command but neither the timeout nor a signal", async (t) => {
  const cwd = folder(t);
  const timed = start(t, ["--timeout", "300ms", "--", "yes"], cwd, ["ignore", "pipe", "pipe"]);
  timed.stdout?.pause();
  t.deepEqual(await once(timed, "exit"), [124, null]);
  const signalled = start(t, ["--status-fd", "3", "--", "yes"], cwd);
  signalled.stdout?.pause();
  await said(signalled.stdio[3] as NodeJS.ReadableStream, /"started"/);
  signalled.kill("SIGTERM");
  await said(signalled.stdio[3] as NodeJS.ReadableStream, /"exited"/);
  // It has ended; what it printed still waits for a reader, until whoever asks for the end asks again.
  signalled.kill("SIGTERM");
  t.deepEqual(await once(signalled, "exit"), [143, null]);
});

test("A slow reader gets everything that a fast command printed", async (t) => {
  const cwd = folder(t);
  const child = start(t, ["--", "head", "-c", "3000000", "/dev/zero"], cwd, ["ignore", "pipe", "pipe"]);
  let size = 0;
  child.stdout?.on("data", (chunk: Buffer) => {
    size += chunk.length;
    child.stdout?.pause();
    setImmediate(() => child.stdout?.resume());
  });
  await once(child, "close");
  t.is(size, 3_000_000);
});

test("Standard output and standard error stay apart, and in order where they are one", async (t) => {
  const cwd = folder(t);
  const script = "for i in 1 2 3 4 5 6 7 8; do echo out$i; echo err$i >&2; done";
  const apart = await shell(t, script, { cwd });
  t.is(apart.stdout.toString(), "out1\nout2\nout3\nout4\nout5\nout6\nout7\nout8\n");
  t.is(apart.stderr, "err1\nerr2\nerr3\nerr4\nerr5\nerr6\nerr7\nerr8\n");
  const log = openSync(join(cwd, "log"), "w");
  const child = start(t, ["--", "sh", "-c", script], cwd, ["ignore", log, log]);
  closeSync(log);
  await once(child, "exit");
  t.is(readFileSync(join(cwd, "log"), "utf8"), apart.stdout.toString().replace(/out(\d)\n/g, "out$1\nerr$1\n"));
});

test("Output goes to a file where the shell opened it, appended where it is opened so", async (t) => {
  const cwd = folder(t);
  writeFileSync(join(cwd, "log"), "before\n");
  const log = openSync(join(cwd, "log"), "a");
  for (const word of ["one", "two"]) {
    const child = start(t, ["--", "echo", word], cwd, ["ignore", log, "pipe"]);
    await once(child, "exit");
  }
  closeSync(log);
  t.is(readFileSync(join(cwd, "log"), "utf8"), "before\none\ntwo\n");
});

test("A standard output that cannot take more is named, and the command hears of it", async (t) => {
  const cwd = folder(t);
  const full = openSync("/dev/full", "w");
  const child = start(t, ["--", "yes"], cwd, ["ignore", full, "pipe"]);
  const words = said(child.stderr, /standard output could not be written \(ENOSPC\)/);
  const [status] = await once(child, "exit");
  closeSync(full);
  t.not(status, 0);
  await t.notThrowsAsync(words);
});

test("Signals to holdfast reach the command, each as itself; a second SIGINT ends it", async (t) => {
  const forwarded = "HUP QUIT USR1 USR2 ALRM TERM VTALRM PROF XCPU URG IO PWR ABRT TRAP SYS WINCH INT".split(" ");
  const traps = forwarded.map((name) => `trap 'echo got ${name}' ${name}`).join("; ");
  const child = start(
    t,
    ["--quiet", "--", "bash", "-c", `${traps}; echo up; while :; do read -t 1 -r; done`],
    folder(t),
    ["pipe", "pipe", "inherit"],
  );
  await said(child.stdout, /^up\n/);
  for (const name of forwarded) {
    const got = said(child.stdout, /got (\w+)\n/);
    child.kill(`SIG${name}` as NodeJS.Signals);
    t.is((await got)[1], name);
  }
  child.kill("SIGINT");
  t.deepEqual(await once(child, "exit"), [137, null]);
});

test("What a command printed and could not be written makes its success a failure", async (t) => {
  const cwd = folder(t);
  for (const [script, status] of [
    ["echo lost", 125],
    ["echo lost; exit 3", 3],
  ] as const) {
    const full = openSync("/dev/full", "w");
    const child = start(t, ["--status-fd", "3", "--", "sh", "-c", script], cwd, ["ignore", full, "pipe", "pipe"]);
    const told = said(child.stdio[3] as NodeJS.ReadableStream, /"event":"output-lost","descriptor":1,"errno":"ENOSPC"/);
    const [code] = await once(child, "exit");
    closeSync(full);
    t.is(code, status);
    await t.notThrowsAsync(told);
  }
});

test("No descriptor is a terminal inside when none is outside", async (t) => {
  const cwd = folder(t);
  const result = await shell(t, "for fd in 0 1 2; do test -t $fd && echo tty$fd; done; tty; :", { cwd });
  t.is(result.stdout.toString(), "not a tty\n");
});

test("The command's descriptors are pipes: a file given to holdfast can be neither seen nor reopened", async (t) => {
  const cwd = folder(t);
  const outside = folder(t);
  writeFileSync(join(outside, "in"), "content");
  const input = openSync(join(outside, "in"), "r+");
  const result = await shell(
    t,
    "readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; ls /proc/self/fd; echo changed > /proc/self/fd/0; :",
    { cwd, stdin: input },
  );
  closeSync(input);
  const lines = result.stdout.toString().split("\n");
  for (const line of lines.slice(0, 3)) t.regex(line, /^pipe:\[\d+\]$/);
  if (byMode.length > 0)
    t.deepEqual(lines.slice(3), [""]); // /proc/self/fd is no list there
  else t.deepEqual(lines.slice(3, 7), ["0", "1", "2", "3"]); // 3 is ls's own
  t.is(readFileSync(join(outside, "in"), "utf8"), "content");
});

test("Files that the command makes obey the caller's umask", async (t) => {
  const cwd = folder(t);
  const script = `umask 027; exec ${JSON.stringify(holdfast)} run ${byMode.join(" ")} -- sh -c 'umask; touch file'`;
  const child = spawn("sh", ["-c", script], { cwd, stdio: ["ignore", "pipe", "inherit"] });
  const [umask] = await Promise.all([said(child.stdout, /\d+\n/), once(child, "exit")]);
  t.is(umask[0], "0027\n");
  t.is(statSync(join(cwd, "file")).mode & 0o777, 0o640);
});
