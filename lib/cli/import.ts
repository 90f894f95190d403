import { resolve } from "node:path";
import { Command } from "commander";
import { workOf } from "../sandbox/control-client.ts";
import type { ImportResult } from "../sandbox/import.ts";
import { paint, reportError, say } from "./report.ts";

interface ImportFlags {
  readonly to: string;
  readonly json?: boolean;
}

/** `holdfast import`: files into a running sandbox, by its control socket. */
export function importCommand(): Command {
  return new Command("import")
    .description("copy files into a running sandbox's workspace; with an overlay they stay in its private layer")
    .argument("<sandbox>", "its name, or the id of the session that a worker serves in it")
    .argument("<file...>", "files and folders of this host")
    .option(
      "--to <path>",
      "where they go, relative to the workspace: a folder that is there or ends in a slash, or one file's name",
      "",
    )
    .option("--json", "print JSON")
    .action(async (name: string, files: string[], flags: ImportFlags) => {
      try {
        process.exitCode = await importInto(name, files, flags);
      } catch (error) {
        process.exitCode = reportError(error, flags.json);
      }
    });
}

async function importInto(name: string, files: readonly string[], { to, json = false }: ImportFlags): Promise<number> {
  const request = { op: "import", files: files.map((file) => resolve(file)), to };
  const { files: written, passedOver } = await workOf<ImportResult>(name, request, {
    what: "all files were in",
    hint: "Import while it runs.",
  });
  if (json) process.stdout.write(`${JSON.stringify({ files: written, passedOver })}\n`);
  else {
    for (const { path, sha256 } of written) process.stdout.write(`${sha256}  ${path}\n`);
    for (const { path, reason } of passedOver) say(`${paint("yellow", "passed over")} ${path}: ${reason}`);
  }
  return 0;
}
