import { globSync } from "node:fs";
import { join } from "node:path";
import { hasProgram, runCommand } from "./command.ts";
import { failed, type Outcome, passed, type Step, skipped, tail } from "./step.ts";

const seconds = 1000;

async function check(
  root: string,
  limitMs: number,
  file: string,
  args: readonly string[],
  lines = 80,
): Promise<Outcome> {
  const result = await runCommand(file, args, { cwd: root, limitMs });
  if (result.exitCode === 0) return passed();
  const why = result.timedOut ? `\nended after ${limitMs / 1000} s` : "";
  return failed(`${tail(result.output, lines)}${why}`);
}

async function missing(...programs: readonly string[]): Promise<string | undefined> {
  for (const name of programs) if (!(await hasProgram(name))) return name;
  return undefined;
}

/** Everything that needs no sandbox: the text, the types, the package, the C++ side. */
export function staticChecks(root: string): Step[] {
  const bin = (name: string): string => join(root, "node_modules", ".bin", name);
  const native = (pattern: string): string[] => globSync(pattern, { cwd: root }).sort();
  const development = join("build", "cmake-debug");
  return [
    {
      name: "format and lint (biome)",
      limitMs: 60 * seconds,
      run: (limitMs) =>
        check(root, limitMs, bin("biome"), ["check", "--diagnostic-level=warn", "--max-diagnostics=50", "."]),
    },
    {
      name: "package (publint)",
      limitMs: 60 * seconds,
      run: (limitMs) => check(root, limitMs, bin("publint"), ["--strict", "--pack", "npm"]),
    },
    {
      name: "types (tsc)",
      limitMs: 90 * seconds,
      run: (limitMs) => check(root, limitMs, bin("tsc"), ["-p", "tsconfig.json"]),
    },
    {
      name: "C++ format (clang-format)",
      limitMs: 30 * seconds,
      run: async (limitMs) => {
        if (await missing("clang-format")) return skipped("clang-format is not installed");
        return check(root, limitMs, "clang-format", ["--dry-run", "-Werror", ...native("native/**/*.{cc,h}")]);
      },
    },
    {
      name: "C++ unit tests (ASan, UBSan)",
      limitMs: 240 * seconds,
      run: async (limitMs) => {
        const absent = await missing("cmake");
        if (absent) return skipped(`${absent} is not installed`);
        const begin = Date.now();
        // configure every time: a build folder whose configuration once failed would stay broken.
        for (const command of ["configure", "build"]) {
          const args = [command, "--debug", "--out", development, "--CDHOLDFAST_SANITIZE=ON"];
          const done = await check(root, limitMs, bin("cmake-js"), args);
          if (done.failed > 0) return done;
        }
        const found = await runCommand("grep", ["-q", "^DOCTEST_INCLUDE.*NOTFOUND", `${development}/CMakeCache.txt`], {
          cwd: root,
          limitMs: 5000,
        });
        if (found.exitCode === 0) return skipped("doctest is not installed (Debian: doctest-dev)");
        return check(root, limitMs - (Date.now() - begin), "ctest", ["--test-dir", development, "--output-on-failure"]);
      },
    },
    {
      name: "C++ lint (clang-tidy)",
      limitMs: 300 * seconds,
      run: async (limitMs) => {
        const absent = await missing("clang-tidy", "cmake", "xargs");
        if (absent) return skipped(`${absent} is not installed`);
        // compile_commands.json is there: the step before this one configured the build.
        const files = native("native/{,init/}*.cc");
        const script = 'printf "%s\\0" "$@" | xargs -0 -n 1 -P 2 clang-tidy --quiet -p build/cmake-debug';
        const outcome = await check(root, limitMs, "/bin/sh", ["-c", script, "sh", ...files], 10_000);
        // The path that led to a finding is long; the finding and its line are enough here.
        const findings = outcome.detail.match(/^.*: error: .*\n.*$/gm);
        return findings ? { ...outcome, detail: findings.join("\n") } : outcome;
      },
    },
  ];
}
