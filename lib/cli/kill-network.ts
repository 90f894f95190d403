import { Command } from "commander";
import { askSandbox, reachableSandboxes, unknownSandbox } from "../sandbox/control-client.ts";
import { reportError } from "./report.ts";
import { usageError } from "./usage.ts";

interface KillOptions {
  readonly all?: boolean;
  readonly json?: boolean;
}

/** `holdfast kill-network`: cuts running sandboxes off, whoever launched them. */
export function killNetworkCommand(): Command {
  return new Command("kill-network")
    .description(
      "reset every connection of a running sandbox and refuse all further ones; it stays so until the sandbox ends",
    )
    .argument("[sandbox]", "its name, as `holdfast run --status-fd` and the audit records tell it")
    .option("--all", "every sandbox of this user, and those that their launchers make from now on")
    .option("--json", "print JSON")
    .action(async (name: string | undefined, options: KillOptions) => {
      process.exitCode = await killNetwork(name, options);
    });
}

async function killNetwork(name: string | undefined, { all = false, json = false }: KillOptions): Promise<number> {
  if ((name !== undefined) === all) {
    throw usageError(
      name === undefined ? "no sandbox was named" : `both ${name} and --all were given`,
      "Write holdfast kill-network SANDBOX, or holdfast kill-network --all.",
    );
  }
  const found = reachableSandboxes();
  const chosen = all ? found : found.filter((one) => one.name === name);
  // All at once: one that does not answer must not keep the others on the network.
  const asked = await Promise.allSettled(chosen.map((sandbox) => askSandbox(sandbox, { op: "kill-network", all })));
  const killed = asked.flatMap((outcome, at) => {
    const { name: of = "" } = chosen[at] ?? {};
    if (outcome.status === "rejected" || outcome.value === null) return [];
    return [{ name: of, connections: Number(outcome.value["connections"]) }];
  });
  const failed = asked.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
  if (name !== undefined && killed.length + failed.length === 0) throw unknownSandbox(name, found);
  if (json) process.stdout.write(`${JSON.stringify({ sandboxes: killed })}\n`);
  else if (failed.length === 0 || killed.length > 0) process.stdout.write(rendered(killed));
  return failed.reduce((_, error: unknown) => reportError(error, json), 0);
}

function rendered(killed: readonly { readonly name: string; readonly connections: number }[]): string {
  if (killed.length === 0) return "no sandbox of this user is running\n";
  return killed
    .map(({ name, connections: n }) => `${name}: the network is off, ${n} connection${n === 1 ? "" : "s"} reset\n`)
    .join("");
}
