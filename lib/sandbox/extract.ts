import { isUtf8 } from "node:buffer";
import { createHash } from "node:crypto";
import { closeSync, fchmodSync, fsync } from "node:fs";
import { promisify } from "node:util";
import { HoldfastError } from "../errors.ts";
import type { ExtractRule } from "../policy/policy.ts";
import type { LeakGuard } from "../secrets/leak-guard.ts";
import { byPlace, copyContent } from "./content.ts";
import { type BytePath, errnoOf, toBytes, Walk } from "./directory.ts";
import { displayPath } from "./display-path.ts";
import { Destination, type StagedFile } from "./extract-destination.ts";
import { CountedRule, type ExtractLimits, NamedPaths } from "./extract-rule.ts";
import { contentCheck } from "./extract-type.ts";
import { matchProtected } from "./protected-match.ts";
import { type SessionFile, type SessionSource, visitAllFiles, visitChangedFiles } from "./session-files.ts";

/** What may leave. */
export interface ExtractOptions {
  /** Names that never leave (`policy.protectedNames.names`): a program at the other end would act on them. */
  readonly protectedNames: readonly string[];
  /** `changed` (the default): what the session added or modified. `all`: every file that it could see. */
  readonly files?: "changed" | "all";
  /** Nothing is written: what would leave, with its hash. */
  readonly dryRun?: boolean;
  /** Looks for secrets in what leaves. */
  readonly guard?: LeakGuard;
  /** Ends it with its reason; nothing has left then. */
  readonly signal?: AbortSignal;
}

/** Files by their names. */
export interface ExtractPathsOptions extends ExtractOptions, ExtractLimits {
  /** One of these rules (`policy.extract`) has to name each file as well, and counts it; none: no rule has to. */
  readonly within: readonly ExtractRule[];
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
  /** What it holds that looks like a key, where the leak guard only warns of that. */
  readonly leaks?: readonly string[];
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

const deepestPath = 64;
const mostKeptBack = 1000;
const mostNamedFaults = 10;
const flush = promisify(fsync);

/**
 * Copies files out of a session, by rule: regular files that match a glob and nothing else. Never a link, a device, a
 * fifo, a socket, a set-id file, a file with further names outside the workspace, a protected name, or a name that is
 * not printable UTF-8. All are put into place when all are complete; links at the destination are not followed, and a
 * file that is there already is replaced. The sandbox may still run.
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
  const extraction = new Extraction(rules.map(CountedRule.of), null, null, options);
  return await extraction.run(source, to);
}

/**
 * As `extractFiles`, by name: each path with all that lies below it. A named file that cannot leave, a path with nothing
 * there and a limit that is met are errors, and then nothing has left; what is kept back below a named folder is listed.
 *
 * @param paths relative to the workspace; the empty one is all of it
 */
export async function extractPaths(
  source: SessionSource,
  paths: readonly string[],
  to: string,
  options: ExtractPathsOptions,
): Promise<Manifest> {
  const named = new NamedPaths(paths.map((path) => Buffer.from(path).toString("latin1")));
  const within = options.within.length === 0 ? null : options.within.map(CountedRule.of);
  const extraction = new Extraction([new CountedRule(named, options)], within, named, options);
  return await extraction.run(source, to);
}

class Extraction {
  readonly #rules: readonly CountedRule[];
  /** Of these one has to let each file out as well. */
  readonly #within: readonly CountedRule[] | null;
  /** What was asked for by name: that it cannot leave is an error. */
  readonly #named: NamedPaths | null;
  readonly #options: ExtractOptions;
  readonly #walk = new Walk(Number.POSITIVE_INFINITY);
  #destination: Destination | null = null;
  readonly #staged: (StagedFile & { readonly file: ExtractedFile })[] = [];
  readonly #keptBack: KeptBack[] = [];
  readonly #namedFaults: KeptBack[] = [];
  /** Inodes with further names, by device and number: how many of them were seen in the workspace. */
  readonly #linked = new Map<string, { seen: number; names: number; paths: Set<BytePath> }>();
  #keptBackCount = 0;

  constructor(
    rules: readonly CountedRule[],
    within: readonly CountedRule[] | null,
    named: NamedPaths | null,
    options: ExtractOptions,
  ) {
    this.#rules = rules;
    this.#within = within;
    this.#named = named;
    this.#options = options;
  }

