import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setupSkills } from "@anthropic-ai/sdk/tools/agent-toolset/node";
import type { SessionContext, SessionExtra } from "./extras.ts";
import { describe } from "./item.ts";

const mostFiles = 2000;
const mostBytes = 64 * 1024 * 1024;

/**
 * The skills of a session's agent (protocol.md 12): fetched and unpacked by the SDK into a folder of ours, then written
 * by the sandbox's own init into the workspace's `skills/`. One that fails is passed over with a warning.
 */
export class SkillsExtra implements SessionExtra {
  async prepare({ client, session, sandbox, log }: SessionContext): Promise<void> {
    if ((session.agent.skills ?? []).length === 0) return;
    const staging = mkdtempSync(join(tmpdir(), "holdfast-skills-"));
    try {
      await setupSkills({ workdir: staging, client, session });
      let files = 0;
      let bytes = 0;
      const root = join(staging, "skills");
      for (const name of readdirSync(root, { recursive: true, encoding: "utf8" }).sort()) {
        const path = join(root, name);
        const status = statSync(path);
        if (!status.isFile()) continue;
        files++;
        bytes += status.size;
        if (files > mostFiles || bytes > mostBytes) throw new Error("the skills are larger than is taken");
        const inside = `${sandbox.workdir}/skills/${name}`;
        const outcome = await sandbox.files.write(inside, readFileSync(path), { roots: [sandbox.workdir] });
        if (outcome.kind !== "written") throw new Error(`skills/${name} could not be written (${outcome.kind})`);
        if ((status.mode & 0o111) !== 0) await sandbox.exec("chmod", ["0755", "--", inside]);
      }
      log.info({ session: session.id, files }, "skills are in place");
    } catch (error) {
      log.warn({ session: session.id, error: describe(error) }, "a skill was passed over");
    } finally {
      rmSync(staging, { recursive: true, force: true });
    }
  }

  async afterCall(): Promise<void> {}

  async finish(): Promise<void> {}
}
