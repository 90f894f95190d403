import type { ConfinedProcess } from "../sandbox/process.ts";
import type { TerminalRelay } from "./terminal.ts";

/**
 * Passed on to the command; a second SIGINT ends it. Not those that tell of a fault of our own (SIGSEGV and its like), of
 * our descriptors and children (SIGPIPE, SIGCHLD, SIGXFSZ), SIGUSR1 where it is ours (it kills the network), and
 * the real-time ones, which Node has no names for.
 */
const forwarded: readonly NodeJS.Signals[] = [
  "SIGINT",
  "SIGTERM",
  "SIGHUP",
  "SIGQUIT",
  "SIGUSR2",
  "SIGALRM",
  "SIGVTALRM",
  "SIGPROF",
  "SIGXCPU",
  "SIGURG",
  "SIGIO",
  "SIGPWR",
  "SIGABRT",
  "SIGTRAP",
  "SIGSYS",
];

/** What a terminal stops a job with. A command that sends itself a SIGSTOP stops itself alone. */
const terminalStops: readonly NodeJS.Signals[] = ["SIGTSTP", "SIGTTIN", "SIGTTOU"];

/** Signals and stops between the shell that started us and the command: each hears of the other's, as if we were not there. */
export class JobControl {
  /** Resolves at a signal that asks us to end although the command has ended already. */
  readonly dismissed: Promise<void>;
  /** Where the command has a terminal. */
  relay: TerminalRelay | undefined;
  readonly #child: ConfinedProcess;
  readonly #handlers = new Map<NodeJS.Signals, () => void>();
  #dismiss: () => void = () => {};
  #interrupts = 0;
  #wanted = false;
  #stopped = false;

  /** @param hasNetwork whether SIGUSR1 is ours */
  constructor(child: ConfinedProcess, hasNetwork: boolean) {
    this.#child = child;
    this.dismissed = new Promise((resolve) => {
      this.#dismiss = resolve;
    });
    for (const signal of hasNetwork ? forwarded : [...forwarded, "SIGUSR1" as const])
      this.#handlers.set(signal, () => this.#forward(signal));
    // With a terminal of its own the command hears of a new size from that.
    this.#handlers.set("SIGWINCH", () => {
      if (this.relay === undefined) this.#child.kill("SIGWINCH");
    });
    this.#handlers.set("SIGTSTP", () => this.#stopChild());
    this.#handlers.set("SIGCONT", () => this.#goOn());
    for (const [signal, handler] of this.#handlers) process.on(signal, handler);
    child.on("stopped", (signal: NodeJS.Signals) => this.#onStopped(signal));
  }

  close(): void {
    for (const [signal, handler] of this.#handlers) process.off(signal, handler);
  }

  #forward(signal: NodeJS.Signals): void {
    if (this.#child.hasEnded) this.#dismiss();
    else if (signal === "SIGINT" && ++this.#interrupts > 1) this.#child.kill("SIGKILL");
    else this.#child.kill(signal);
  }

  /** Somebody stops us: the command first. Without a terminal it has no shell above it, and would not heed a SIGTSTP. */
  #stopChild(): void {
    this.#wanted = true;
    if (!this.#child.kill(this.relay === undefined ? "SIGSTOP" : "SIGTSTP")) this.#stop(false);
  }

  /** The command was stopped (Ctrl-Z on its terminal): so are we, for the shell that started us. */
  #onStopped(signal: NodeJS.Signals): void {
    const wanted = this.#wanted;
    if (wanted || (this.relay !== undefined && terminalStops.includes(signal))) this.#stop(!wanted);
  }

  /** @param group the rest of our job as well, which a Ctrl-Z on our own terminal would have reached */
  #stop(group: boolean): void {
    this.#wanted = false;
    this.#stopped = true;
    this.relay?.giveBack();
    const handler = this.#handlers.get("SIGTSTP");
    if (handler !== undefined) process.off("SIGTSTP", handler);
    process.kill(group ? 0 : process.pid, "SIGTSTP");
    // Runs once we go on; at once where there is no shell to stop for (an orphaned process group is not stopped).
    setTimeout(() => {
      if (this.#stopped) this.#goOn();
    }, 0);
  }

  #goOn(): void {
    if (this.#stopped) {
      this.#stopped = false;
      const handler = this.#handlers.get("SIGTSTP");
      if (handler !== undefined) process.on("SIGTSTP", handler);
      this.relay?.take();
    }
    this.#child.kill("SIGCONT");
  }
}
