import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { folder, holdfast, run, shell } from "./holdfast.ts";
import { byMode } from "./mode.ts";

const isRoot = process.getuid?.() === 0;

for (const status of [0, 1, 42, 124, 125, 126, 127, 137, 255]) {
  test(`The command's own exit status passes: ${status}`, async (t) => {
    const result = await shell(t, `exit ${status}`, { cwd: folder(t) }, ["--status-fd", "3"]);
    t.is(result.status, status);
    t.like(result.lines.at(-1), { event: "exited", status, exitCode: status, signal: null, limit: null });
    // Statuses that could be holdfast's own or a signal's are told from them by one line for people.
    t.is(result.stderr, status < 124 ? "" : `holdfast: the command itself exited with ${status}\n`);
  });
}

for (const [signal, number, words] of [
  ["TERM", 15, "holdfast: the command was ended by SIGTERM\n"],
  ["KILL", 9, "holdfast: the command was ended by SIGKILL\n"],
  ["SEGV", 11, "holdfast: the command was ended by SIGSEGV\n"],
  ["INT", 2, ""],
  ["PIPE", 13, ""],
] as const) {
  test(`A command that SIG${signal} ends gives 128+${number}`, async (t) => {
    const result = await shell(t, `kill -${signal} $$`, { cwd: folder(t) }, ["--status-fd", "3"]);
    t.is(result.status, 128 + number);
    t.is(result.signal, null);
    t.like(result.lines.at(-1), { status: 128 + number, exitCode: null, signal: `SIG${signal}`, limit: null });
    t.is(result.stderr, words);
  });
}

test("A command that is not found gives 127, and the message names it and what to do", async (t) => {
  const cwd = folder(t);
  for (const name of ["no-such-command", "./no-such-file", "/no/such/path", "", "file/below"]) {
    writeFileSync(join(cwd, "file"), "");
    const result = await run(t, ["--status-fd", "3", "--", name], { cwd });
    t.is(result.status, 127, `${name}: ${result.stderr}`);
    t.true(
      result.stderr.startsWith(`holdfast: ${name === "" ? '""' : name}: not found inside the sandbox\n`),
      result.stderr,
    );
    t.regex(result.stderr, /--read/);
    t.like(result.lines.at(-1), { event: "failed", status: 127, code: "ERR_HOLDFAST_EXEC" });
  }
});

test("A command that cannot be executed gives 126", async (t) => {
  const cwd = folder(t);
  writeFileSync(join(cwd, "plain"), "echo no\n");
  writeFileSync(join(cwd, "lost"), "#!/no/such/interpreter\n", { mode: 0o755 });
  mkdirSync(join(cwd, "directory"));
  for (const name of ["./plain", "./directory", "/etc/hostname"]) {
    const result = await run(t, ["--", name], { cwd });
    t.is(result.status, 126, name);
    t.regex(result.stderr, /could not be executed \(EACCES\)/);
  }
  const lost = await run(t, ["--", "./lost"], { cwd });
  t.is(lost.status, 127, "as a shell has it");
  t.regex(lost.stderr, /interpreter/);
});

test("A script without a first line that names its interpreter runs by the shell, as everywhere", async (t) => {
  const cwd = folder(t);
  writeFileSync(join(cwd, "script"), 'echo "$0" "$#" "$2"\n', { mode: 0o755 });
  const result = await run(t, ["--", "./script", "a", "b c"], { cwd });
  t.is(result.stdout.toString(), "./script 2 b c\n");
});

test("Arguments reach the command as they are, through no shell", async (t) => {
  const words = ["$HOME", "*", "a  b", "", "'\"", "line\nbreak", "ü∂", "--", "--json", "-x", ";exit 3"];
  const result = await run(t, ["--", "printf", "<%s>", ...words], { cwd: folder(t) });
  t.is(result.status, 0, result.stderr);
  t.is(result.stdout.toString(), words.map((word) => `<${word}>`).join(""));
});

