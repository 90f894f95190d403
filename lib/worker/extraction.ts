import { closeSync, constants, fchmodSync, fsyncSync, mkdirSync, openSync, renameSync } from "node:fs";
import { join } from "node:path";
import type { ExtractRule } from "../policy/policy.ts";
import { copyContent, discard, temporaryName } from "../sandbox/content.ts";
import { type BytePath, Directory, DirectoryChain, nameOf, parentOf, Walk } from "../sandbox/directory.ts";
import { displayPath } from "../sandbox/display-path.ts";
import { ExtractGlob } from "../sandbox/extract-glob.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import type { WorkerLog } from "./log.ts";

const mostFiles = 1000;
const mostBytes = 100 * 1024 * 1024;
const mostDepth = 32;

/**
 * Takes the files that a session made or changed, and that a rule names, out into `to/SESSION`. Regular files only: no
 * links, devices, sockets or set-id bits; each is written beside its place and renamed. The sandbox has ended.
 */
export async function extractFrom(
  sandbox: Sandbox,
  rules: readonly ExtractRule[],
  to: string,
  session: string,
  log: WorkerLog,
): Promise<void> {
  const set = await sandbox.changes();
  const globs = rules.map((rule) => ({
    glob: new ExtractGlob(rule.glob),
    filesLeft: rule.maxFiles ?? mostFiles,
    bytesLeft: rule.maxBytes ?? mostBytes,
  }));
  using root = Directory.at(set.upper, { ours: true });
  using chain = new DirectoryChain(root);
  const walk = new Walk(Number.POSITIVE_INFINITY);
  for (const change of set.changes) {
    const after = change.after;
    if (after?.type !== "file") continue;
    const shown = displayPath(change.path);
    const path = change.path.toString("latin1");
    const rule = globs.find(({ glob }) => glob.matches(change.path.toString("utf8")));
    if (rule === undefined) continue;
    if (path.split("/").length > mostDepth || rule.filesLeft <= 0 || Number(after.size) > rule.bytesLeft) {
      log.warn({ session, path: shown, bytes: Number(after.size) }, "not extracted: beyond the rule's limit");
      continue;
    }
    const { fd } = chain.reach(parentOf(path)).openFile(nameOf(path));
    try {
      const bytes = await place(fd, path, join(to, session), walk, rule.bytesLeft, after.mode);
      if (bytes === null) {
        log.warn({ session, path: shown }, "not extracted: it grew beyond the rule's limit");
        continue;
      }
      rule.filesLeft--;
      rule.bytesLeft -= bytes;
      log.info({ session, path: shown, bytes }, "extracted");
    } finally {
      closeSync(fd);
    }
  }
}

/** Copies one open file to its place below `folder`, whole or not at all; no link on the way is followed. */
async function place(
  from: number,
  path: BytePath,
  folder: string,
  walk: Walk,
  most: number,
  mode: number,
): Promise<number | null> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  let at = Directory.at(folder);
  try {
    for (const name of path.split("/").slice(0, -1)) {
      try {
        mkdirSync(at.at(name), { mode: 0o700 });
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
      }
      const next = at.open(name);
      at.close();
      at = next;
    }
    const temporary = temporaryName();
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const out = openSync(at.at(temporary), flags, 0o600);
    try {
      const bytes = await copyContent(from, out, walk, { mostBytes: most });
      if (bytes > most) return null;
      fchmodSync(out, (mode & 0o111) === 0 ? 0o600 : 0o700);
      fsyncSync(out);
      renameSync(at.at(temporary), at.at(nameOf(path)));
      return bytes;
    } finally {
      closeSync(out);
      discard(at, temporary);
    }
  } finally {
    at.close();
  }
}
