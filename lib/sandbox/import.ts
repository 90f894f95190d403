import { createHash } from "node:crypto";
import { closeSync } from "node:fs";
import { basename, dirname, join, posix } from "node:path";
import { HoldfastError } from "../errors.ts";
import { inspectPath, isWithin } from "../host/paths.ts";
import type { Workspace } from "../plan/workspace.ts";
import { readFully } from "./content.ts";
import { Directory, type Entry, errnoOf, toBytes } from "./directory.ts";
import { displayPath } from "./display-path.ts";
import { visitAllFiles } from "./session-files.ts";
import type { SandboxFiles } from "./types.ts";
import { workspacePath } from "./workspace-path.ts";

/** One file that was put into a workspace. */
export interface ImportedFile {
  /** Relative to the workspace. */
  readonly path: string;
  /** Its size. */
  readonly bytes: number;
  /** Of the bytes that were written, in hexadecimal. */
  readonly sha256: string;
}

/** What was put into a workspace. */
export interface ImportResult {
  /** In the order in which they were written. */
  readonly files: readonly ImportedFile[];
  /** Of a folder that was named: what is no regular file, and why it stayed. */
  readonly passedOver: readonly { readonly path: string; readonly reason: string }[];
}

export interface ImportTarget {
  readonly files: SandboxFiles;
  readonly workspace: Workspace;
  /** What of a file is a secret that the sandbox may not see, for people; undefined where none is. */
  readonly secretIn: (content: Buffer) => Promise<string | undefined>;
  readonly signal?: AbortSignal;
}

/** A file is held in memory on its way. */
const largestFile = 64 * 1024 * 1024;
const mostFiles = 10_000;

/**
 * Copies regular files of the host into the workspace, folders with all that lies below them. Each is written inside, by
 * the init and behind the walls of a call, beside its place and renamed over it; no link in the workspace is followed.
 *
 * @param to relative to the workspace; a folder that is there, or a name with a slash at its end, takes all that is named,
 * else one file may get this name; the workspace itself by default
 * @returns after the last; what was written before a failure stays
 * @throws HoldfastError ERR_HOLDFAST_IMPORT, ERR_HOLDFAST_OUTSIDE_WORKSPACE, ERR_HOLDFAST_SANDBOX_GONE
 */
export async function importFiles(sources: readonly string[], to: string, target: ImportTarget): Promise<ImportResult> {
  const top = workspacePath(to === "" ? "." : to, target.workspace);
  const checked = sources.map((source) => inspectSource(source, target));
  const isFolder = top === "" || to.endsWith("/") || checked.length > 1 || (await isFolderInside(top, target));
  const importing = new Importing(target);
  for (const { path, real, kind } of checked) {
    const place = isFolder ? posix.join(top, basename(path)) : top;
    if (kind === "directory") await importing.folder(real, place);
    else importing.found(real, place, true);
  }
  return importing.write();
}

class Importing {
  readonly #target: ImportTarget;
  readonly #found: { readonly real: string; readonly place: string; readonly isNamed: boolean }[] = [];
  readonly #passedOver: { path: string; reason: string }[] = [];

  constructor(target: ImportTarget) {
    this.#target = target;
  }

  found(real: string, place: string, isNamed = false): void {
    if (this.#found.length >= mostFiles) {
      throw failed(real, `there are more than ${mostFiles} files`, "Name fewer, or pack them into an archive.");
    }
    this.#found.push({ real, place, isNamed });
  }

  async folder(real: string, place: string): Promise<void> {
    const visit = ({ path, entry }: { path: string; entry: Entry }): void => {
      const bytes = toBytes(path);
      const shown = displayPath(bytes);
      const text = bytes.toString();
      if (entry.type !== "file") this.#passedOver.push({ path: shown, reason: `it is a ${entry.type}` });
      else if (shown !== text) this.#passedOver.push({ path: shown, reason: "its name is not printable UTF-8" });
      else this.found(join(real, text), posix.join(place, text));
    };
    await visitAllFiles({ kind: "folder", folder: real, isPrivate: false }, visit, () => true);
  }

