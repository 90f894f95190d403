import { type FileHandle, open, rm, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { HoldfastError } from "../errors.ts";
import { errnoOf } from "../sandbox/directory.ts";

/** What a file is for, for whoever cannot have it. */
export interface ResultPurpose {
  readonly what: string;
  readonly flag: string;
  readonly code: string;
}

/** A file for what comes of a run: opened before the command starts, so that its work is not done for what has no place. */
export class ResultFile {
  /** As it was called. */
  readonly name: string;
  readonly path: string;
  readonly #purpose: ResultPurpose;
  readonly #handle: FileHandle;
  #isWritten: boolean;

  private constructor(name: string, purpose: ResultPurpose, handle: FileHandle, wasThere: boolean) {
    this.name = name;
    this.path = resolve(name);
    this.#purpose = purpose;
    this.#handle = handle;
    this.#isWritten = wasThere;
  }

  /** @throws HoldfastError with the purpose's code */
  static async open(file: string, purpose: ResultPurpose): Promise<ResultFile> {
    const path = resolve(file);
    const fail = (error: unknown): never => {
      throw fileError(path, purpose, error);
    };
    try {
      return new ResultFile(file, purpose, await open(path, "wx", 0o600), false);
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw fail(error);
    }
    // What is there stays until there is something to put in its place.
    return new ResultFile(file, purpose, await open(path, "r+").catch(fail), true);
  }

  /** @throws HoldfastError with the purpose's code */
  async write(pieces: AsyncIterable<string | Uint8Array> | Iterable<string | Uint8Array>): Promise<void> {
    this.#isWritten = true;
    try {
      if ((await this.#handle.stat()).isFile()) await this.#handle.truncate();
      for await (const piece of pieces) await this.#handle.writeFile(piece);
      await this.#checkPlace();
    } catch (error) {
      throw fileError(this.path, this.#purpose, error);
    }
  }

  /** In a workspace the command may have put something else there, and what was written would be lost. */
  async #checkPlace(): Promise<void> {
    const written = await this.#handle.stat();
    const there = await stat(this.path).catch(() => null);
    if (there === null || there.ino !== written.ino || there.dev !== written.dev)
      throw Object.assign(new Error("it was exchanged meanwhile"), { code: "ESTALE" });
  }

  /** A file that was made for nothing goes again. */
  async close(): Promise<void> {
    await this.#handle.close();
    if (!this.#isWritten) await rm(this.path, { force: true });
  }
}

function fileError(path: string, { what, flag, code }: ResultPurpose, cause: unknown): HoldfastError {
  const errno = errnoOf(cause);
  return new HoldfastError(`${what} cannot be written to ${path} (${errno ?? String(cause)})`, {
    code,
    step: "workspace",
    path,
    ...(errno === undefined ? {} : { errno }),
    hint: `Name with ${flag} a file that you can write, in a folder that exists.`,
    cause,
  });
}