test("A hundred thousand bytes of arguments and more reach the command", async (t) => {
  const words = Array.from({ length: 3000 }, (_, i) => `${i}`.padEnd(100, "x"));
  const result = await run(t, ["--", "printf", "%s\n", ...words], { cwd: folder(t) });
  t.is(result.status, 0, result.stderr);
  t.is(result.stdout.toString(), `${words.join("\n")}\n`);
});

test("Without dashes the command begins at the first word that is no option", async (t) => {
  const result = await run(t, ["--quiet", "echo", "--json", "-n"], { cwd: folder(t) });
  t.is(result.stdout.toString(), "--json -n\n");
});

test("The status lines say in order what the sandbox is, that the command started and how it ended", async (t) => {
  const result = await run(t, ["--status-fd", "3", "--", "true"], { cwd: folder(t) });
  t.deepEqual(
    result.lines.map(({ event }) => event),
    ["sandbox", "started", "exited"],
  );
  const [sandbox, started, exited] = result.lines;
  t.regex(String(sandbox?.["name"]), /^hf-[0-9a-f]+$/);
  const walls = sandbox?.["enforcement"] as { wall: string; status: string }[];
  t.true(walls.some(({ wall, status }) => wall === "seccomp" && status === "enforced"));
  t.is(typeof started?.["pid"], "number");
  t.deepEqual(exited, {
    event: "exited",
    status: 0,
    exitCode: 0,
    signal: null,
    limit: null,
    timedOut: false,
    denials: [],
    unreached: [],
  });
});

test("The status names the uid that the sandbox has on the host: never root's", async (t) => {
  const result = await run(t, ["--status-fd", "3", "--", "id", "-u"], { cwd: folder(t) });
  const uid = result.lines[0]?.["uid"];
  t.not(uid, 0);
  if (isRoot) t.is(String(uid), result.stdout.toString().trim());
  else t.is(uid, process.getuid?.());
});

test("A status descriptor that is not open is refused before anything starts", async (t) => {
  const result = await run(t, ["--status-fd", "77", "--", "touch", "made"], { cwd: folder(t) });
  t.is(result.status, 125);
  t.regex(result.stderr, /--status-fd 77: the descriptor is not open/);
});

test("With --json each line that holdfast says is JSON, and standard output is the command's alone", async (t) => {
  const result = await shell(t, "echo out; exit 3", { cwd: folder(t) }, ["--json"]);
  t.is(result.status, 3);
  t.is(result.stdout.toString(), "out\n");
  const lines = result.stderr
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  t.deepEqual(
    lines.map(({ event }) => event),
    ["sandbox", "exited"],
  );
  t.like(lines[1], { status: 3, exitCode: 3 });
  const failed = await run(t, ["--json", "--", "no-such-command"], { cwd: folder(t) });
  const last = JSON.parse(failed.stderr.trim().split("\n").at(-1) ?? "") as { error: { code: string; hint: string } };
  t.is(last.error.code, "ERR_HOLDFAST_EXEC");
  t.not(last.error.hint, "");
});

function isJson(line: string): boolean {
  try {
    return typeof JSON.parse(line) === "object";
  } catch {
    return false;
  }
}

test("With --json it is JSON too what is said of an overlay, of protected names and of mistakes in the options", async (t) => {
  for (const [script, options, event] of [
    ["echo > new; mkdir -p .vscode; echo > .vscode/tasks.json", ["--apply"], "applied"],
    ["echo > new; exit 3", ["--apply"], "not-applied"],
    ["mkdir .vscode; echo > .vscode/tasks.json", [], "put-aside"],
    ["true", ["--no-such-option"], undefined],
    ["true", ["--read", "/no/such/path"], undefined],
  ] as const) {
    const { stderr, lines } = await shell(t, script, { cwd: folder(t) }, ["--json", "--status-fd", "3", ...options]);
    const said = stderr.trim().split("\n");
    t.deepEqual(
      said.filter((line) => !isJson(line)),
      [],
    );
    if (event === undefined) t.like(lines, [{ event: "failed", status: 125 }]);
    else for (const records of [lines, said.map((line) => JSON.parse(line))]) t.is(records.at(-1)?.event, event);
  }
});

