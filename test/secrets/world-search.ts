// The one search of all that a sandbox can reach, and of all that it leads to, for secrets that it must not have.
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
} from "node:fs";
import { join } from "node:path";
import type { Sandbox } from "../../lib/sandbox/sandbox.ts";
import { finds } from "./secret-search.ts";

export interface SearchedWorld {
  readonly secrets: readonly string[];
  /** A sandbox that lives: its processes with all that they hold, and all files that they see. */
  readonly init?: number;
  /** What came out of it: results, logs, records, the gateway's answers, the queue's events. */
  readonly said?: Readonly<Record<string, unknown>>;
  /** Folders outside: of the workspace, of receipts, where core dumps would be. */
  readonly folders?: readonly string[];
}

export interface WorldFinds {
  /** Which secret (by its place in the list), in which form, where. */
  readonly finds: readonly string[];
  readonly processes: number;
  /** Of those, they whose memory this user may not read. */
  readonly unreadable: number;
  readonly files: number;
  readonly regions: number;
}

const pieceBytes = 4 * 1024 * 1024;
/** Forms are shorter. */
const overlapBytes = 4096;
/** The host's programs, which no sandbox can write, and what is no file. */
const elsewhere = /^\/(?:usr|opt|bin|sbin|lib|lib32|lib64|libx32|nix|gnu|proc|sys)(?:\/|$)/;

/** The checkout's packages and its Node, half a gigabyte: no sandbox can write them either. */
const packages = join(import.meta.dirname, "..", "..", "node_modules");

/** Looks everywhere. */
export function searchWorld({ secrets, init, said = {}, folders = [] }: SearchedWorld): WorldFinds {
  const search = new Search(secrets);
  for (const [name, what] of Object.entries(said)) search.say(name, what);
  for (const folder of folders) search.walk(folder, "", () => false);
  if (init !== undefined) {
    const pids = processesBelow(init);
    for (const pid of pids) search.process(pid);
    // Through one that may be looked into; all see the same.
    const eye = pids.find((pid) => isReadable(`/proc/${pid}/root/.`));
    if (eye !== undefined) search.walk(`/proc/${eye}/root`, "", (path) => elsewhere.test(path) || path === packages);
  }
  return search.result;
}

/** A living sandbox with a shell in it, its workspace as it is outside, and what was said. */
export async function searchSandbox(
  sandbox: Sandbox,
  secrets: readonly string[],
  said: Readonly<Record<string, unknown>>,
): Promise<readonly string[]> {
  const shell = sandbox.spawn("/bin/sh", ["-c", "set; echo up; read line"]);
  let own = "";
  await new Promise<void>((resolve) => {
    shell.stdout?.on("data", (part: Buffer) => {
      own += part.toString("latin1");
      if (own.endsWith("up\n")) resolve();
    });
    shell.once("close", () => resolve());
  });
  const { init } = sandbox.description as { init: number };
  const folders = [sandbox.workspace.hostPath];
  const { finds, processes, files } = searchWorld({ secrets, init, said: { ...said, "the shell's": own }, folders });
  shell.stdin?.end("\n");
  if (processes < 2 || files < 10) throw new Error(`nothing was searched: ${processes} processes, ${files} files`);
  return finds;
}

class Search {
  readonly #secrets: readonly string[];
  readonly #finds = new Set<string>();
  readonly #counts = { processes: 0, unreadable: 0, files: 0, regions: 0 };

  constructor(secrets: readonly string[]) {
    this.#secrets = secrets;
  }

