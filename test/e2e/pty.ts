import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import type { ExecutionContext } from "ava";

let built: string | null | undefined;

/** The terminal of terminal.c, compiled once per test process; null where there is no C compiler. */
function program(): string | null {
  if (built !== undefined) return built;
  const folder = mkdtempSync(join(tmpdir(), "holdfast-terminal-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const out = join(folder, "terminal");
  try {
    execFileSync("cc", ["-O1", "-o", out, join(import.meta.dirname, "terminal.c")], { stdio: "pipe" });
    built = out;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    built = null;
  }
  return built;
}

/** Says why and returns false where these tests cannot run. */
export function hasTerminal(t: ExecutionContext): boolean {
  if (program() !== null) return true;
  t.log("skipped: no C compiler (cc) for the terminal");
  t.pass();
  return false;
}

export interface TerminalSettings {
  readonly rows?: number;
  readonly columns?: number;
  /** Which of the three descriptors are the terminal; all when absent. */
  readonly on?: readonly (0 | 1 | 2)[];
  /** Where the others write. */
  readonly file?: string;
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
}

const limitMs = 40_000;

/** A command on a terminal, and what a person at it sees and types. */
export class Terminal {
  /** All that it has shown. */
  shown = "";
  /** The command's own wait status. */
  readonly ended: Promise<number>;
  readonly #child: ChildProcess;
  readonly #control: Readable & Writable;
  #replies = "";
  #seen = 0;
  #closed = false;
  #wake: Set<() => void> = new Set();

  constructor(t: ExecutionContext, command: readonly string[], settings: TerminalSettings) {
    const mask = (settings.on ?? [0, 1, 2]).reduce<number>((sum, fd) => sum + (1 << fd), 0);
    const place = [settings.rows ?? 24, settings.columns ?? 80, mask].map(String);
    this.#child = spawn(program() ?? "", [...place, settings.file ?? "/dev/null", ...command], {
      cwd: settings.cwd,
      env: settings.env ?? { ...process.env, TERM: "xterm", PS1: "$ ", HISTFILE: "" },
      stdio: ["pipe", "pipe", "inherit", "pipe"],
    });
    this.#control = this.#child.stdio[3] as Readable & Writable;
    this.#control.on("error", () => {});
    this.#child.stdin?.on("error", () => {});
    this.#child.stdout?.on("data", (chunk: Buffer) => {
      this.shown += chunk.toString();
      this.#look();
    });
    this.#control.on("data", (chunk: Buffer) => {
      this.#replies += chunk.toString();
      this.#look();
    });
    this.#child.once("close", () => {
      this.#closed = true;
      this.#look();
    });
    this.ended = this.#answer(/^exit (\d+)$/m).then((match) => Number(match[1]));
    this.ended.catch(() => {});
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), limitMs);
    t.teardown(() => {
      clearTimeout(timer);
      this.#control.destroy(); // hangs up
      this.#child.kill("SIGKILL");
    });
  }

  #look(): void {
    for (const wake of this.#wake) wake();
  }

  #await<Value>(find: () => Value | null, what: string): Promise<Value> {
    return new Promise((resolve, reject) => {
      const wake = (): void => {
        const found = find();
        if (found !== null) {
          this.#wake.delete(wake);
          resolve(found);
        } else if (this.#closed) {
          this.#wake.delete(wake);
          reject(
            new Error(`the terminal ended without ${what}; it showed: ${JSON.stringify(this.shown.slice(-2000))}`),
          );
        }
      };
      this.#wake.add(wake);
      wake();
    });
  }

  #answer(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#await(() => pattern.exec(this.#replies), String(pattern));
  }

  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Waits until what it shows, after what was waited for before, matches. */
  async until(pattern: RegExp): Promise<RegExpExecArray> {
    const match = await this.#await(() => pattern.exec(this.shown.slice(this.#seen)), String(pattern));
    this.#seen += match.index + match[0].length;
    return match;
  }

  async #ask(line: string, answer: RegExp): Promise<RegExpExecArray> {
    this.#replies = "";
    this.#control.write(`${line}\n`);
    return this.#answer(answer);
  }

  async resize(rows: number, columns: number): Promise<void> {
    await this.#ask(`size ${rows} ${columns}`, /^sized$/m);
  }

  /** The four flag words of its settings, in hex. */
  async settings(): Promise<string> {
    return (await this.#ask("settings", /^settings (.*)$/m))[1] ?? "";
  }

  /** Whether it makes lines and signals, as a shell leaves it. */
  async isCooked(): Promise<boolean> {
    const local = Number.parseInt((await this.settings()).split(" ")[3] ?? "", 16);
    return (local & 0o13) === 0o13; // ISIG, ICANON, ECHO
  }

  /** Stops reading what is shown. */
  async stall(): Promise<void> {
    await this.#ask("stall", /^stalled$/m);
  }

  hangUp(): void {
    this.#control.end();
  }
}
