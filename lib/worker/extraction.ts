import { accessSync, constants, existsSync, mkdirSync, rmdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { HoldfastError } from "../errors.ts";
import { inspectPath, isWithin } from "../host/paths.ts";
import type { ExtractRule } from "../policy/policy.ts";
import type { Manifest } from "../sandbox/extract.ts";
import { ExtractGlob } from "../sandbox/extract-glob.ts";
import type { LeakGuard } from "../secrets/leak-guard.ts";
import type { WorkerLog } from "./log.ts";

/** What files are taken out of; every process inside has ended. */
export interface Extractable {
  extract(rules: readonly ExtractRule[], to: string, options?: { readonly guard: LeakGuard }): Promise<Manifest>;
}

export interface Extraction {
  readonly rules: readonly ExtractRule[];
  /** A folder on the host; each session has one of its own in it. */
  readonly to: string;
}

/**
 * Checks before anything is claimed what would only be noticed when a session's work is done.
 *
 * @param workdir the workspace on the host
 * @throws HoldfastError ERR_HOLDFAST_BAD_GLOB, or ERR_HOLDFAST_USAGE when the folder lies in the workspace or cannot be
 * written to
 */
export function checkExtraction({ rules, to }: Extraction, workdir: string): void {
  for (const { glob } of rules) new ExtractGlob(glob);
  if (!isWithin(inspectPath(to).real, inspectPath(workdir).real)) {
    checkWritable(to);
    return;
  }
  throw new HoldfastError(`files cannot be extracted to ${to}: it lies in the workspace`, {
    code: "ERR_HOLDFAST_USAGE",
    step: "usage",
    path: to,
    hint: "Name a folder outside the workspace with --to: sessions may rearrange what is in it.",
  });
}

/**
 * Where receipts go: a folder that is made here.
 *
 * @throws HoldfastError ERR_HOLDFAST_USAGE when it lies in the workspace or cannot be written to
 */
export function checkReceiptFolder(folder: string, workdir: string): void {
  if (isWithin(inspectPath(folder).real, inspectPath(workdir).real)) {
    throw new HoldfastError(`receipts cannot go to ${folder}: it lies in the workspace`, {
      code: "ERR_HOLDFAST_USAGE",
      step: "usage",
      path: folder,
      hint: "Name a folder outside the workspace with --receipts: sessions may rearrange what is in it.",
    });
  }
  checkWritable(folder, "receipts cannot go", "--receipts");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
}

/** It is made when something leaves; that it cannot be is known before. */
function checkWritable(to: string, what = "files cannot be extracted", flag = "--to"): void {
  let folder = to;
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  let why: string | undefined;
  try {
    if (statSync(folder).isDirectory()) accessSync(folder, constants.W_OK | constants.X_OK);
    else why = `${folder} is no folder`;
  } catch (error) {
    why = `${folder} cannot be written to (${(error as NodeJS.ErrnoException).code})`;
  }
  if (why === undefined) return;
  throw new HoldfastError(`${what} to ${to}: ${why}`, {
    code: "ERR_HOLDFAST_USAGE",
    step: "usage",
    path: to,
    hint: `Name a folder with ${flag} that this user can write to, or make.`,
  });
}

/** Takes the files that the rules name out into the session's folder, and says what left and what was kept back. */
export async function extractSession(
  sandbox: Extractable,
  { rules, to }: Extraction,
  session: string,
  { log, guard }: { readonly log: WorkerLog; readonly guard?: LeakGuard },
): Promise<void> {
  const folder = join(to, folderName(session));
  const { files, keptBack, keptBackCount } = await sandbox.extract(
    rules,
    folder,
    ...(guard === undefined ? [] : [{ guard }]),
  );
  for (const { path, bytes, sha256, leaks } of files) {
    log.info({ session, path, bytes, sha256 }, "extracted");
    if (leaks !== undefined) log.warn({ session, path, found: leaks.join(", ") }, "an extracted file holds a secret");
  }
  for (const { path, reason } of keptBack) log.warn({ session, path, reason }, "not extracted");
  if (keptBackCount > keptBack.length) log.warn({ session, files: keptBackCount }, "not extracted, in all");
  if (files.length > 0) return;
  try {
    rmdirSync(folder);
  } catch {
    // It holds what an earlier item of the same session left there.
  }
}

/** A session's id as one component of a path, whatever the server calls it. */
export function folderName(session: string): string {
  return session.replace(/[^A-Za-z0-9_-]/g, (character) => `%${character.codePointAt(0)?.toString(16)}`) || "_";
}
