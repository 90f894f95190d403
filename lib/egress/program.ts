import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { normalize } from "node:path";
import { pipeline } from "node:stream/promises";
import { native, type ProgramFacts } from "../native.ts";
import type { Program } from "./flow.ts";

const mostKnown = 1024;

/**
 * Tells which program stands behind a connection, by its open file. Its content is hashed once for each state of the file
 * (device, inode and time of change), and what a path was when it was first seen is what it has to stay.
 */
export class Programs {
  readonly #files = new Map<string, Promise<string>>();
  readonly #firstSeen = new Map<string, string>();

  /** Takes the descriptor over. */
  async identify(facts: ProgramFacts | null): Promise<Program | null> {
    if (facts === null) return null;
    const { ancestors, script } = facts;
    const program = await this.#tell(facts);
    return program && { ...program, origin: { ancestors, ...(script === "" ? {} : { script: normalize(script) }) } };
  }

  async #tell(facts: ProgramFacts): Promise<Program | null> {
    try {
      const { path } = facts;
      if (facts.links === 0) return { path: path.replace(/ \(deleted\)$/, ""), doubt: "deleted" };
      if (!facts.isReadOnly) return { path, doubt: "writable" };
      if (facts.hasForeignCode) return { path, doubt: "foreign-code" };
      const sha256 = await this.#hash(facts);
      const first = this.#firstSeen.get(path);
      if (first === undefined) this.#firstSeen.set(path, sha256);
      return first !== undefined && first !== sha256
        ? { path, sha256, doubt: "changed", firstSeen: first }
        : { path, sha256 };
    } catch {
      return null; // unreadable: it may be anything
    } finally {
      native().close(facts.file);
    }
  }

  #hash({ state, file }: ProgramFacts): Promise<string> {
    const known = this.#files.get(state);
    if (known !== undefined) return known;
    if (this.#files.size >= mostKnown) this.#files.clear();
    const sha256 = hashOf(file, state);
    this.#files.set(state, sha256);
    sha256.catch(() => this.#files.delete(state));
    return sha256;
  }
}

async function hashOf(file: number, state: string): Promise<string> {
  const path = `/proc/self/fd/${file}`;
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  // It is what connected only if nobody has changed it since.
  const { dev, ino, ctimeNs } = await stat(path, { bigint: true });
  if (`${dev}:${ino}:${ctimeNs}` !== state) throw new Error("it was changed meanwhile");
  return hash.digest("hex");
}
