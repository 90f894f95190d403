import { isAbsolute } from "node:path";
import { HoldfastError } from "../errors.ts";
import type { Manifest } from "./extract.ts";
import type { ExtractLimits } from "./extract-rule.ts";
import type { ImportResult } from "./import.ts";

/** What the request needs of a sandbox. */
interface Extractable {
  extractPaths(
    paths: readonly string[],
    to: string,
    options: ExtractLimits & { files?: "changed" | "all"; dryRun?: boolean; signal?: AbortSignal },
  ): Promise<Manifest>;
}

/** An answer is one line: a manifest of more files than this would be too long for it. */
const mostFiles = 100_000;

/** Files that are asked for over the control socket: `{"op":"extract","paths":[…],"to":"/…","dryRun":false,…}`. */
export async function answerExtract(
  sandbox: Extractable,
  request: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<object> {
  const { paths, to = "", dryRun = false, files = "all", types } = request;
  if (!isTexts(paths) || paths.length === 0) throw malformed("paths is a list of texts");
  if (typeof dryRun !== "boolean") throw malformed("dryRun is true or false");
  if (typeof to !== "string" || !(isAbsolute(to) || (dryRun && to === ""))) throw malformed("to is an absolute path");
  if (files !== "all" && files !== "changed") throw malformed('files is "all" or "changed"');
  if (types !== undefined && !isTexts(types)) throw malformed("types is a list of texts");
  const maxFiles = count(request, "maxFiles");
  const maxBytes = count(request, "maxBytes");
  const maxDepth = count(request, "maxDepth");
  if (maxFiles !== undefined && maxFiles > mostFiles) throw malformed(`maxFiles is at most ${mostFiles}`);
  return sandbox.extractPaths(paths, to, {
    files,
    dryRun,
    signal,
    ...(types === undefined ? {} : { types }),
    ...(maxFiles === undefined ? {} : { maxFiles }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(maxDepth === undefined ? {} : { maxDepth }),
  });
}

interface Importable {
  importFiles(files: readonly string[], to: string, options: { signal: AbortSignal }): Promise<ImportResult>;
}

/** Files that are brought in over the control socket: `{"op":"import","files":["/…"],"to":"…"}`. */
export async function answerImport(
  sandbox: Importable,
  { files, to = "" }: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<object> {
  if (!isTexts(files) || files.length === 0 || !files.every((file) => isAbsolute(file)))
    throw malformed("files is a list of absolute paths");
  if (typeof to !== "string") throw malformed("to is a text");
  return sandbox.importFiles(files, to, { signal });
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

function count(request: Readonly<Record<string, unknown>>, field: string): number | undefined {
  const value = request[field];
  if (value === undefined) return undefined;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw malformed(`${field} is a number`);
  return value;
}

function malformed(what: string): HoldfastError {
  return new HoldfastError(`the request was not understood: ${what}`, {
    code: "ERR_HOLDFAST_USAGE",
    step: "usage",
    hint: "docs/workspaces.md has its fields.",
  });
}