  async write(): Promise<ImportResult> {
    const files: ImportedFile[] = [];
    for (const { real, place, isNamed } of this.#found) {
      this.#target.signal?.throwIfAborted();
      try {
        const { content, mode } = read(real);
        const secret = await this.#target.secretIn(content);
        const why = `it holds ${secret}, which the sandbox would see`;
        if (secret !== undefined && isNamed)
          throw failed(real, why, "Take it out: programs inside get a placeholder by the credential's env.");
        if (secret === undefined) files.push(await this.#write(real, place, content, mode));
        else this.#passedOver.push({ path: displayPath(Buffer.from(place)), reason: why });
      } catch (error) {
        if (!HoldfastError.is(error) || files.length === 0) throw error;
        const { code, step, hint, message, path } = error;
        const done = `${message}; ${files.length} before it ${files.length === 1 ? "is" : "are"} inside`;
        throw new HoldfastError(done, { code, step, hint, ...(path === undefined ? {} : { path }), cause: error });
      }
    }
    return { files, passedOver: this.#passedOver };
  }

  async #write(real: string, place: string, content: Buffer, mode: number): Promise<ImportedFile> {
    const { files, workspace } = this.#target;
    const outcome = await files.write(join(workspace.path, place), content, {
      roots: [workspace.path],
      followLinks: false,
      mode: (mode & 0o755) | 0o600,
    });
    if (outcome.kind === "written") {
      return { path: place, bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") };
    }
    const errno = outcome.kind === "error" ? outcome.errno : undefined;
    const reasons: Readonly<Record<string, string>> = {
      ELOOP: "a link stands there, and links are not followed",
      EROFS: "it is read-only there, or a protected name",
      ENOTDIR: "something on the way is no folder",
      EFBIG: "the limit file-size was reached",
      ENOSPC: "there is no space left",
    };
    const why =
      outcome.kind === "directory"
        ? "a folder stands there"
        : (reasons[errno ?? ""] ?? `it cannot be written (${errno ?? outcome.kind})`);
    throw failed(real, `${JSON.stringify(place)} in the workspace: ${why}`, "Name another place with --to.", errno);
  }
}

/** @throws HoldfastError ERR_HOLDFAST_IMPORT for what is no file or folder, and for what a program inside may have put there */
function inspectSource(source: string, { workspace }: ImportTarget): ReturnType<typeof inspectPath> {
  const facts = inspectPath(source);
  const { real, kind, links, fault } = facts;
  const own = writableOnHost(workspace);
  if ([facts.path, real, ...links.map(({ path }) => path)].some((at) => own.some((folder) => isWithin(at, folder)))) {
    throw failed(source, "it lies where the sandbox can write already", "Name a file from elsewhere.");
  }
  if (kind === "directory" && own.some((folder) => isWithin(folder, real))) {
    throw failed(source, "the sandbox can write in it", "Name the files.");
  }
  if (kind === "missing") throw failed(source, `it ${fault ?? "does not exist"}`, "Look at its path.", "ENOENT");
  if (kind !== "file" && kind !== "directory") {
    throw failed(source, "it is neither a file nor a folder", "Regular files alone are copied.");
  }
  return facts;
}

/** Folders of the host that programs inside can write: what lies there may be a link by now. */
function writableOnHost({ mode, hostPath, privateFolder, own, grants }: Workspace): string[] {
  return [
    ...(mode === "direct" ? [hostPath] : []),
    ...(privateFolder === null ? [] : [privateFolder]),
    ...(own === undefined ? [] : [own.folder]),
    ...grants.filter(({ access, kind }) => access === "write" && kind !== "device").map(({ source }) => source),
  ];
}

async function isFolderInside(path: string, { files, workspace }: ImportTarget): Promise<boolean> {
  const rules = { roots: [workspace.path], followLinks: false };
  const outcome = await files.open(join(workspace.path, path), rules);
  if (outcome.kind === "file") closeSync(outcome.fd);
  return outcome.kind === "directory";
}

function read(real: string): { content: Buffer; mode: number } {
  try {
    using folder = Directory.at(dirname(real));
    const { fd, entry } = folder.openFile(Buffer.from(basename(real)).toString("latin1"));
    try {
      if (entry.size > largestFile) throw failed(real, `it has more than ${largestFile} bytes`, "Split it.");
      const content = Buffer.alloc(entry.size);
      const filled = readFully(fd, content);
      return { content: content.subarray(0, filled), mode: entry.mode };
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (HoldfastError.is(error)) throw error;
    const errno = errnoOf(error);
    throw failed(real, `it cannot be read (${errno ?? String(error)})`, "The launcher's user has to read it.", errno);
  }
}

function failed(source: string, why: string, hint: string, errno?: string): HoldfastError {
  const shown = displayPath(Buffer.from(source));
  return new HoldfastError(`${shown} was not imported: ${why}`, {
    code: "ERR_HOLDFAST_IMPORT",
    step: "workspace",
    path: shown,
    hint,
    ...(errno === undefined ? {} : { errno }),
  });
}
