/**
 * What the build makes of dist/lib besides: dist/command, the command in a few CommonJS files (a third of a short run's
 * time would go into finding and linking a hundred modules), and dist/seccomp/compiled, the filters ready for the kernel.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { rolldown } from "rolldown";
import type { Architecture, SeccompOptions } from "../lib/plan/seccomp-profile.ts";

const root = dirname(import.meta.dirname);
const dist = join(root, "dist");

async function bundleCommand(): Promise<void> {
  const dir = join(dist, "command");
  rmSync(dir, { recursive: true, force: true });
  const bundle = await rolldown({
    input: join(dist, "lib", "cli", "main.js"),
    platform: "node",
    // Dependencies are the package manager's.
    external: (id) => !/^[./]/.test(id),
    logLevel: "warn",
  });
  await bundle.write({ dir, format: "cjs", entryFileNames: "[name].cjs", chunkFileNames: "[name]-[hash].cjs" });
  await bundle.close();
}

/** Every combination of the options that a sandbox with namespaces may have. */
function* combinations(): Generator<SeccompOptions> {
  const options = ["traceOpens", "mappedFiles", "programCode", "fileSizeLimit", "openFilesLimit"] as const;
  for (let bits = 0; bits < 2 ** options.length; bits++)
    yield Object.fromEntries(options.map((option, place) => [option, (bits & (2 ** place)) !== 0]));
}

async function compileFilters(): Promise<void> {
  const folder = join(dist, "seccomp", "compiled");
  rmSync(folder, { recursive: true, force: true });
  const { compiledName, compiledText }: typeof import("../lib/plan/filter.ts") = await import(
    join(dist, "lib", "plan", "filter.js")
  );
  const architectures: readonly Architecture[] = ["x86_64", "aarch64"];
  const files = architectures.flatMap((architecture) =>
    [...combinations()].map(
      (options) => [compiledName(architecture, options), compiledText(architecture, options)] as const,
    ),
  );
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of files) writeFileSync(join(folder, name), text);
}

await bundleCommand();
await compileFilters();
