import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fsync,
  mkdirSync,
  mkdtempSync,
  openSync,
  realpathSync,
  renameSync,
  rmdirSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { HoldfastError } from "../errors.ts";
import { isWithin } from "../host/paths.ts";
import type { ExtractRule } from "../policy/policy.ts";
import { copyContent, discard, temporaryName } from "./content.ts";
import { type BytePath, Directory, DirectoryChain, errnoOf, nameOf, parentOf, toBytes, Walk } from "./directory.ts";
import { displayPath } from "./display-path.ts";
import { ExtractGlob } from "./extract-glob.ts";
import { matchProtected } from "./protected-match.ts";
import { forgetLeftover, registerLeftover } from "./reaper.ts";
import { type SessionFile, type SessionSource, visitAllFiles, visitChangedFiles } from "./session-files.ts";

/** What may leave. */
export interface ExtractOptions {
  /** Names that never leave (`policy.protectedNames.names`): a program at the other end would act on them. */
  readonly protectedNames: readonly string[];
  /** `changed` (the default): what the session added or modified. `all`: every file that it could see. */
  readonly files?: "changed" | "all";
}

/** One file that left. */
export interface ExtractedFile {
  /** Relative to the workspace, and to where it was put. */
  readonly path: string;
  /** Its size. */
  readonly bytes: number;
  /** Of the bytes that were written, in hexadecimal. */
  readonly sha256: string;
  /** Permission bits. */
  readonly mode: number;
}

/** What a rule asked for and did not get, and why. */
export interface KeptBack {
  /** For people: quoted where it holds characters that cannot be printed. */
  readonly path: string;
  /** For people. */
  readonly reason: string;
}

/** What left, and what did not. */
export interface Manifest {
  /** The folder that the files were put in. */
  readonly to: string;
  /** In the order of their paths. */
  readonly files: readonly ExtractedFile[];
  /** Of all of them. */
  readonly totalBytes: number;
  /** The first thousand. */
  readonly keptBack: readonly KeptBack[];
  /** Of all that was kept back. */
  readonly keptBackCount: number;
}

/** A rule that says no number of its own has these. */
export const defaultExtractLimits: { readonly maxFiles: number; readonly maxBytes: number } = Object.freeze({
  maxFiles: 1000,
  maxBytes: 100 * 1024 * 1024,
});

const deepestPath = 64;
const mostKeptBack = 1000;
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
const flush = promisify(fsync);

/**
 * Copies files out of a session, by rule: regular files that match a glob and nothing else. Never a link, a device, a
 * fifo, a socket, a set-id file, a file with further names outside the workspace, a protected name, or a name that is
 * not printable UTF-8. Each is written to a temporary folder and renamed into place; links at the destination are
 * not followed, and a file that is there already is replaced. The sandbox may still run.
 *
 * @param to made if it is not there; it may not lie in the workspace
 * @throws HoldfastError ERR_HOLDFAST_BAD_GLOB, ERR_HOLDFAST_EXTRACT
 */
export async function extractFiles(
  source: SessionSource,
  rules: readonly ExtractRule[],
  to: string,
  options: ExtractOptions,
): Promise<Manifest> {
  const counted = rules.map((rule) => new CountedRule(rule));
  const folder = destination(to, source);
  const temporary = mkdtempSync(join(folder, ".holdfast-extract-"));
  await registerLeftover("tree", temporary);
  try {
    using extraction = new Extraction(counted, folder, temporary, options.protectedNames);
    const enter = (path: BytePath): boolean => counted.some((rule) => rule.reaches(path));
    const all = options.files === "all";
    await (all ? visitAllFiles : visitChangedFiles)(source, (file) => extraction.offer(file), enter);
    await extraction.settleLinked(source);
    return extraction.manifest();
  } finally {
    rmdirSync(temporary);
    await forgetLeftover("tree", temporary);
  }
}

function destination(to: string, source: SessionSource): string {
  const fail = (why: string, hint: string, cause?: unknown): HoldfastError => {
    const errno = errnoOf(cause);
    return new HoldfastError(`files cannot be extracted to ${to}: ${why}`, {
      code: "ERR_HOLDFAST_EXTRACT",
      step: "workspace",
      path: to,
      hint,
      ...(errno === undefined ? {} : { errno }),
      cause,
    });
  };
  let real: string;
  try {
    mkdirSync(to, { recursive: true });
    real = realpathSync(to);
  } catch (error) {
    throw fail(
      `it cannot be made (${errnoOf(error) ?? String(error)})`,
      "Name a folder that you may write, with --to.",
      error,
    );
  }
  const inside = source.kind === "folder" ? [source.folder] : [source.lower, source.upper];
  if (inside.some((folder) => folder !== null && isWithin(real, folder))) {
    throw fail("it lies in the workspace, which the session may rearrange", "Name a folder outside it with --to.");
  }
  return real;
}

