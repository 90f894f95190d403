import type { Denial, Unreached } from "../sandbox/types.ts";
import type { Guarded } from "../secrets/leak-guard.ts";
import type { ToolRunner } from "../tools/toolset.ts";
import type { SessionFolders } from "./session-folders.ts";

/** Where one session's calls run: a sandbox of its own with the tools in it. */
export interface SessionPlace {
  /** For logs. */
  readonly name: string;
  /** The workspace's path inside. */
  readonly workdir: string;
  readonly tools: ToolRunner;
  readonly folders: SessionFolders;
  /** For logs: what else is worth saying of it when it is claimed. */
  readonly about: Readonly<Record<string, unknown>>;
  /** What of a text may leave this host, by the policy's leak guard. */
  check(text: string): Promise<Guarded>;
  /** What was refused since the last look. */
  takeDenials(): readonly Denial[];
  /** What was permitted since the last look, and led nowhere. */
  takeUnreached(): readonly Unreached[];
  /** Ends the tools and every process inside. What was written stays until `dispose`. */
  end(): Promise<void>;
  /** After `end`: takes files out by the rules. */
  extract(): Promise<void>;
  dispose(): Promise<void>;
}

export interface PlaceRequest {
  readonly sessionId: string;
  /** Folders outside the workspace that the session needs, private to it and empty. */
  readonly privateFolders: readonly string[];
  /** Folders in which `write` and `edit` refuse. */
  readonly readOnlyFolders: readonly string[];
}

/** Makes places. */
export interface PlaceMaker {
  /** The workspace's path in each of them, unless there are no namespaces: then a private layer is where it is. */
  readonly workdir: string;
  open(request: PlaceRequest): Promise<SessionPlace>;
}
