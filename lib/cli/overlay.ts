import type { Change } from "../sandbox/changes.ts";
import { displayPath } from "../sandbox/display-path.ts";
import { renderDiff } from "../sandbox/render-diff.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import { paint } from "./report.ts";
import type { ResultPurpose } from "./result-file.ts";
import type { Told } from "./run.ts";
import type { RunOptions } from "./run-options.ts";

const marks: Readonly<Record<Change["kind"], string>> = {
  added: "A",
  modified: "M",
  deleted: "D",
  "type-changed": "T",
  "mode-changed": "P",
};

const mostShown = 200;

/** The file of `--diff`. */
export const patchFile: ResultPurpose = { what: "the patch", flag: "--diff", code: "ERR_HOLDFAST_PATCH_FILE" };

/**
 * After a run with `--overlay`: shows what would change, writes the patch, and applies nothing unless told; at a terminal
 * each change is asked about. Returns the exit status: the command's own, or 125 when what was asked for could not be done.
 */
export async function finishOverlay(
  sandbox: Sandbox,
  options: RunOptions,
  code: number,
  { status, tell, patch }: Told,
  dismissed: Promise<void>,
): Promise<number> {
  const set = await sandbox.changes();
  const say = (record: object, ...lines: readonly string[]): void => {
    status(record);
    tell(record, ...lines);
  };
  const changes = set.changes.map(({ kind, path, conflict }) => ({ kind, path: displayPath(path), conflict }));
  const problems = set.problems.map(({ path, reason }) => ({ path: displayPath(path), reason }));
  say(
    { event: "changes", changes, problems },
    ...changeLines(changes),
    ...problems.map(({ path, reason }) => `${paint("yellow", "not compared")} ${path}: ${reason}`),
  );
  await patch?.write(renderDiff(set));
  if (!options.apply) return code;
  if (code !== 0) {
    const reason = "the command did not succeed";
    say({ event: "not-applied", reason }, `${paint("yellow", "nothing was applied")}: ${reason}`);
    return code;
  }
  const { askChanges, canAsk } = await import("./ask-changes.ts");
  const isAsked = !options.yes && !options.json && !options.quiet && set.changes.length > 0 && canAsk();
  const chosen = isAsked ? await askChanges(set, dismissed) : set.changes;
  const result = await sandbox.apply({ ...set, changes: chosen });
  const refused = result.refused.map(({ change, reason, detail }) => ({
    path: displayPath(change.path),
    reason,
    detail,
  }));
  const failed = result.errors.map(({ change, error }) => ({ path: displayPath(change.path), message: error.message }));
  const applied = result.applied.map(({ path }) => displayPath(path));
  say(
    { event: "applied", applied, refused, failed },
    `applied ${applied.length} of ${changes.length} changes`,
    ...refused.map(({ path, detail }) => `${paint("yellow", "kept back")} ${path}: ${detail}`),
    ...failed.map(({ path, message }) => `${paint("red", "failed")} ${path}: ${message}`),
  );
  return failed.length > 0 ? 125 : code;
}

function changeLines(changes: readonly { kind: Change["kind"]; path: string; conflict: boolean }[]): string[] {
  if (changes.length === 0) return ["the command would change nothing"];
  const paths = changes.length === 1 ? "path" : "paths";
  const head = `the command would change ${changes.length} ${paths}; --apply carries it over, --diff FILE writes a patch`;
  const listed = changes.slice(0, mostShown).map(({ kind, path, conflict }) => {
    const colour = kind === "deleted" ? "red" : kind === "added" ? "green" : "yellow";
    return `  ${paint(colour, marks[kind])} ${path}${conflict ? " (changed outside meanwhile)" : ""}`;
  });
  const left = changes.length - mostShown;
  return [[head, ...listed, ...(left > 0 ? [`  … and ${left} more`] : [])].join("\n")];
}
