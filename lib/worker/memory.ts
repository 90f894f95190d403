import type { BetaManagedAgentsSession } from "@anthropic-ai/sdk/resources/beta/sessions/sessions";
import type { ExtraFolders, SessionContext, SessionExtra } from "./extras.ts";

/** Where a session's memory stores appear inside, outside the workspace. */
export function memoryFolders(_session: BetaManagedAgentsSession): ExtraFolders {
  return { writable: [], readOnly: [] };
}

/** The memory stores of a session (protocol.md 13). */
export class MemoryExtra implements SessionExtra {
  async prepare({ session }: SessionContext): Promise<void> {
    if (session.resources.some((resource) => resource.type === "memory_store")) {
      throw new Error("memory stores cannot be mounted yet");
    }
  }

  async afterCall(): Promise<void> {}

  async finish(): Promise<void> {}
}
