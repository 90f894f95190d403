import { resolve } from "node:path";
import { Command } from "commander";
import { workOf } from "../sandbox/control-client.ts";
import type { Manifest } from "../sandbox/extract.ts";
import { paint, reportError, say } from "./report.ts";
import { usageError } from "./usage.ts";

interface ExtractFlags {
  readonly to?: string;
  readonly dryRun?: boolean;
  readonly changed?: boolean;
  readonly type: readonly string[];
  readonly maxFiles?: string;
  readonly maxBytes?: string;
  readonly maxDepth?: string;
  readonly json?: boolean;
}

/** `holdfast extract`: files out of a running sandbox, by its control socket. */
export function extractCommand(): Command {
  return new Command("extract")
    .description("copy files out of a running sandbox's workspace: all that are named, or none and why")
    .argument("<sandbox>", "its name, or the id of the session that a worker serves in it")
    .argument("<path...>", "files and folders, relative to the workspace or absolute")
    .option("--to <dir>", "the folder that they go to, under their own paths; made if it is not there")
    .option("--dry-run", "only list what would leave")
    .option("--changed", "only what the session added or modified")
    .option(
      "--type <ending>",
      "only files of this type: md, tar.gz, …, or text for any text; may be repeated",
      (value: string, all: readonly string[]) => [...all, value.replace(/^\./, "")],
      [],
    )
    .option("--max-files <n>", "at most so many files (1000)")
    .option("--max-bytes <size>", "together at most so many bytes, as in 500K or 2G (100M)")
    .option("--max-depth <n>", "at most so many folders below the workspace")
    .option("--json", "print JSON")
    .action(async (name: string, paths: string[], flags: ExtractFlags) => {
      try {
        process.exitCode = await extract(name, paths, flags);
      } catch (error) {
        process.exitCode = reportError(error, flags.json);
      }
    });
}

async function extract(name: string, paths: readonly string[], flags: ExtractFlags): Promise<number> {
  const { to, dryRun = false, changed = false, type: types, maxFiles, maxBytes, maxDepth, json = false } = flags;
  if (to === undefined && !dryRun)
    throw usageError("--to is missing", "Name the folder that the files go to: --to DIR.");
  const request = {
    op: "extract",
    paths,
    dryRun,
    files: changed ? "changed" : "all",
    ...(to === undefined ? {} : { to: resolve(to) }),
    ...(types.length === 0 ? {} : { types }),
    ...(maxFiles === undefined ? {} : { maxFiles: wholeNumber("--max-files", maxFiles) }),
    ...(maxBytes === undefined ? {} : { maxBytes: await size(maxBytes) }),
    ...(maxDepth === undefined ? {} : { maxDepth: wholeNumber("--max-depth", maxDepth) }),
  };
  const manifest = await workOf<Manifest>(name, request, {
    what: "the files were out: nothing was extracted",
    hint: "Extract while it runs; what is to leave at the end is for --extract, the policy's rules, or --overlay --apply.",
  });
  if (json) process.stdout.write(`${JSON.stringify({ dryRun, ...manifest })}\n`);
  else print(manifest, dryRun);
  return 0;
}

/** To standard output what sha256sum(1) takes with --check, to standard error the rest; a dry run is a list for people. */
function print({ to, files, totalBytes, keptBack, keptBackCount }: Manifest, dryRun: boolean): void {
  const line = dryRun
    ? ({ path, bytes, sha256, mode }: Manifest["files"][number]): string =>
        `${mode.toString(8)} ${String(bytes).padStart(10)} ${sha256}  ${path}\n`
    : ({ path, sha256 }: Manifest["files"][number]): string => `${sha256}  ${path}\n`;
  for (const file of files) process.stdout.write(line(file));
  for (const { path, reason } of keptBack) say(`${paint("yellow", "kept back")} ${path}: ${reason}`);
  if (keptBackCount > keptBack.length) say(`… and ${keptBackCount - keptBack.length} more`);
  const amount = `${files.length} file${files.length === 1 ? "" : "s"}, ${totalBytes} bytes`;
  say(dryRun ? `${amount} would leave` : `${amount} to ${to}`);
}

function wholeNumber(flag: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw usageError(`${flag} takes a number, not ${JSON.stringify(text)}`, `For example ${flag} 20.`);
}

async function size(text: string): Promise<number> {
  const { readSize } = await import("../policy/limits.ts");
  const reading = readSize(text);
  if ("value" in reading) return reading.value;
  throw usageError(`--max-bytes: ${reading.message}`, "For example --max-bytes 10M.");
}