test("A status that was asked for tells of a mistake in the options as well", async (t) => {
  for (const args of [["--status-fd", "3", "--polcy", "x", "--", "true"], ["--status-fd=3"]]) {
    const { status, lines } = await run(t, args, { cwd: folder(t) });
    t.is(status, 125);
    t.like(lines, [{ event: "failed", status: 125, code: "ERR_HOLDFAST_USAGE" }]);
  }
});

test("With --quiet holdfast says nothing at all", async (t) => {
  const cwd = folder(t);
  for (const [script, status] of [
    ["kill -TERM $$", 143],
    ["exit 125", 125],
    ["unshare -U true 2>/dev/null; exit 4", 4],
    ["exec sleep 20", 124],
  ] as const) {
    const result = await shell(t, script, { cwd }, ["--quiet", "--timeout", "2s"]);
    t.is(result.status, status);
    t.is(result.stderr, "");
  }
});

test("A refused system call is named at the end, once, with how often", async (t) => {
  const script = "unshare -U true; unshare -U true; mount -t tmpfs none /tmp; exit 0";
  const result = await shell(t, `exec 2>/dev/null; ${script}`, { cwd: folder(t) }, ["--status-fd", "3"]);
  t.is(result.status, 0);
  t.regex(result.stderr, /^holdfast: refused the system call unshare \(2 times\); no flag grants it$/m);
  t.regex(result.stderr, /^holdfast: refused the system call (mount|fsopen|open_tree)/m);
  const denials = result.lines.at(-1)?.["denials"] as { kind: string; subject: string; count: number }[];
  t.true(denials.some((denial) => denial.kind === "syscall" && denial.subject === "unshare" && denial.count === 2));
});

test("Calls that are refused for their arguments are named as well", async (t) => {
  const script = `touch file; chmod u+s file; renice -n 1 -p $$; python3 -c '
import os, resource, socket
for attempt in (
    lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
    lambda: os.mknod("device", 0o020600),
    lambda: os.mkdir("shared", 0o2755),
    lambda: os.open("made", os.O_CREAT, 0o4755),
    lambda: os.sched_setaffinity(1, [0]),
    lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (1, 1)),
):
    try: attempt()
    except OSError as error: assert error.errno == 1, error
    else: raise SystemExit(9)
'`;
  const { status, lines } = await shell(t, `exec 2>/dev/null; ${script}`, { cwd: folder(t) }, ["--status-fd", "3"]);
  t.is(status, 0);
  const denials = lines.at(-1)?.["denials"] as { subject: string }[];
  const named = new Set(
    denials.map(({ subject }) => subject.replace(/(?<=^mkdir|^mknod)at$|(?<=^f?chmod|^open)at2?$/, "")),
  );
  for (const call of ["setpriority", "socket", "socketpair", "mknod", "mkdir", "sched_setaffinity", "prlimit64"])
    t.true(named.has(call), call);
  // Without namespaces the broker changes modes, and the filter alone refuses these.
  t.true(byMode.length > 0 || named.has("chmod") || named.has("fchmod"));
  t.true(named.has("open"));
});

test("A refused connection is named by its address with the flag that would grant it", async (t) => {
  const script = "exec 3<>/dev/tcp/192.0.2.7/443";
  const result = await run(t, ["--status-fd", "3", "--", "bash", "-c", script], { cwd: folder(t) });
  t.not(result.status, 0);
  t.regex(result.stderr, /^holdfast: refused a connection to 192\.0\.2\.7:443; --allow 192\.0\.2\.7:443$/m);
  const denials = result.lines.at(-1)?.["denials"] as { kind: string; subject: string }[];
  t.true(denials.some(({ kind, subject }) => kind === "connect" && subject === "192.0.2.7:443"));
});

