import { closeSync, readSync } from "node:fs";
import { HoldfastError } from "../errors.ts";
import type { Denial, SandboxLike } from "../sandbox/types.ts";

/** What a folder inside holds: the hash (SHA-256, hexadecimal) of each regular file by its relative path. */
export type FolderScan = ReadonlyMap<string, string>;

/** The files of a session that are not the model's alone: skills, memories. All of it happens inside the sandbox. */
export interface SessionFolders {
  /** Whether there is anything of that path, links not followed. */
  exists(path: string): Promise<boolean>;
  /** Makes a folder (0700) and those above it, where they are missing. */
  make(path: string): Promise<void>;
  /** Makes an empty folder (0700) and those above it; what was there before is removed, links not followed. */
  makeFresh(path: string): Promise<void>;
  /** Removes files and folders with all that is in them, links not followed; what is not there is no error. */
  remove(paths: readonly string[]): Promise<void>;
  /** Sets the modes of files, links not followed. */
  setModes(modes: ReadonlyMap<string, number>): Promise<void>;
  /** Undefined when the folder is not there, or is none. Names that are not UTF-8 are left out. */
  scan(root: string): Promise<FolderScan | undefined>;
  /** Undefined when there is no regular file of that path below `root`, or it is larger than `mostBytes`. */
  read(root: string, path: string, mostBytes: number): Promise<Buffer | undefined>;
  /** Writes a file below a folder that exists; the folders between are made. */
  write(root: string, path: string, data: Uint8Array): Promise<void>;
}

const programMs = 30_000;
const mostAnswerBytes = 16 * 1024 * 1024;
/** Files beyond this are told apart by size and time: no memory is as large. */
const mostHashedBytes = 1024 * 1024;

/**
 * What runs inside, by the tools' own Node, one request from standard input. Its own text: it can be read here, and
 * nothing has to be found inside. Paths come as they are; what they lead to is the sandbox's own affair.
 */
const program = `
const fs = require("node:fs"), path = require("node:path"), { createHash } = require("node:crypto");
const { op, paths, modes, limit } = JSON.parse(fs.readFileSync(0, "utf8"));
const stat = (p) => { try { return fs.lstatSync(p, { bigint: true }); } catch { return null; } };
const done = (value) => fs.writeFileSync(1, JSON.stringify(value));
if (op === "exists") done(paths.map((p) => stat(p) !== null));
else if (op === "make" || op === "fresh") for (const p of paths) { if (op === "fresh") fs.rmSync(p, { recursive: true, force: true }); fs.mkdirSync(p, { recursive: true, mode: 0o700 }); done(null); }
else if (op === "remove") { for (const p of paths) fs.rmSync(p, { recursive: true, force: true }); done(null); }
else if (op === "mode") { paths.forEach((p, i) => { if (stat(p)?.isFile()) fs.chmodSync(p, modes[i]); }); done(null); }
else if (op === "scan") {
  const [root] = paths, files = [];
  let depth = 0;
  const walk = (folder, name) => {
    if (++depth > 64) { depth--; return; }
    for (const raw of fs.readdirSync(folder, { encoding: "buffer" })) {
      const text = raw.toString("utf8");
      if (!Buffer.from(text).equals(raw) || files.length > 20000) continue;
      const at = path.join(folder, text), rel = name === "" ? text : name + "/" + text, found = stat(at);
      try {
        if (found?.isDirectory()) walk(at, rel);
        else if (found?.isFile()) {
          let sha = "large:" + found.size + ":" + found.mtimeNs;
          if (found.size <= limit) {
            const fd = fs.openSync(at, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
            try { if (fs.fstatSync(fd).isFile()) sha = createHash("sha256").update(fs.readFileSync(fd)).digest("hex"); }
            finally { fs.closeSync(fd); }
          }
          files.push([rel, sha]);
        }
      } catch { files.push([rel, "unreadable"]); }
    }
    depth--;
  };
  if (stat(root)?.isDirectory()) { walk(root, ""); done(files); } else done(null);
}
`;