  async run(source: SessionSource, to: string): Promise<Manifest> {
    const workspace = source.kind === "folder" ? [source.folder] : [source.lower, source.upper];
    const { files, dryRun } = this.#options;
    this.#destination =
      dryRun === true
        ? null
        : await Destination.open(
            to,
            workspace.filter((folder) => folder !== null),
          );
    try {
      const enter = (path: BytePath): boolean => this.#rules.some(({ selection }) => selection.reaches(path));
      await (files === "all" ? visitAllFiles : visitChangedFiles)(source, (file) => this.#offer(file), enter);
      await this.#settleLinked(source);
      this.#refuseNamed();
      this.#options.signal?.throwIfAborted();
      const left = this.#publish();
      return {
        to: this.#destination?.path ?? to,
        files: left,
        totalBytes: left.reduce((sum, { bytes }) => sum + bytes, 0),
        keptBack: this.#keptBack,
        keptBackCount: this.#keptBackCount,
      };
    } finally {
      await this.#destination?.close();
    }
  }

  #publish(): ExtractedFile[] {
    const failed = new Set<BytePath>();
    this.#destination?.publish(this.#staged, (path, errno) => {
      failed.add(path);
      this.#keepBack(path, faultOf(errno));
      if (this.#named === null) return;
      this.#namedFaults.push({ path: this.#shown(path), reason: faultOf(errno) });
      this.#refuseNamed();
    });
    return this.#staged.filter(({ path }) => !failed.has(path)).map(({ file }) => file);
  }

