/**
 * The command's entry. Only what the named command needs is loaded: start-up time is most of a short run.
 */
import { enableCompileCache } from "node:module";
import { join } from "node:path";
import { refuseOldNode } from "./node-version.ts";

refuseOldNode(process.versions.node);
// In a folder of the user's own: Node's default lies in /tmp, where another user could have put code for us to run.
const cacheFolder = process.env["XDG_CACHE_HOME"] || (process.env["HOME"] ? join(process.env["HOME"], ".cache") : "");
if (cacheFolder !== "") enableCompileCache(join(cacheFolder, "holdfast", "compiled"));

const [name] = process.argv.slice(2);

async function main(): Promise<number> {
  if (name === "run") {
    const { run } = await import("./run.ts");
    return run(process.argv.slice(3));
  }
  const { program } = await import("./program.ts");
  return program(process.argv.slice(2));
}

main().then(
  (status) => {
    // At once: to take the runtime down in order costs a tenth of a short run, and a worker's connection to a proxy that never
    // answers outlives what was asked of it. What was printed is out by now.
    if (name === "run" || name === "worker") process.exit(status);
    process.exitCode = status;
  },
  (error: unknown) => {
    console.error(error);
    process.exit(125);
  },
);