/** A session's folders in its sandbox. */
export class SandboxFolders implements SessionFolders {
  readonly #sandbox: SandboxLike;
  readonly #onDenials: (denials: readonly Denial[]) => void;

  /** @param onDenials what was refused meanwhile, which running a program takes from the sandbox */
  constructor(sandbox: SandboxLike, onDenials: (denials: readonly Denial[]) => void = () => {}) {
    this.#sandbox = sandbox;
    this.#onDenials = onDenials;
  }

  async exists(path: string): Promise<boolean> {
    const answer = await this.#ask("exists", [path]);
    return Array.isArray(answer) && answer[0] === true;
  }

  async make(path: string): Promise<void> {
    await this.#ask("make", [path]);
  }

  async makeFresh(path: string): Promise<void> {
    await this.#ask("fresh", [path]);
  }

  async remove(paths: readonly string[]): Promise<void> {
    if (paths.length > 0) await this.#ask("remove", paths);
  }

  async setModes(modes: ReadonlyMap<string, number>): Promise<void> {
    if (modes.size > 0) await this.#ask("mode", [...modes.keys()], [...modes.values()]);
  }

  async scan(root: string): Promise<FolderScan | undefined> {
    const answer = await this.#ask("scan", [root]);
    if (!Array.isArray(answer)) return undefined;
    const files = new Map<string, string>();
    for (const entry of answer as unknown[]) {
      if (!Array.isArray(entry)) continue;
      const [path, sha] = entry as unknown[];
      if (typeof path === "string" && typeof sha === "string") files.set(path, sha);
    }
    return files;
  }

  async read(root: string, path: string, mostBytes: number): Promise<Buffer | undefined> {
    const outcome = await this.#sandbox.files.open(`${root}/${path}`, { roots: [root] });
    if (outcome.kind !== "file") return undefined;
    try {
      if (outcome.size > mostBytes) return undefined;
      const buffer = Buffer.alloc(mostBytes + 1);
      let length = 0;
      for (;;) {
        const read = readSync(outcome.fd, buffer, length, buffer.length - length, null);
        if (read === 0) return Buffer.from(buffer.subarray(0, length));
        length += read;
        if (length > mostBytes) return undefined;
      }
    } finally {
      closeSync(outcome.fd);
    }
  }

  async write(root: string, path: string, data: Uint8Array): Promise<void> {
    const outcome = await this.#sandbox.files.write(`${root}/${path}`, data, { roots: [root] });
    if (outcome.kind !== "written") {
      throw unable(`${path} could not be written inside (${outcome.kind === "error" ? outcome.errno : outcome.kind})`);
    }
  }

  async #ask(op: string, paths: readonly string[], modes?: readonly number[]): Promise<unknown> {
    const node = this.#sandbox.toolRuntime?.node;
    if (node === undefined) throw unable("the sandbox was made without its tools");
    const { stdout, stderr, exitCode, truncated, denials } = await this.#sandbox.exec(
      node,
      ["--no-warnings", "--max-old-space-size=256", "-e", program],
      {
        input: JSON.stringify({ op, paths, modes, limit: mostHashedBytes }),
        // What the session may have put there must not be loaded.
        cwd: "/",
        env: { NODE_OPTIONS: "" },
        timeoutMs: programMs,
        maxBufferBytes: mostAnswerBytes,
      },
    );
    this.#onDenials(denials);
    if (exitCode !== 0 || truncated) {
      const reason = /(E[A-Z]+): /.exec(stderr.toString())?.[1] ?? `status ${exitCode}`;
      throw unable(`a folder inside could not be worked on (${op}: ${reason})`);
    }
    return JSON.parse(stdout.toString());
  }
}

function unable(message: string): HoldfastError {
  return new HoldfastError(message, {
    code: "ERR_HOLDFAST_SESSION_FOLDER",
    step: "worker",
    hint: "Let the policy grant the workspace writable, so that skills and memories can be put in it.",
  });
}