test("A name that is looked up where there is no network is told where the command failed, and in the status", async (t) => {
  const look =
    "import socket\ntry: socket.getaddrinfo('host.example.com', 443)\nexcept OSError as error: print(error)\n";
  const failed = await run(t, ["--", "python3", "-c", `${look}raise SystemExit(3)`], { cwd: folder(t) });
  t.is(failed.status, 3);
  t.regex(
    failed.stderr,
    /^holdfast: refused a connection to a name server.*; there is no network: --allow HOST grants a host$/m,
  );
  const fine = await run(t, ["--status-fd", "3", "--", "python3", "-c", look], { cwd: folder(t) });
  t.like(fine, { status: 0, stderr: "" });
  t.true(fine.stdout.length > 0, "it was not found");
  const denials = fine.lines.at(-1)?.["denials"] as { subject: string }[];
  t.true(denials.some(({ subject }) => subject === "a name server"));
});

test("UDP is told where the command failed, and in the status", async (t) => {
  const send =
    "import socket\ntry: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.7', 9))\nexcept OSError: pass\n";
  const failed = await run(t, ["--", "python3", "-c", `${send}raise SystemExit(3)`], { cwd: folder(t) });
  const fine = await run(t, ["--status-fd", "3", "--", "python3", "-c", send], { cwd: folder(t) });
  t.like(fine, { status: 0, stderr: "" });
  // In a network namespace it dies unseen.
  const isSeen = byMode.length > 0;
  t.is(/^holdfast: refused UDP; without namespaces there is TCP alone/m.test(failed.stderr), isSeen, failed.stderr);
  const denials = fine.lines.at(-1)?.["denials"] as { subject: string }[];
  t.is(
    denials.some(({ subject }) => subject === "udp"),
    isSeen,
  );
});

test("A connection that no flag would grant is named without one", async (t) => {
  const script = `
import socket
def attempt(kind, host, port):
    try: socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind).connect((host, port))
    except OSError: pass
for host in ("169.254.169.254", "0.0.0.0", "127.0.0.1", "::1", "::ffff:10.0.0.1", "fe80::1", "192.0.2.7"):
    attempt(socket.SOCK_STREAM, host, 8123)
attempt(socket.SOCK_STREAM, "192.0.2.7", 0)
try: attempt(socket.SOCK_DGRAM, "192.0.2.7", 53)
except OSError: pass
`;
  const result = await run(t, ["--status-fd", "3", "--", "python3", "-c", script], { cwd: folder(t) });
  const denials = result.lines.at(-1)?.["denials"] as { kind: string; subject: string; grant?: string }[];
  const connections = denials.filter(({ kind }) => kind === "connect");
  t.true(connections.some(({ subject }) => subject === "169.254.169.254:8123"));
  if (byMode.length === 0) t.true(connections.some(({ subject }) => subject === "udp:192.0.2.7:53"));
  for (const { grant } of connections.filter(({ grant: flag }) => flag !== undefined)) {
    const [flag = "", word = ""] = grant?.split(" ") ?? [];
    t.is((await run(t, [flag, word, "--", "true"], { cwd: folder(t) })).status, 0, grant);
  }
  t.deepEqual(connections.flatMap(({ grant }) => grant ?? []).sort(), [
    "--allow 192.0.2.7:8123",
    "--allow [::ffff:10.0.0.1]:8123",
  ]);
});

