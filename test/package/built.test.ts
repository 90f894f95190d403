import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import test from "ava";
import { compiledName, compiledText } from "../../lib/plan/filter.ts";
import type { Architecture } from "../../lib/plan/seccomp-profile.ts";

const dist = join(dirname(dirname(import.meta.dirname)), "dist");
const architectures: readonly Architecture[] = ["x86_64", "aarch64"];

test("The filters that the build compiled are what the compiler makes of the profile, for every option a sandbox may have", (t) => {
  const folder = join(dist, "seccomp", "compiled");
  const wanted = architectures.flatMap((architecture) =>
    [false, true].flatMap((traceOpens) =>
      [false, true].flatMap((mappedFiles) =>
        [false, true].flatMap((programCode) =>
          [false, true].flatMap((fileSizeLimit) =>
            [false, true].map((openFilesLimit) => ({
              architecture,
              options: { traceOpens, mappedFiles, programCode, fileSizeLimit, openFilesLimit },
            })),
          ),
        ),
      ),
    ),
  );
  for (const { architecture, options } of wanted) {
    const name = compiledName(architecture, options);
    t.is(readFileSync(join(folder, name), "utf8"), compiledText(architecture, options), name);
  }
  t.is(readdirSync(folder).length, wanted.length);
});

test("A short run loads neither node:crypto nor a server, a worker or a process of Node's", (t) => {
  // What the command imports by itself; each of these takes as long to load as a sandbox takes to make.
  const command = join(dist, "command");
  const seen = new Set<string>();
  const loaded = new Set<string>();
  const follow = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    const text = readFileSync(join(command, file), "utf8");
    // Indented ones are imports at need.
    for (const [, name = ""] of text.matchAll(/^(?:const|let|var) .*require\("([^"]+)"\)/gm)) {
      if (name.startsWith("./")) follow(name.slice(2));
      else loaded.add(name);
    }
  };
  const entry = readdirSync(command).find((name) => /^run-.*\.cjs$/.test(name));
  t.truthy(entry);
  follow(entry ?? "");
  t.true(loaded.has("node:fs"));
  const { builtinModules } = createRequire(import.meta.url)("node:module") as typeof import("node:module");
  const dear = ["crypto", "child_process", "worker_threads", "http", "https", "dns", "cluster", "readline"];
  t.deepEqual(
    [...loaded].filter((name) => dear.includes(name.replace("node:", "")) || !isBuiltin(name, builtinModules)),
    [],
  );
});

function isBuiltin(name: string, all: readonly string[]): boolean {
  return name.startsWith("node:") || all.includes(name);
}
