/** Builds build/Release/holdfast.node and build/Release/holdfast_init with node-gyp; what is up to date stays. */
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { gypEnvironment } from "./headers.ts";

const root = dirname(import.meta.dirname);
// configure reads the list of sources anew; make compares flags as well as times, so `rebuild` (which deletes build/
// under those who are using it) is never needed.
const { status, error } = spawnSync(
  join(root, "node_modules", ".bin", "node-gyp"),
  ["configure", "build", "--loglevel=error", `--jobs=${availableParallelism()}`],
  { cwd: root, env: gypEnvironment(root), stdio: ["ignore", 2, 2] },
);
if (error) console.error(`holdfast: node-gyp did not start: ${error.message}`);
process.exitCode = status ?? 1;
