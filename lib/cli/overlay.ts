import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { resolve } from "node:path";
import type { Change } from "../sandbox/changes.ts";
import { displayPath } from "../sandbox/display-path.ts";
import { renderDiff } from "../sandbox/render-diff.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import { paint, say } from "./report.ts";
import type { RunOptions } from "./run-options.ts";

const marks: Readonly<Record<Change["kind"], string>> = {
  added: "A",
  modified: "M",
  deleted: "D",
  "type-changed": "T",
  "mode-changed": "P",
};

const mostShown = 200;

/**
 * After a run with `--overlay`: shows what would change, writes the patch, and applies nothing unless told. Returns the
 * exit status: the command's own, or 125 when what was asked for could not be done.
 */
export async function finishOverlay(sandbox: Sandbox, options: RunOptions, code: number): Promise<number> {
  const set = await sandbox.changes();
  const lines = set.changes.map((change) => ({
    kind: change.kind,
    path: displayPath(change.path),
    conflict: change.conflict,
  }));
  if (options.json)
    process.stderr.write(
      `${JSON.stringify({ event: "changes", changes: lines, problems: set.problems.map(({ path, reason }) => ({ path: displayPath(path), reason })) })}\n`,
    );
  else if (!options.quiet) show(lines);
  if (!options.quiet) {
    for (const { path, reason } of set.problems)
      say(`${paint("yellow", "not compared")} ${displayPath(path)}: ${reason}`);
  }
  if (options.diff !== undefined) {
    const file = createWriteStream(resolve(options.diff), { mode: 0o600 });
    for await (const piece of renderDiff(set)) if (!file.write(piece)) await once(file, "drain");
    file.end();
    await once(file, "close");
  }
  if (!options.apply) return code;
  if (code !== 0) {
    if (!options.quiet) say(`${paint("yellow", "nothing was applied")}: the command did not succeed`);
    return code;
  }
  const result = await sandbox.apply(set);
  if (!options.quiet) {
    say(`applied ${result.applied.length} of ${set.changes.length} changes`);
    for (const { change, detail } of result.refused)
      say(`${paint("yellow", "kept back")} ${displayPath(change.path)}: ${detail}`);
    for (const { change, error } of result.errors)
      say(`${paint("red", "failed")} ${displayPath(change.path)}: ${error.message}`);
  }
  return result.errors.length > 0 ? 125 : code;
}

function show(lines: readonly { kind: Change["kind"]; path: string; conflict: boolean }[]): void {
  if (lines.length === 0) {
    say("the command would change nothing");
    return;
  }
  say(
    `the command would change ${lines.length} ${lines.length === 1 ? "path" : "paths"}; --apply carries it over, --diff FILE writes a patch`,
  );
  for (const { kind, path, conflict } of lines.slice(0, mostShown)) {
    const colour = kind === "deleted" ? "red" : kind === "added" ? "green" : "yellow";
    process.stderr.write(`  ${paint(colour, marks[kind])} ${path}${conflict ? " (changed outside meanwhile)" : ""}\n`);
  }
  if (lines.length > mostShown) process.stderr.write(`  … and ${lines.length - mostShown} more\n`);
}