/** A rule and what it has let out so far. */
class CountedRule {
  readonly #glob: ExtractGlob;
  readonly #maxFiles: number;
  readonly #maxBytes: number;
  #files = 0;
  #bytes = 0;

  constructor(rule: ExtractRule) {
    this.#glob = new ExtractGlob(rule.glob);
    this.#maxFiles = rule.maxFiles ?? defaultExtractLimits.maxFiles;
    this.#maxBytes = rule.maxBytes ?? defaultExtractLimits.maxBytes;
  }

  matches(path: BytePath): boolean {
    return this.#glob.matches(toBytes(path).toString());
  }

  /** Whether anything below a folder can match. */
  reaches(path: BytePath): boolean {
    let state = this.#glob.start();
    for (const name of toBytes(path).toString().split("/")) state = this.#glob.step(state, name);
    return state.length > 0;
  }

  get bytesLeft(): number {
    return this.#files < this.#maxFiles ? this.#maxBytes - this.#bytes : -1;
  }

  get limit(): string {
    return this.#files >= this.#maxFiles ? `${this.#maxFiles} files` : `${this.#maxBytes} bytes`;
  }

  count(bytes: number): void {
    this.#files++;
    this.#bytes += bytes;
  }
}

class Extraction {
  readonly #rules: readonly CountedRule[];
  readonly #to: string;
  readonly #root: Directory;
  readonly #chain: DirectoryChain;
  readonly #temporary: Directory;
  readonly #protectedNames: readonly string[];
  readonly #walk = new Walk(Number.POSITIVE_INFINITY);
  readonly #files: ExtractedFile[] = [];
  readonly #keptBack: KeptBack[] = [];
  /** Inodes with further names, by device and number: how many of them were seen in the workspace. */
  readonly #linked = new Map<string, { seen: number; names: number; paths: Set<BytePath> }>();
  #keptBackCount = 0;
  #totalBytes = 0;

  constructor(rules: readonly CountedRule[], to: string, temporary: string, protectedNames: readonly string[]) {
    this.#rules = rules;
    this.#to = to;
    this.#root = Directory.at(to);
    this.#chain = new DirectoryChain(this.#root);
    this.#temporary = Directory.at(temporary);
    this.#protectedNames = protectedNames;
  }

  [Symbol.dispose](): void {
    this.#chain.close();
    this.#root.close();
    this.#temporary.close();
  }

  manifest(): Manifest {
    return {
      to: this.#to,
      files: this.#files,
      totalBytes: this.#totalBytes,
      keptBack: this.#keptBack,
      keptBackCount: this.#keptBackCount,
    };
  }

  /** Takes the file if a rule asks for it and nothing speaks against it. */
  async offer(file: SessionFile, linksKnown = false): Promise<void> {
    const matching = this.#rules.filter((rule) => rule.matches(file.path));
    if (matching.length === 0) return;
    const fault = this.#fault(file);
    if (fault !== null) return this.#keepBack(file.path, fault);
    if (!file.isPrivate && file.entry.names > 1 && !linksKnown) {
      const { names } = file.entry;
      const known = this.#linked.get(inodeOf(file)) ?? { seen: 0, names, paths: new Set() };
      known.paths.add(file.path);
      this.#linked.set(inodeOf(file), known);
      return; // decided when all of the workspace was seen
    }
    const rule = matching.find(({ bytesLeft }) => bytesLeft >= file.entry.size);
    if (rule === undefined) return this.#keepBack(file.path, `the rule lets out no more than ${matching[0]?.limit}`);
    try {
      await this.#take(file, rule);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === undefined) throw error;
      this.#keepBack(file.path, faultOf(errno));
    }
  }

