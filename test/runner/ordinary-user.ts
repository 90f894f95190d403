import { chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Identity, runCommand } from "./command.ts";

/** A checkout of an ordinary user's own. */
export interface OrdinaryCheckout {
  root: string;
  identity: Identity;
  remove: () => void;
}

/** The first account of a person, else `nobody`, which every system has. */
function ordinaryAccount(): { name: string; uid: number; gid: number } | undefined {
  const accounts = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .map((line) => line.split(":"))
    .map(([name = "", , uid = "", gid = ""]) => ({ name, uid: Number(uid), gid: Number(gid) }))
    .filter((account) => account.name !== "" && Number.isInteger(account.uid));
  return (
    accounts.find((account) => account.uid >= 1000 && account.uid < 60_000) ??
    accounts.find((account) => account.name === "nobody")
  );
}

/**
 * Root's checkout may stand where nobody else can read it, and must not be written to by others: so the second pass gets a
 * copy, in a folder of the user's own, as a clone of his would be. Under /var/tmp, because the sandbox has a /tmp of its own.
 */
export async function copyForOrdinaryUser(root: string): Promise<OrdinaryCheckout | string> {
  const account = ordinaryAccount();
  if (!account) return "/etc/passwd has neither an ordinary user nor nobody";
  const base = mkdtempSync(join(existsSync("/var/tmp") ? "/var/tmp" : "/tmp", "holdfast-user-"));
  const remove = (): void => rmSync(base, { recursive: true, force: true });
  const copy = join(base, "holdfast");
  const home = join(base, "home");
  chownSync(base, account.uid, account.gid);
  for (const folder of [copy, home]) mkdirSync(folder, { mode: 0o755 });
  const entries = readdirSync(root).filter((name) => name !== ".git");
  const copied = await runCommand("cp", ["-a", "--reflink=auto", "-t", copy, "--", ...entries], {
    cwd: root,
    limitMs: 90_000,
  });
  const shared = join(dirname(root), "shared");
  if (existsSync(shared)) cpSync(shared, join(base, "shared"), { recursive: true });
  const owned = await runCommand("chown", ["-R", "-h", `${account.uid}:${account.gid}`, base], {
    cwd: "/",
    limitMs: 60_000,
  });
  if (copied.exitCode !== 0 || owned.exitCode !== 0) {
    remove();
    return `the checkout could not be copied: ${copied.output}${owned.output}`;
  }
  return { root: copy, identity: { ...account, home }, remove };
}