  get result(): WorldFinds {
    return { finds: [...this.#finds].sort(), ...this.#counts };
  }

  look(bytes: Buffer, where: string): void {
    for (const [index, secret] of this.#secrets.entries())
      for (const form of finds(bytes, secret)) this.#finds.add(`${index}: ${form} in ${where}`);
  }

  /** As it is, and as it reads where it is a value. */
  say(name: string, what: unknown): void {
    const text = Buffer.isBuffer(what) || typeof what === "string" ? what : JSON.stringify(what ?? null);
    this.look(Buffer.from(text as string), name);
  }

  /** @param skips a path as the sandbox sees it */
  walk(root: string, path: string, skips: (path: string) => boolean): void {
    for (const name of names(join(root, path))) {
      const inner = `${path}/${name}`;
      if (skips(inner)) continue;
      const real = join(root, inner);
      this.look(Buffer.from(inner), `the name ${inner}`);
      const status = statusOf(real);
      if (status?.isSymbolicLink() === true) this.look(Buffer.from(linkOf(real)), `the link ${inner}`);
      else if (status?.isDirectory() === true) this.walk(root, inner, skips);
      else if (status?.isFile() === true) this.file(real, inner);
    }
  }

  file(path: string, name: string, start = 0, length = Number.POSITIVE_INFINITY): boolean {
    let fd: number;
    try {
      fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch {
      return false;
    }
    this.#counts.files++;
    const piece = Buffer.alloc(Math.min(pieceBytes + overlapBytes, length));
    try {
      for (let at = 0; at < length; at += pieceBytes) {
        const size = readSync(fd, piece, 0, Math.min(piece.length, length - at), start + at);
        if (size > 0) this.look(piece.subarray(0, size), name);
        if (size < piece.length) break;
      }
    } catch {
      // It has gone, or is a device's.
    } finally {
      closeSync(fd);
    }
    return true;
  }

  /** All of one process that the kernel shows. */
  process(pid: number): void {
    this.#counts.processes++;
    for (const name of ["environ", "cmdline", "comm", "status", "stat", "mountinfo", "maps", "limits"])
      this.file(`/proc/${pid}/${name}`, `/proc/${name} of ${pid}`);
    for (const fd of names(`/proc/${pid}/fd`)) {
      const path = `/proc/${pid}/fd/${fd}`;
      this.look(Buffer.from(linkOf(path)), `the link of descriptor ${fd} of ${pid}`);
      // A pipe's content would be taken from whom it is for.
      if (isFile(path)) this.file(path, `descriptor ${fd} of ${pid}`);
    }
    if (!this.#memory(pid)) this.#counts.unreadable++;
  }

  /** Whether it may be read. */
  #memory(pid: number): boolean {
    let maps: string;
    try {
      maps = readFileSync(`/proc/${pid}/maps`, "latin1");
      closeSync(openSync(`/proc/${pid}/mem`, "r"));
    } catch {
      return false;
    }
    for (const line of maps.split("\n")) {
      const [, from = "", until = "", rights = "", name = ""] =
        /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$/.exec(line) ?? [];
      // What is mapped from programs and was not changed is in them; the last two are no memory.
      if (!rights.startsWith("r") || (rights[1] === "-" && name.startsWith("/")) || /^\[v/.test(name)) continue;
      this.#counts.regions++;
      const start = Number.parseInt(from, 16);
      this.file(`/proc/${pid}/mem`, `memory of ${pid}`, start, Number.parseInt(until, 16) - start);
    }
    return true;
  }
}

/** A process and all below it. */
export function processesBelow(first: number): readonly number[] {
  const parents = new Map<number, number>();
  for (const name of names("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      parents.set(Number(name), Number(/^PPid:\t(\d+)/m.exec(readFileSync(`/proc/${name}/status`, "latin1"))?.[1]));
    } catch {
      // It has ended.
    }
  }
  const isBelow = (pid: number): boolean => pid === first || (parents.has(pid) && isBelow(parents.get(pid) ?? 0));
  return [...parents.keys()].filter(isBelow);
}

function names(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function statusOf(path: string): ReturnType<typeof lstatSync> {
  return lstatSync(path, { throwIfNoEntry: false });
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

function isReadable(path: string): boolean {
  return names(path).length > 0;
}

function isFile(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return false;
  }
  try {
    return fstatSync(fd).isFile();
  } finally {
    closeSync(fd);
  }
}