  /** Files with several names leave when all of these lie in the workspace. */
  async settleLinked(source: SessionSource): Promise<void> {
    if (this.#linked.size === 0) return;
    const everywhere = (): boolean => true;
    const count = (file: SessionFile): void => {
      const known = this.#linked.get(inodeOf(file));
      if (known !== undefined) known.seen++;
    };
    // In the real folder alone: what hides there behind the upper layer is in the workspace all the same.
    const real: SessionSource =
      source.kind === "folder" || source.lower === null
        ? source
        : { kind: "folder", folder: source.lower, isPrivate: false };
    await visitAllFiles(real, count, everywhere);
    await visitAllFiles(
      real,
      async (file) => {
        const known = this.#linked.get(inodeOf(file));
        if (!known?.paths.has(file.path)) return;
        if (known.seen >= file.entry.names) return this.offer(file, true);
        this.#keepBack(file.path, "it has further names outside the workspace (hard links)");
      },
      everywhere,
    );
  }

  #fault({ path, entry }: SessionFile): string | null {
    const bytes = toBytes(path);
    if (entry.type !== "file") return `it is a ${entry.type}`;
    if (!isUtf8(bytes) || displayPath(bytes) !== bytes.toString()) return "its name is not printable UTF-8";
    const match = matchProtected(path, this.#protectedNames);
    if (match?.kind === "inside") return `${match.name} is a protected name`;
    if (match?.kind === "above") return `it would lead the protected name ${match.name} elsewhere`;
    if ((entry.mode & 0o6000) !== 0) return "it is set-user-id or set-group-id";
    if (path.split("/").length > deepestPath) return `it lies more than ${deepestPath} folders deep`;
    return null;
  }

  #keepBack(path: BytePath, reason: string): void {
    this.#keptBackCount++;
    if (this.#keptBack.length < mostKeptBack) this.#keptBack.push({ path: displayPath(toBytes(path)), reason });
  }

  async #take(file: SessionFile, rule: CountedRule): Promise<void> {
    const source = file.folder.openFile(file.name);
    try {
      // What is open now is what counts: the name may have been given to another file since.
      if (source.entry.inode !== file.entry.inode || (source.entry.mode & 0o6000) !== 0) {
        return this.#keepBack(file.path, "it was exchanged while it was looked at");
      }
      const temporary = temporaryName();
      const fd = openSync(this.#temporary.at(temporary), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
      try {
        const hash = createHash("sha256");
        const mode = (file.entry.mode & 0o755) | 0o600;
        let bytes: number;
        try {
          const mostBytes = rule.bytesLeft;
          bytes = await copyContent(source.fd, fd, this.#walk, { mostBytes, onChunk: (chunk) => hash.update(chunk) });
          if (bytes > mostBytes) return this.#keepBack(file.path, `the rule lets out no more than ${rule.limit}`);
          fchmodSync(fd, mode);
          await flush(fd);
        } finally {
          closeSync(fd);
        }
        const folder = this.#reach(parentOf(file.path));
        renameSync(this.#temporary.at(temporary), folder.at(nameOf(file.path)));
        rule.count(bytes);
        this.#totalBytes += bytes;
        this.#files.push({ path: toBytes(file.path).toString(), bytes, sha256: hash.digest("hex"), mode });
      } finally {
        discard(this.#temporary, temporary);
      }
    } finally {
      closeSync(source.fd);
    }
  }

  /** The folder at the destination, made where it is missing. @throws ELOOP or ENOTDIR where a link is in its place */
  #reach(path: BytePath): Directory {
    const parts = path === "" ? [] : path.split("/");
    for (let depth = 1; depth <= parts.length; depth++) {
      const at = parts.slice(0, depth).join("/");
      const above = this.#chain.reach(parentOf(at));
      try {
        this.#chain.reach(at);
      } catch (error) {
        if (errnoOf(error) !== "ENOENT") throw error;
        mkdirSync(above.at(nameOf(at)));
      }
    }
    return this.#chain.reach(path);
  }
}

function inodeOf({ entry }: SessionFile): string {
  return `${entry.device}:${entry.inode}`;
}

function faultOf(errno: string): string {
  if (errno === "ELOOP" || errno === "ENOTDIR")
    return "a link or a file stands where a folder is wanted; links are not followed";
  if (errno === "EISDIR" || errno === "ENOTEMPTY" || errno === "EEXIST")
    return "a folder of that name is at the destination";
  if (errno === "EACCES" || errno === "EPERM") return "it cannot be read here, or not be written there";
  if (errno === "ENOSPC" || errno === "EDQUOT") return "the disk of the destination is full";
  return `it could not be copied (${errno})`;
}
