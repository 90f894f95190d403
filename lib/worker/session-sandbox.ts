import { isWithin } from "../host/paths.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import type { Denial } from "../sandbox/types.ts";
import { createToolset, type ToolRunner } from "../tools/toolset.ts";
import type { WorkerLog } from "./log.ts";

/** One session's sandbox with its tools: taken from the pool, and gone with the session. */
export class SessionSandbox {
  readonly sandbox: Sandbox;
  readonly tools: ToolRunner;
  readonly #log: WorkerLog;
  readonly #session: string;
  refused = 0;

  constructor(sandbox: Sandbox, session: string, log: WorkerLog, roots: readonly string[], readOnlyRoots: readonly string[]) {
    this.sandbox = sandbox;
    this.#session = session;
    this.#log = log;
    this.tools = createToolset(sandbox, {
      roots: roots.filter((root) => !isWithin(root, sandbox.workdir)),
      readOnlyRoots,
      onInternalError: (tool, error) => log.error({ session, tool, error: String(error) }, "tool failed"),
    });
  }

  /** Writes down what was refused since the last call. */
  logDenials(): void {
    for (const denial of this.sandbox.takeDenials()) {
      this.refused += denial.count;
      this.#log.warn({ session: this.#session, ...describe(denial) }, "refused");
    }
  }

  async close(): Promise<void> {
    await this.tools.close();
    this.logDenials();
    await this.sandbox.end();
  }
}

function describe({ kind, subject, count }: Denial): Record<string, unknown> {
  return { kind, subject, count };
}
