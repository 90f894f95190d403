import { existsSync } from "node:fs";
import { join } from "node:path";
import { root } from "../../lib/native.ts";
import { runChild } from "./child.ts";
import type { Benchmark } from "./result.ts";
import { measure } from "./rounds.ts";
import { withWorkdir } from "./workdir.ts";

/** The whole command, against the start of the Node that it runs on. */
export const command: Benchmark = {
  name: "command",
  run: async (scale) => {
    if (!existsSync(join(root, "dist", "command", "main.cjs")))
      return [{ name: "command", skipped: "dist/ has not been built (npm run build)" }];
    const holdfast = join(root, "bin", "holdfast");
    const env = { ...process.env, HOLDFAST_NODE: process.execPath };
    return withWorkdir(async (cwd) => {
      const times = await measure(
        [
          { name: "holdfast", run: () => runChild(holdfast, ["run", "--", "true"], { cwd, env }) },
          { name: "node", run: () => runChild(process.execPath, ["-e", "0"], { cwd, env }) },
        ],
        Math.ceil(60 * scale),
        3,
      );
      return [
        {
          name: "command",
          what: "./bin/holdfast run -- true",
          base: "node -e 0, the same Node",
          times: times("holdfast"),
          baseTimes: times("node"),
          bar: 3,
        },
      ];
    });
  },
};
