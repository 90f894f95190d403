import { isWithin } from "../host/paths.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import type { Denial, Unreached } from "../sandbox/types.ts";
import { type Guarded, type LeakGuard, leakWords } from "../secrets/leak-guard.ts";
import { createToolset, longestCallMs, type ToolResult, type ToolRunner } from "../tools/toolset.ts";
import type { WorkerLog } from "./log.ts";
import type { PlaceRequest, SessionPlace } from "./place.ts";
import { writeReceipt } from "./receipts.ts";
import { SandboxFolders, type SessionFolders } from "./session-folders.ts";

export interface SessionSandboxOptions {
  readonly log: WorkerLog;
  /** The tools that the policy offers; undefined: all of them. */
  readonly tools: readonly string[] | undefined;
  /** Takes files out; called when every process inside has ended. */
  readonly extract: (sessionId: string) => Promise<void>;
  /** The folder for receipts, where sandboxes leave any. */
  readonly receipts?: string | undefined;
}

/** One session's sandbox with its tools: taken from the pool, and gone with the session. */
export class SessionSandbox implements SessionPlace {
  readonly tools: ToolRunner;
  readonly folders: SessionFolders;
  readonly #sandbox: Sandbox;
  readonly #kept: Denial[] = [];
  readonly #request: PlaceRequest;
  readonly #options: SessionSandboxOptions;
  #guard: Promise<LeakGuard> | undefined;

  constructor(sandbox: Sandbox, request: PlaceRequest, options: SessionSandboxOptions) {
    this.#sandbox = sandbox;
    sandbox.session = request.sessionId;
    this.#request = request;
    this.#options = options;
    this.folders = new SandboxFolders(sandbox, (denials) => this.#kept.push(...denials));
    const { privateFolders, readOnlyFolders, sessionId } = request;
    const { wallTimeMs } = sandbox.policy.limits;
    const tools = createToolset(sandbox, {
      ...(wallTimeMs === undefined ? {} : { callTimeoutMs: Math.min(wallTimeMs, longestCallMs) }),
      roots: privateFolders.filter((root) => !isWithin(root, sandbox.workdir)),
      readOnlyRoots: readOnlyFolders,
      onInternalError: (tool, error) =>
        options.log.error({ session: sessionId, tool, error: String(error) }, "a tool failed"),
    });
    const offered =
      options.tools === undefined ? tools.names : tools.names.filter((name) => options.tools?.includes(name));
    this.tools = {
      ...tools,
      names: offered,
      run: async (name, input, signal) => {
        const result = await tools.run(name, input, signal);
        this.#noteLimit(result);
        sandbox.noteTool(name, result.isError);
        return this.#guarded(result, name);
      },
    };
  }

  async check(text: string): Promise<Guarded> {
    this.#guard ??= this.#sandbox.leakGuard();
    return (await this.#guard).check(text);
  }

  /** Nothing goes to the queue that the leak guard keeps back. */
  async #guarded(result: ToolResult, tool: string): Promise<ToolResult> {
    const { log } = this.#options;
    const { text, leaks } = await this.check(result.text);
    if (leaks.length === 0) return result;
    const found = leakWords(leaks);
    const action = text === null ? "block" : text === result.text ? "warn" : "redact";
    log.warn({ session: this.#request.sessionId, tool, found, action }, "a result holds a secret");
    if (text !== null) return { ...result, text };
    return { ...result, isError: true, text: `${tool}: the result holds ${found}, which does not leave this host` };
  }

  /** A limit is a wall too, and whoever runs the worker is to see which one was met. */
  #noteLimit({ text, isError }: ToolResult): void {
    const limit = isError ? /^[a-z]+: .*: the limit ([a-z-]+) was reached$/.exec(text)?.[1] : undefined;
    if (limit !== undefined) this.#kept.push({ kind: "limit", subject: limit, count: 1 });
  }

  get name(): string {
    return this.#sandbox.name;
  }

  get workdir(): string {
    return this.#sandbox.workdir;
  }

  get about(): Readonly<Record<string, unknown>> {
    return { uid: this.#sandbox.plan.identity.hostUid };
  }

  takeDenials(): readonly Denial[] {
    return [...this.#kept.splice(0), ...this.#sandbox.takeDenials()];
  }

  takeUnreached(): readonly Unreached[] {
    return this.#sandbox.takeUnreached();
  }

  async end(): Promise<void> {
    await this.tools.close();
    await this.#sandbox.end();
  }

  async extract(): Promise<void> {
    await this.#options.extract(this.#request.sessionId);
  }

  async dispose(): Promise<void> {
    await this.#sandbox.dispose();
    const { receipts, log } = this.#options;
    if (receipts !== undefined) writeReceipt(this.#sandbox, this.#request.sessionId, receipts, log);
  }
}
