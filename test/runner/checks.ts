import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hasProgram, runCommand } from "./command.ts";
import { failed, type Outcome, passed, type Step, skipped, tail } from "./step.ts";

const seconds = 1000;

/** clang's analyzer without our bound: minutes instead of half a one. */
const isDeep = process.env["HOLDFAST_LINT"] === "deep";

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
export function staticChecks(root: string): { texts: Step[]; cpp: Step[] } {
  const bin = (name: string): string => join(root, "node_modules", ".bin", name);
  const native = (pattern: string): string[] => globSync(pattern, { cwd: root }).sort();
  const development = join("build", "cmake-check");
  // As few translation units as there are processors: most of the time goes to the standard library's headers.
  const configuration = ["--debug", "--out", development, "--CDHOLDFAST_SANITIZE=ON", "--CDHOLDFAST_UNITY=ON"];
  const texts: Step[] = [
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
  ];
  const cpp: Step[] = [
    {
      name: "C++ unit tests (ASan, UBSan)",
      limitMs: 240 * seconds,
      run: async (limitMs) => {
        const absent = await missing("cmake");
        if (absent) return skipped(`${absent} is not installed`);
        const begin = Date.now();
        // configure every time: a build folder whose configuration once failed would stay broken.
        for (const command of [["configure"], ["build", "--target", "holdfast_test", "--parallel", "2"]]) {
          const done = await check(root, limitMs, bin("cmake-js"), [...command, ...configuration]);
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
        const commands = readFileSync(join(root, development, "compile_commands.json"), "utf8");
        const sources: string[] = JSON.parse(commands).map(({ file }: { file: string }) => file);
        const isLong = (file: string): boolean => /\/Unity\/|\/addon\.cc$/.test(file);
        const files = sources
          .filter((file) => /\.(cc|cxx)$/.test(file) && !file.includes("/native/test/"))
          .sort((one, other) => Number(isLong(other)) - Number(isLong(one)));
        // What a unity source includes is ours as well: without the first option the analyzer would leave it out.
        // The second bounds what it tries of one function, which is a tenth of its own bound: nine tenths of the time.
        const analyzer = ["-analyzer-opt-analyze-headers", ...(isDeep ? [] : ["-analyzer-config", "max-nodes=20000"])];
        const options = analyzer.flatMap((word) => ["--extra-arg=-Xclang", `--extra-arg=${word}`]);
        options.push("--checks=-bugprone-suspicious-include");
        const script = `printf "%s\\0" "$@" | xargs -0 -n 1 -P 2 clang-tidy --quiet -p ${development} ${options.join(" ")}`;
        const outcome = await check(root, limitMs, "/bin/sh", ["-c", script, "sh", ...files], 10_000);
        // The path that led to a finding is long; the finding and its line are enough here.
        const findings = outcome.detail.match(/^.*: error: .*\n.*$/gm);
        return findings ? { ...outcome, detail: findings.join("\n") } : outcome;
      },
    },
  ];
  return { texts, cpp };
}
