import type { Policy } from "../policy/policy.ts";
import type { TrustFiles } from "./launch-plan.ts";
import { homeFolder, type Workspace } from "./workspace.ts";

const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Nobody's environment but the one built here: a few names that programs expect, then what the policy passes or sets. */
export function environment(
  policy: Policy,
  workspace: Workspace,
  trust: Pick<TrustFiles, "environment"> | null,
): Record<string, string> {
  return {
    PATH: path,
    HOME: homeFolder,
    USER: "sandbox",
    LOGNAME: "sandbox",
    SHELL: "/bin/bash",
    TMPDIR: "/tmp",
    LANG: "C.UTF-8",
    ...trust?.environment,
    ...workspace.environment,
    ...policy.environment.set,
  };
}
