import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { ExecutionContext } from "ava";
import type { ChangeSet } from "../../lib/sandbox/changes.ts";
import { displayPath } from "../../lib/sandbox/display-path.ts";
import { removeTree } from "../../lib/sandbox/remove-tree.ts";
import { type LaunchHooks, Sandbox } from "../../lib/sandbox/sandbox.ts";
import type { SandboxOptions } from "../../lib/sandbox/types.ts";

/** A folder that goes when the test ends. */
export function scratchFolder(t: ExecutionContext): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-test-")));
  t.teardown(() => removeTree(folder));
  return folder;
}

/** Makes files (and, for names that end in a slash, folders) below a folder. */
export function makeFiles(folder: string, files: Readonly<Record<string, string | Uint8Array>>): string {
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    if (name.endsWith("/")) {
      mkdirSync(path, { recursive: true });
    } else {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
    }
  }
  return folder;
}

/** A workspace with these files, and a sandbox over it in which the script has run. */
export async function sessionOver(
  t: ExecutionContext,
  files: Readonly<Record<string, string | Uint8Array>>,
  script: string,
  options: Partial<SandboxOptions> & { hooks?: LaunchHooks } = {},
): Promise<{ sandbox: Sandbox; workspace: string }> {
  const workspace = options.workdir ?? makeFiles(join(scratchFolder(t), "project"), { "./": "", ...files });
  const { hooks, ...rest } = options;
  const sandbox = await Sandbox.create({ workspace: "overlay", ...rest, workdir: workspace }, hooks);
  t.teardown(() => sandbox.dispose());
  await runInside(sandbox, script);
  return { sandbox, workspace };
}

/** Runs a script of bash inside, which has to succeed. */
export async function runInside(sandbox: Sandbox, script: string): Promise<string> {
  const { stdout, stderr, exitCode, signal } = await sandbox.exec("bash", ["-euc", script]);
  if (exitCode !== 0) throw new Error(`the script ended with ${exitCode ?? signal}: ${stderr.toString()}`);
  return stdout.toString();
}

/** `kind path` for each change, as people see it. */
export function listed(set: ChangeSet): string[] {
  return set.changes.map(({ kind, path }) => `${kind} ${displayPath(path)}`);
}

/** Everything below a folder: path (quoted where it has to be), kind, permission bits and content. */
export function snapshot(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  const look = (below: Buffer): void => {
    const names = readdirSync(Buffer.concat([Buffer.from(`${folder}/`), below]), { encoding: "buffer" });
    for (const name of names.sort(Buffer.compare)) {
      const path = below.length === 0 ? name : Buffer.concat([below, Buffer.from("/"), name]);
      const whole = Buffer.concat([Buffer.from(`${folder}/`), path]);
      const status = lstatSync(whole);
      const mode = (status.mode & 0o7777).toString(8);
      const shown = displayPath(path);
      if (status.isSymbolicLink()) found[shown] = `-> ${readlinkSync(whole)}`;
      else if (status.isFile()) found[shown] = `${mode} ${readFileSync(whole, "latin1")}`;
      else if (status.isDirectory()) found[shown] = `${mode} /`;
      else found[shown] = "special";
      if (status.isDirectory()) look(path);
    }
  };
  look(Buffer.alloc(0));
  return found;
}

export const isRoot: boolean = process.geteuid?.() === 0;
