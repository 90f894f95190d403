import type { ExtractRule } from "../policy/policy.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import type { WorkerLog } from "./log.ts";

/** Takes a session's files out by the rules, into a folder of its own. */
export async function extractFrom(_sandbox: Sandbox, _rules: readonly ExtractRule[], _to: string, sessionId: string, log: WorkerLog): Promise<void> {
  log.warn({ session: sessionId }, "extraction is not wired yet");
}
