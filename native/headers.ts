import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

/**
 * node-gyp wants a folder shaped like an installed Node ("nodedir") and downloads one otherwise. The addon needs the four
 * headers of Node-API only, so such a folder is made from node-api-headers: nothing is downloaded, and the flags are ours
 * rather than those that some Node was built with.
 */
export function makeHeaders(root: string): string {
  const folder = join(root, "node_modules", ".cache", "holdfast-headers");
  const include = join(folder, "include", "node");
  mkdirSync(include, { recursive: true });
  const from: string = createRequire(join(root, "package.json"))("node-api-headers").include_dir;
  for (const name of ["js_native_api.h", "js_native_api_types.h", "node_api.h", "node_api_types.h"]) {
    copyFileSync(join(from, name), join(include, name));
  }
  writeFileSync(join(include, "config.gypi"), '{"variables": {}, "target_defaults": {}}\n');
  writeFileSync(
    join(include, "common.gypi"),
    `{"target_defaults": {
  "default_configuration": "Release",
  "configurations": {"Debug": {"cflags": ["-g"]}, "Release": {"cflags": ["-O2", "-g0"]}}
}}
`,
  );
  return folder;
}

/**
 * The environment for node-gyp, prebuildify included. Variables and not flags: node-gyp reads these two after its command
 * line, so that a setting in somebody's .npmrc would win over a flag.
 */
export function gypEnvironment(root: string): NodeJS.ProcessEnv {
  const folder = makeHeaders(root);
  return {
    ...process.env,
    npm_config_nodedir: folder,
    npm_package_config_node_gyp_nodedir: folder,
    PATH: `${join(root, "node_modules", ".bin")}:${process.env["PATH"] ?? "/usr/bin:/bin"}`,
  };
}
