import type Anthropic from "@anthropic-ai/sdk";
import type { BetaManagedAgentsSession } from "@anthropic-ai/sdk/resources/beta/sessions/sessions";
import type { Sandbox } from "../sandbox/sandbox.ts";
import type { WorkerLog } from "./log.ts";

/** What a session brings along besides its calls: skills, memory stores. */
export interface SessionContext {
  readonly client: Anthropic;
  readonly session: BetaManagedAgentsSession;
  readonly sandbox: Sandbox;
  readonly log: WorkerLog;
  /** Whether the client speaks with a sessions token: memory stores accept nothing else. */
  readonly hasSessionsToken: boolean;
  readonly signal: AbortSignal;
}

export interface SessionExtra {
  /** Puts into the sandbox what the session needs, before its first call. A rejection fails the item. */
  prepare(context: SessionContext): Promise<void>;
  /** After each call. */
  afterCall(): Promise<void>;
  /** Before the sandbox ends; `clean` when the session ended by itself. */
  finish(clean: boolean): Promise<void>;
}

/** Folders outside the workspace that a session's resources want inside, known before its sandbox is made. */
export interface ExtraFolders {
  readonly writable: readonly string[];
  readonly readOnly: readonly string[];
}
