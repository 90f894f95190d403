import { existsSync, readFileSync, watch } from "node:fs";
import { dirname, join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { folder, holdfast } from "./holdfast.ts";
import { hasTerminal, Terminal, type TerminalSettings } from "./pty.ts";

const run = [holdfast, "run", "--quiet", "--"];

function inside(t: ExecutionContext, script: string, settings: TerminalSettings): Terminal {
  return new Terminal(t, [...run, "sh", "-c", script], settings);
}

/** Waits until a file says so. */
async function heard(t: ExecutionContext, path: string, text: string): Promise<void> {
  const says = (): boolean => existsSync(path) && readFileSync(path, "utf8") === text;
  await new Promise<void>((resolve) => {
    const watcher = watch(dirname(path), () => {
      if (says()) resolve();
    });
    t.teardown(() => watcher.close());
    if (says()) resolve();
  });
  t.pass();
}

const isatty = 'for fd in 0 1 2; do test -t $fd && echo "tty$fd" >&3; done';

for (const on of [[0, 1, 2], [0], [1], [2], [0, 1], [0, 2], [1, 2]] as const) {
  test(`Inside, exactly the descriptors are a terminal that are one outside: ${on.join(", ")}`, async (t) => {
    if (!hasTerminal(t)) return;
    const cwd = folder(t);
    const terminal = inside(t, `exec 3>seen; ${isatty}; exec 3>&-`, { cwd, on });
    t.is(await terminal.ended, 0);
    t.is(readFileSync(join(cwd, "seen"), "utf8"), on.map((fd) => `tty${fd}\n`).join(""));
  });
}

test("The window size is the outer one's, and follows it", async (t) => {
  if (!hasTerminal(t)) return;
  const script = "trap 'stty size' WINCH; stty size; while :; do read -r word && break; done";
  const terminal = inside(t, script, { cwd: folder(t), rows: 31, columns: 97 });
  await terminal.until(/31 97\r\n/);
  await terminal.resize(40, 132);
  await terminal.until(/40 132\r\n/);
  terminal.type("end\r");
  t.is(await terminal.ended, 0);
});

test("The size is known too where only standard input is the terminal", async (t) => {
  if (!hasTerminal(t)) return;
  const cwd = folder(t);
  const terminal = inside(t, "stty size", { cwd, rows: 33, columns: 66, on: [0], file: join(cwd, "out") });
  t.is(await terminal.ended, 0);
  t.is(readFileSync(join(cwd, "out"), "utf8"), "33 66\n");
});

test("The command's terminal begins with the settings of the outer one", async (t) => {
  if (!hasTerminal(t)) return;
  const show = "stty -a | tr ';' '\\n' | grep -E 'erase|werase|iutf8|ixon|columns'";
  const script = `stty erase '#' iutf8 -ixon; ${show}; echo; exec ${run.map((word) => `'${word}'`).join(" ")} sh -c "${show}"`;
  const terminal = new Terminal(t, ["sh", "-c", script], { cwd: folder(t) });
  t.is(await terminal.ended, 0);
  const [outer, inner] = terminal.shown.split("\r\n\r\n");
  t.regex(outer ?? "", /erase = #/);
  t.is(inner?.trim(), outer?.trim());
});

test("What is typed is echoed once and read by the line; end of file ends the input", async (t) => {
  if (!hasTerminal(t)) return;
  const terminal = inside(t, "echo ready; cat; echo over", { cwd: folder(t) });
  await terminal.until(/ready\r\n/);
  terminal.type("typed\r");
  await terminal.until(/typed\r\ntyped\r\n/);
  terminal.type("\u0004");
  await terminal.until(/^over\r\n/);
  t.is(await terminal.ended, 0);
});

test("Keys are echoed to the terminal also where only standard input is one", async (t) => {
  if (!hasTerminal(t)) return;
  const cwd = folder(t);
  const terminal = inside(t, 'read -r word; echo "read $word"', { cwd, on: [0], file: join(cwd, "out") });
  terminal.type("typed\r");
  await terminal.until(/typed\r\n/);
  t.is(await terminal.ended, 0);
  t.is(readFileSync(join(cwd, "out"), "utf8"), "read typed\n");
});

test("Lines are ended once where the terminal is for output alone", async (t) => {
  if (!hasTerminal(t)) return;
  const terminal = inside(t, "echo one; echo two >&2", { cwd: folder(t), on: [1, 2] });
  t.is(await terminal.ended, 0);
  t.is(terminal.shown, "one\r\ntwo\r\n");
});

test("Programs that draw get every byte as they wrote it", async (t) => {
  if (!hasTerminal(t)) return;
  const terminal = inside(t, "stty raw; printf 'a\\nb\\033[31mc\\033[0m\\n'", { cwd: folder(t) });
  t.is(await terminal.ended, 0);
  t.is(terminal.shown, "a\nb\u001b[31mc\u001b[0m\n");
});

test("The terminal is raw while the command runs, and as it was afterwards", async (t) => {
  if (!hasTerminal(t)) return;
  const script = `stty -a > before; ${run.map((word) => `'${word}'`).join(" ")} sh -c 'echo up; read word; stty -echo -icanon'; stty -a > after; echo; echo end; read word`;
  const cwd = folder(t);
  const terminal = new Terminal(t, ["sh", "-c", script], { cwd });
  await terminal.until(/up\r\n/);
  t.false(await terminal.isCooked());
  terminal.type("go\r");
  await terminal.until(/end\r\n/);
  t.true(await terminal.isCooked());
  t.is(readFileSync(join(cwd, "after"), "utf8"), readFileSync(join(cwd, "before"), "utf8"));
});

/** A shell's words for `holdfast run` with this script inside. */
function quoted(script: string): string {
  return [...run, "sh", "-c", script].map((word) => `'${word}'`).join(" ");
}

for (const [signal, status] of [
  ["SIGTERM", 143],
  ["SIGHUP", 129],
  ["SIGINT", 130],
] as const) {
  test(`The terminal is put back when holdfast is ended by ${signal}`, async (t) => {
    if (!hasTerminal(t)) return;
    const script = `sh -c 'echo "pid $$"; exec "$@"' sh ${quoted("echo up; exec cat")}; echo "status $?"; read word`;
    const terminal = new Terminal(t, ["sh", "-c", script], { cwd: folder(t) });
    const pid = Number((await terminal.until(/pid (\d+)\r\n/))[1]);
    await terminal.until(/up\r\n/);
    t.false(await terminal.isCooked());
    process.kill(pid, signal);
    await terminal.until(new RegExp(`status ${status}\r\n`));
    t.true(await terminal.isCooked());
  });
}

const bash = ["bash", "--norc", "--noprofile", "--noediting", "-i"];

test("In a shell Ctrl-Z stops the command, fg continues it, Ctrl-C interrupts it", async (t) => {
  if (!hasTerminal(t)) return;
  const terminal = new Terminal(t, bash, { cwd: folder(t) });
  await terminal.until(/\$ /);
  // No fork while it is stopped: between vfork and exec a program cannot be.
  terminal.type(`${quoted("echo up; exec cat")}\r`);
  await terminal.until(/\nup\r\n/);
  terminal.type("\u001a");
  await terminal.until(/Stopped[\s\S]*\$ /);
  terminal.type("jobs\r");
  await terminal.until(/\[1\]\+ {2}Stopped[\s\S]*\$ /);
  terminal.type("fg\r");
  await terminal.until(/holdfast[\s\S]*\r\n/);
  terminal.type("again\r");
  await terminal.until(/again\r\nagain\r\n/);
  // It has the terminal for certain when it answers once more.
  terminal.type("more\r");
  await terminal.until(/more\r\nmore\r\n/);
  terminal.type("\u0003");
  await terminal.until(/\$ /);
  terminal.type('echo "status $?"\r');
  await terminal.until(/status 130\r\n/);
  terminal.type("exit\r");
  t.is(await terminal.ended, 0);
});

test("A stopped command goes on in the background with bg, and says when it is done", async (t) => {
  if (!hasTerminal(t)) return;
  const cwd = folder(t);
  const terminal = new Terminal(t, bash, { cwd });
  await terminal.until(/\$ /);
  terminal.type(`${quoted("mkfifo gate; echo up; read -r word < gate; echo through $word")}\r`);
  await terminal.until(/\nup\r\n/);
  terminal.type("\u001a");
  await terminal.until(/Stopped[\s\S]*\$ /);
  terminal.type("bg\r");
  await terminal.until(/holdfast[\s\S]*&\r\n[\s\S]*\$ /);
  terminal.type("echo word > gate\r");
  await terminal.until(/through word\r\n/);
  terminal.type("wait; echo waited; exit\r");
  await terminal.until(/waited\r\n/);
  t.is(await terminal.ended, 0);
});

test("Started in the background it runs, prints and leaves the terminal to the shell", async (t) => {
  if (!hasTerminal(t)) return;
  const terminal = new Terminal(t, bash, { cwd: folder(t) });
  await terminal.until(/\$ /);
  terminal.type(`${quoted('echo up; read word; echo "got $word"')} &\r`);
  await terminal.until(/\$ up\r/);
  terminal.type("jobs\r");
  await terminal.until(/\[1\]\+ {2}Running[\s\S]*\$ /);
  // Brought to the front it reads what is typed.
  terminal.type("fg\r");
  await terminal.until(/holdfast[\s\S]*\r\n/);
  terminal.type("typed\r");
  await terminal.until(/got typed\r\n\$ /);
  terminal.type("exit\r");
  t.is(await terminal.ended, 0);
});

test("A shell recovers its terminal from a holdfast that was killed", async (t) => {
  if (!hasTerminal(t)) return;
  const terminal = new Terminal(t, bash, { cwd: folder(t) });
  await terminal.until(/\$ /);
  terminal.type("stty -a | md5sum\r");
  const [, before] = await terminal.until(/\n([0-9a-f]{32})[\s\S]*\$ /);
  terminal.type(`sh -c 'echo "pid $$"; exec "$@"' sh ${quoted("echo up; exec cat")}\r`);
  const pid = Number((await terminal.until(/pid (\d+)\r\n/))[1]);
  await terminal.until(/up\r\n/);
  process.kill(pid, "SIGKILL");
  await terminal.until(/Killed[\s\S]*\$ /);
  terminal.type("stty -a | md5sum\r");
  const [, after] = await terminal.until(/\n([0-9a-f]{32})[\s\S]*\$ /);
  t.is(after, before);
});

test("A terminal that is closed ends the command", async (t) => {
  if (!hasTerminal(t)) return;
  const cwd = folder(t);
  const terminal = inside(t, "trap 'echo hung up > heard; exit' HUP; echo up; while :; do read -r word || :; done", {
    cwd,
  });
  await terminal.until(/up\r\n/);
  terminal.hangUp();
  await heard(t, join(cwd, "heard"), "hung up\n");
});

test("An interactive shell inside has job control of its own", async (t) => {
  if (!hasTerminal(t)) return;
  const terminal = new Terminal(t, [...run, ...bash], { cwd: folder(t) });
  await terminal.until(/\$ /);
  t.notRegex(terminal.shown, /no job control/);
  terminal.type("sh -c 'echo up; exec cat'\r");
  await terminal.until(/\nup\r\n/);
  terminal.type("\u001a");
  await terminal.until(/Stopped[\s\S]*\$ /);
  terminal.type("fg\r");
  await terminal.until(/cat[\s\S]*\r\n/);
  terminal.type("typed\r");
  await terminal.until(/typed\r\ntyped\r\n/);
  terminal.type("\u0003");
  await terminal.until(/\$ /);
  terminal.type("exit 5\r");
  t.is(await terminal.ended, 5 << 8);
});

test("A large paste into a program that echoes arrives whole", async (t) => {
  if (!hasTerminal(t)) return;
  const cwd = folder(t);
  const lines = Array.from({ length: 3000 }, (_, i) => `line ${i} ${"x".repeat(40)}`);
  const terminal = inside(t, "stty -icanon; echo up; head -n 3000 > pasted; echo over", { cwd });
  await terminal.until(/up\r\n/);
  terminal.type(`${lines.join("\r")}\r`);
  await terminal.until(/over\r\n/);
  t.is(await terminal.ended, 0);
  t.is(readFileSync(join(cwd, "pasted"), "utf8"), `${lines.join("\n")}\n`);
});

test("A terminal that shows nothing more holds up neither the timeout nor the end", async (t) => {
  if (!hasTerminal(t)) return;
  const command = [holdfast, "run", "--quiet", "--timeout", "1s", "--", "sh", "-c", "echo up; exec yes"];
  const terminal = new Terminal(t, command, { cwd: folder(t) });
  await terminal.until(/up\r\n/);
  await terminal.stall();
  t.is(await terminal.ended, 124 << 8);
});

test("Everything that was printed last is shown", async (t) => {
  if (!hasTerminal(t)) return;
  const terminal = inside(t, "seq 20000", { cwd: folder(t) });
  t.is(await terminal.ended, 0);
  t.is(terminal.shown, Array.from({ length: 20000 }, (_, i) => `${i + 1}\r\n`).join(""));
});

test("A terminal that is another user's, as after su, is written to all the same", async (t) => {
  if (!hasTerminal(t)) return;
  // What no mode permits cannot be opened by its name, but by root.
  const script = `chmod 000 "$(tty)"; exec ${run.map((word) => `'${word}'`).join(" ")} echo shown`;
  const terminal = new Terminal(t, ["sh", "-c", script], { cwd: folder(t) });
  t.is(await terminal.ended, 0);
  t.is(terminal.shown, "shown\r\n");
});

test("Colours are the command's own affair: TERM is passed on and the terminal is one", async (t) => {
  if (!hasTerminal(t)) return;
  const terminal = new Terminal(t, [...run, "ls", "--color=auto", "/"], {
    cwd: folder(t),
    env: { ...process.env, TERM: "xterm-256color" },
  });
  t.is(await terminal.ended, 0);
  t.true(terminal.shown.includes("\u001b[0"));
});
