import type { PathRules, SandboxFiles } from "../sandbox/types.ts";
import { readWhole } from "./bounded-read.ts";
import { definitions } from "./definitions.ts";
import { errnoOf, fileErrorText, refuseNul, rootHolding } from "./paths.ts";
import { closeOutcome, notAFile, refuseUnresolved, sizeWords } from "./read.ts";
import { optionalBoolean, optionalString, requiredString, type Tool, ToolError } from "./tool.ts";
import type { Turns } from "./turns.ts";
import { refuseUnwritten } from "./write.ts";

/** A small `old_string` and a large `new_string` could otherwise fill the memory of the worker. */
const RESULT_LIMIT_CHARACTERS = 64 * 1024 * 1024;

export interface EditToolOptions {
  readonly files: SandboxFiles;
  readonly rules: PathRules;
  readonly limitBytes: number;
  readonly turns: Turns;
}

/** The tool `edit`: one exact text in a file replaced by another, or all its occurrences. */
export function createEditTool({ files, rules, limitBytes, turns }: EditToolOptions): Tool {
  async function loadText(path: string, signal: AbortSignal): Promise<string> {
    const outcome = await files.open(path, rules);
    try {
      refuseUnresolved(path, rules, outcome);
      refuseReadOnly(path, rules, outcome);
      if (outcome.kind !== "file") throw new ToolError(notAFile("edit", path, outcome));
      const bytes = outcome.size > limitBytes ? null : await readContent(path, outcome.fd, limitBytes, signal);
      if (bytes === null) {
        throw new ToolError(
          `edit: ${path} is ${sizeWords(outcome.size, limitBytes)} bytes, exceeds ${limitBytes}-byte limit. ` +
            "The edit tool loads the whole file and cannot modify a file this large.",
        );
      }
      return decode(path, bytes);
    } finally {
      closeOutcome(outcome);
    }
  }

  return {
    definition: definitions.edit,
    async run(input, signal) {
      const path = requiredString("edit", input, "file_path");
      const oldText = requiredString("edit", input, "old_string");
      const newText = optionalString("edit", input, "new_string");
      // An empty one is a deletion that was asked for; a missing one is a mistake that would destroy text.
      if (newText === undefined) throw new ToolError("edit: new_string is required");
      const all = optionalBoolean("edit", input, "replace_all");
      refuseNul(path);

      return await turns.run(async () => {
        const text = await loadText(path, signal);
        const pieces = text.split(oldText);
        const count = pieces.length - 1;
        if (count === 0) throw new ToolError(`edit: old_string not found in ${path}`);
        if (count > 1 && !all) {
          throw new ToolError(`edit: old_string appears ${count} times in ${path} (must be unique)`);
        }
        const length = text.length + count * (newText.length - oldText.length);
        if (length > RESULT_LIMIT_CHARACTERS) {
          throw new ToolError(`edit: ${path} would become ${length} characters, more than ${RESULT_LIMIT_CHARACTERS}`);
        }
        const content = Buffer.from(pieces.join(newText), "utf8");
        refuseUnwritten("edit", path, rules, await files.write(path, content, rules), "edit: write");
        return `edited ${path} (${count} replacement(s))`;
      });
    },
  };
}

/** Said before the file is looked at; the wall is the write itself, which refuses by the kernel's own resolution. */
function refuseReadOnly(path: string, rules: PathRules, outcome: { kind: string; path?: string }): void {
  const root = outcome.path === undefined ? undefined : rootHolding(outcome.path, rules.readOnlyRoots ?? []);
  if (root !== undefined) throw new ToolError(`edit: ${path} is inside read-only directory ${root}`);
}

async function readContent(path: string, fd: number, limit: number, signal: AbortSignal): Promise<Buffer | null> {
  try {
    return await readWhole("edit", fd, limit, signal);
  } catch (error) {
    const errno = errnoOf(error);
    throw errno === undefined ? error : new ToolError(fileErrorText("edit", path, errno));
  }
}

/** Strict: writing back a text in which bad bytes became U+FFFD would destroy them. */
function decode(path: string, bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ToolError(
      `edit: ${path} is not valid UTF-8. The edit tool would damage it and has left it unchanged; use bash to change it.`,
    );
  }
}
