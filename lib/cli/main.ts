/**
 * The command's entry. Only what the named command needs is loaded: start-up time is most of a short run.
 */
import { enableCompileCache } from "node:module";
import { refuseOldNode } from "./node-version.ts";

refuseOldNode(process.versions.node);
enableCompileCache();

const [name] = process.argv.slice(2);

async function main(): Promise<number> {
  if (name === "run") {
    const { run } = await import("./run.ts");
    return run(process.argv.slice(3));
  }
  const { program } = await import("./program.ts");
  return program(process.argv.slice(2));
}

process.exitCode = await main();
