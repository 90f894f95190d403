import { accessSync, chmodSync, constants, existsSync, lstatSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { HoldfastError } from "../errors.ts";
import { randomText } from "../native.ts";

function isOurs(folder: string): boolean {
  const status = lstatSync(folder, { throwIfNoEntry: false });
  return status?.isDirectory() === true && status.uid === uid() && (status.mode & 0o777) === 0o700;
}

function firstUsable(folders: readonly string[]): string {
  for (const folder of folders) {
    try {
      if (isOurs(folder)) return folder;
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      // In /tmp somebody else may have been first: what lies in a folder of theirs is theirs to replace.
      const status = lstatSync(folder);
      if (!status.isDirectory() || status.uid !== uid()) continue;
      chmodSync(folder, 0o700);
      return folder;
    } catch {
      // A home that is read-only or not there: the next place.
    }
  }
  throw new HoldfastError(`none of these folders can be made, or is this user's own: ${folders.join(", ")}`, {
    code: "ERR_HOLDFAST_OWN_FOLDER",
    step: "workspace",
    hint: "Set XDG_STATE_HOME and XDG_RUNTIME_DIR to folders of your own that you can write.",
  });
}

function uid(): number {
  return process.geteuid?.() ?? 0;
}

/** Where private layers of workspaces lie while their sandboxes live: on disk, since a build may fill gigabytes. */
export function privateRoot(): string {
  return firstUsable(privateRoots());
}

function privateRoots(): readonly string[] {
  const state = process.env["XDG_STATE_HOME"] ?? join(homedir(), ".local", "state");
  return [join(state, "holdfast", "sandboxes"), join(tmpdir(), `holdfast-${uid()}`, "sandboxes")];
}

/**
 * Where root makes folders for the users that its sandboxes run as: everybody may pass, nobody list. Not in a home of
 * root's, which nobody else may enter; what lies there outlives no sandbox.
 */
function sharedRoot(): string {
  const folder = sharedFolder();
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  const status = lstatSync(folder);
  // /var/tmp is everybody's: who was there first may be somebody else.
  if (!status.isDirectory() || status.uid !== 0) {
    throw new HoldfastError(`${folder} is not root's own folder`, {
      code: "ERR_HOLDFAST_OWN_FOLDER",
      step: "workspace",
      hint: "Remove what somebody else put there.",
    });
  }
  chmodSync(folder, 0o711);
  return folder;
}

/** The folders where others than `privateRoot` lie, where they are there and this user's own. */
export function otherRoots(): string[] {
  const shared = uid() === 0 ? lstatSync(sharedFolder(), { throwIfNoEntry: false }) : undefined;
  return [
    ...(shared?.isDirectory() === true && shared.uid === 0 ? [sharedFolder()] : []),
    ...(isOurs(shortFolder()) ? [shortFolder()] : []),
  ];
}

/** Where the private layer of a sandbox without namespaces lies: it reaches it by its own path. */
export function reachableRoot(who: { readonly uid: number }): string {
  return uid() === 0 && who.uid !== 0 ? sharedRoot() : privateRoot();
}

let runsThere: boolean | undefined;

/**
 * Where a sandbox without namespaces has its /tmp and its home. Their names are to be short, as those of sockets in them
 * have to be (107 bytes, unix(7)), which a home's may not be.
 */
export function shortRoot(who: { readonly uid: number }): string {
  if (uid() === 0 && who.uid !== 0) return sharedRoot();
  if (runsThere === false) return privateRoot();
  const root = firstUsable([shortFolder(), ...privateRoots()]);
  if (root === shortFolder()) runsThere ??= runsPrograms(root);
  return runsThere === false ? privateRoot() : root;
}

/** Whether what lies in a folder can be executed: hardened hosts mount /var/tmp otherwise (access(2)). */
function runsPrograms(folder: string): boolean {
  const probe = join(folder, `probe-${randomText(6)}`);
  writeFileSync(probe, "", { mode: 0o700, flag: "wx" });
  try {
    accessSync(probe, constants.X_OK);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(probe, { force: true });
  }
}

function shortFolder(): string {
  return `/var/tmp/holdfast-${uid()}`;
}

function sharedFolder(): string {
  return "/var/tmp/holdfast-shared";
}

/**
 * Where holdfast keeps what is its own, made or not: layers of running sandboxes, control sockets, the compiled code that
 * the next launcher runs, and the key that receipts are signed with. Covered wherever a session would see them.
 */
export function ownFolders(): string[] {
  const state = process.env["XDG_STATE_HOME"] ?? join(homedir(), ".local", "state");
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"); // as lib/cli/main.ts has it
  const runtime = process.env["XDG_RUNTIME_DIR"];
  return [
    join(state, "holdfast"),
    join(homedir(), ".local", "state", "holdfast"),
    join(cache, "holdfast"),
    join(process.env["XDG_CONFIG_HOME"] || join(homedir(), ".config"), "holdfast"), // as lib/audit/receipt-key.ts has it
    ...(runtime === undefined || runtime === "" ? [] : [join(runtime, "holdfast")]),
    `/run/user/${uid()}/holdfast`,
    join(tmpdir(), `holdfast-${uid()}`),
    shortFolder(),
    ...(uid() === 0 ? [sharedFolder()] : []),
  ];
}

/** Where control sockets may lie, best first. */
function runtimeFolders(): string[] {
  const runtime = process.env["XDG_RUNTIME_DIR"];
  return [
    ...(runtime === undefined || runtime === "" ? [] : [join(runtime, "holdfast")]),
    ...(existsSync(`/run/user/${uid()}`) ? [`/run/user/${uid()}/holdfast`] : []),
    `/dev/shm/holdfast-${uid()}`,
    join(tmpdir(), `holdfast-${uid()}`),
    // Last, because a socket's path must be short and a home's may be long.
    join(homedir(), ".local", "state", "holdfast", "run"),
  ];
}

/** Where this user's control sockets lie, also those of launchers that were started with other variables. */
export function runtimeRoots(): string[] {
  return [...new Set(runtimeFolders())].filter(isOurs);
}

/**
 * Where control sockets lie: in memory where there is such a place. On disk, a socket is the dearest part of a sandbox:
 * ext4 searches for an inode that was not used just before.
 */
export function runtimeRoot(): string {
  return firstUsable(runtimeFolders());
}