  /** Takes the file if a rule asks for it and nothing speaks against it. */
  async #offer(file: SessionFile, linksKnown = false): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const { path, entry } = file;
    const matching = this.#rules.filter(({ selection }) => selection.matches(path));
    if (matching.length === 0) return;
    const fault = this.#fault(file);
    if (fault !== null) return this.#keepBack(path, fault);
    if (!file.isPrivate && entry.names > 1 && !linksKnown) {
      const known = this.#linked.get(inodeOf(file)) ?? { seen: 0, names: entry.names, paths: new Set() };
      known.paths.add(path);
      this.#linked.set(inodeOf(file), known);
      return; // decided when all of the workspace was seen
    }
    const permitting = this.#within?.filter(({ selection }) => selection.matches(path));
    if (permitting?.length === 0) return this.#keepBack(path, "no extract rule of the policy names it");
    const chosen: CountedRule[] = [];
    for (const candidates of permitting === undefined ? [matching] : [matching, permitting]) {
      const fitting = candidates.filter((rule) => rule.fault(path) === null);
      if (fitting.length === 0) return this.#keepBack(path, candidates[0]?.fault(path) ?? "");
      const rule = fitting.find(({ bytesLeft }) => bytesLeft >= entry.size);
      if (rule === undefined) return this.#beyond(path, fitting[0]?.limit ?? "");
      chosen.push(rule);
    }
    try {
      await this.#take(file, chosen);
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === undefined) throw error;
      this.#keepBack(path, faultOf(errno));
    }
  }

  /** Files with several names leave when all of these lie in the workspace. */
  async #settleLinked(source: SessionSource): Promise<void> {
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
        if (known.seen >= file.entry.names) return this.#offer(file, true);
        this.#keepBack(file.path, "it has further names outside the workspace (hard links)");
      },
      everywhere,
    );
  }

  #fault({ path, entry }: SessionFile): string | null {
    const bytes = toBytes(path);
    if (entry.type !== "file") return `it is a ${entry.type}`;
    if (!isUtf8(bytes) || displayPath(bytes) !== bytes.toString()) return "its name is not printable UTF-8";
    const match = matchProtected(path, this.#options.protectedNames);
    if (match?.kind === "inside") return `${match.name} is a protected name`;
    if (match?.kind === "above") return `it would lead the protected name ${match.name} elsewhere`;
    if ((entry.mode & 0o6000) !== 0) return "it is set-user-id or set-group-id";
    if (path.split("/").length > deepestPath) return `it lies more than ${deepestPath} folders deep`;
    return null;
  }

  /** A name is the session's to choose as well. */
  #shown(path: BytePath): string {
    const shown = displayPath(toBytes(path));
    return this.#options.guard?.clean(shown) ?? shown;
  }

  #keepBack(path: BytePath, reason: string): void {
    const kept = { path: this.#shown(path), reason };
    this.#keptBackCount++;
    if (this.#keptBack.length < mostKeptBack) this.#keptBack.push(kept);
    if (this.#named?.isNamed(path)) this.#namedFaults.push(kept);
  }

  /** A limit is met. @throws HoldfastError ERR_HOLDFAST_EXTRACT where files were named: these leave together or not */
  #beyond(path: BytePath, limit: string): void {
    if (this.#named === null) {
      this.#keepBack(path, `the rule lets out no more than ${limit}`);
      return;
    }
    throw new HoldfastError(`nothing was extracted: with ${this.#shown(path)} it would be more than ${limit}`, {
      code: "ERR_HOLDFAST_EXTRACT",
      step: "workspace",
      hint: "Name fewer files, or permit more: --max-files and --max-bytes, or the policy's extract rule.",
    });
  }

  /** @throws HoldfastError ERR_HOLDFAST_EXTRACT when something that was named cannot leave */
  #refuseNamed(): void {
    const missing = (this.#named?.missing ?? []).map((path) => ({
      path: path === "" ? "the workspace" : displayPath(toBytes(path)),
      reason: "there is no such file, and none below it",
    }));
    const faults = [...missing, ...this.#namedFaults];
    if (faults.length === 0) return;
    const shown = faults.slice(0, mostNamedFaults).map(({ path, reason }) => `\n  ${path}: ${reason}`);
    const more = faults.length > shown.length ? `\n  … and ${faults.length - shown.length} more` : "";
    throw new HoldfastError(`nothing was extracted, for what was named cannot leave:${shown.join("")}${more}`, {
      code: "ERR_HOLDFAST_EXTRACT",
      step: "workspace",
      hint: missing.some(({ path }) => /[*?[{]/.test(path))
        ? "Names are no patterns here: name the folder above, with --type where only some of its files are wanted."
        : "Leave these out, or name the folder above: what cannot leave is then passed over. --dry-run lists what would.",
    });
  }

  async #take(file: SessionFile, rules: readonly CountedRule[]): Promise<void> {
    const path = toBytes(file.path).toString();
    const named = this.#options.guard?.check(path).leaks ?? [];
    const told = named.find(({ action }) => action !== "warn");
    if (told !== undefined) {
      return this.#keepBack(file.path, `its name holds ${told.what} (${told.form}), which the leak guard keeps back`);
    }
    const source = file.folder.openFile(file.name);
    const into = this.#destination?.stage();
    let isStaged = false;
    try {
      // What is open now is what counts: the name may have been given to another file since.
      if (source.entry.inode !== file.entry.inode || (source.entry.mode & 0o6000) !== 0) {
        return this.#keepBack(file.path, "it was exchanged while it was looked at");
      }
      const hash = createHash("sha256");
      const mode = (file.entry.mode & 0o755) | 0o600;
      const checks = rules.flatMap((rule) => contentCheck(rule.typeOf(file.path) ?? "") ?? []);
      const scan = this.#options.guard?.scan();
      let fault: string | null = null;
      const onChunk = (chunk: Buffer): void => {
        this.#options.signal?.throwIfAborted();
        hash.update(chunk);
        for (const check of checks) fault ??= check.push(chunk);
        scan?.push(chunk);
      };
      const mostBytes = Math.min(...rules.map(({ bytesLeft }) => bytesLeft));
      const bytes = await copyContent(source.fd, into?.fd ?? null, this.#walk, { mostBytes, onChunk });
      if (bytes > mostBytes) {
        return this.#beyond(file.path, rules.find((rule) => rule.bytesLeft < bytes)?.limit ?? "");
      }
      for (const check of checks) fault ??= check.end();
      const { guard, signal } = this.#options;
      // In what leaves, which nobody can change any more.
      const packed = await guard?.packed(byPlace(into?.fd ?? source.fd, bytes), signal);
      const leaks = [...named, ...(scan?.end() ?? []), ...(packed ?? [])];
      const leak = leaks.find(({ action }) => action !== "warn");
      if (leak !== undefined) fault ??= `it holds ${leak.what} (${leak.form}), which the leak guard keeps back`;
      if (fault !== null) return this.#keepBack(file.path, fault);
      if (into !== undefined) {
        fchmodSync(into.fd, mode);
        await flush(into.fd);
      }
      for (const rule of rules) rule.count(bytes);
      this.#staged.push({
        staged: into?.name ?? "",
        path: file.path,
        file: {
          ...{ path, bytes, sha256: hash.digest("hex"), mode },
          ...(leaks.length === 0 ? {} : { leaks: leaks.map(({ what, form }) => `${what} (${form})`) }),
        },
      });
      isStaged = true;
    } finally {
      closeSync(source.fd);
      if (into !== undefined) {
        closeSync(into.fd);
        if (!isStaged) this.#destination?.discard(into.name);
      }
    }
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