test("With --trace-denials a refused file is named with the flag that grants it; the flag then does", async (t) => {
  const cwd = folder(t);
  const other = folder(t);
  chmodSync(other, 0o755);
  writeFileSync(join(other, "data"), "content", { mode: 0o644 });
  const script = ["cat", join(other, "data")];
  const refused = await run(t, ["--trace-denials", "--", ...script], { cwd });
  t.is(refused.status, 1);
  t.true(refused.stderr.includes(`refused ${join(other, "data")}; --read ${join(other, "data")}`), refused.stderr);
  const granted = await run(t, ["--trace-denials", "--read", join(other, "data"), "--", ...script], { cwd });
  t.is(granted.stdout.toString(), "content");
  t.is(granted.stderr, "");
});

test("Each flag that a traced refusal names grants what was refused, and none is named that would not", async (t) => {
  const cwd = folder(t);
  const other = folder(t);
  // Without namespaces root's sandbox is nobody's but its own.
  chmodSync(other, 0o777);
  for (const name of ["read me", "write me"]) {
    writeFileSync(join(other, name), "content\n");
    chmodSync(join(other, name), 0o666);
  }
  mkdirSync(join(cwd, ".git", "hooks"), { recursive: true });
  mkdirSync(join(cwd, ".vscode"));
  writeFileSync(join(cwd, ".vscode", "settings.json"), "{}\n");
  for (const script of [
    `cat '${other}/read me'`,
    `echo more >> '${other}/write me'`,
    `python3 -c 'import os; os.open("${other}/write me", os.O_RDWR)'`,
    `echo new > ${other}/new`,
    // There these are put aside at the end instead.
    ...(byMode.length > 0
      ? []
      : ["echo new > .git/hooks/pre-commit", "echo new > .vscode/settings.json", "echo new > .vscode/tasks.json"]),
  ]) {
    const traced = await shell(t, script, { cwd }, ["--trace-denials", "--status-fd", "3"]);
    t.not(traced.status, 0, script);
    const denials = traced.lines.at(-1)?.["denials"] as { kind: string; grant?: string }[];
    const flags = denials.filter(({ kind }) => kind === "file").map(({ grant }) => grant);
    t.is(flags.length, 1, `${script}: ${traced.stderr}`);
    t.true(traced.stderr.includes(`; ${flags[0]}\n`), traced.stderr);
    const granted = spawnSync(
      "sh",
      ["-c", `exec "$1" run ${byMode.join(" ")} ${flags[0]} -- sh -c "$2"`, "sh", holdfast, script],
      { cwd },
    );
    t.is(granted.status, 0, `${flags[0]}: ${granted.stderr}`);
  }
  // What is the sandbox's own or not this user's to write is told without a flag.
  const hopeless = await shell(t, "echo x >> /usr/bin/env; cat /tmp/x; echo x > /tmp/x", { cwd }, ["--trace-denials"]);
  if (isRoot) t.notRegex(hopeless.stderr, /--write/);
  else t.regex(hopeless.stderr, /refused \/usr\/bin\/env; no flag grants it/);
  // A process of this number is there outside, as one that has just ended inside may be.
  const elsewhere = await shell(t, `cat /proc/${process.pid}/stat`, { cwd }, ["--trace-denials"]);
  t.is(elsewhere.status, 1);
  t.notRegex(elsewhere.stderr, /refused/);
});

test("What the command's refusals are called cannot write to the terminal of who reads them", async (t) => {
  const cwd = folder(t);
  const other = folder(t);
  chmodSync(other, 0o755);
  const name = "evil\u001b[2Jname\nholdfast: all is well";
  writeFileSync(join(other, name), "");
  symlinkSync(join(other, name), join(cwd, "link"));
  const result = await run(t, ["--trace-denials", "--", "cat", join(other, name)], { cwd });
  const own = result.stderr.split("\n").filter((line) => line.startsWith("holdfast:"));
  t.false(result.stderr.includes("\u001b[2J"), result.stderr);
  t.is(own.length, 1, result.stderr);
  t.regex(own[0] ?? "", /refused .*evil\\033\[2Jname\\nholdfast/);
});
