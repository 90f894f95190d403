// The C++ parsers, by libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer (Debian: clang, libclang-rt-14-dev).
import { spawnSync } from "node:child_process";
import { globSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";

const root = join(import.meta.dirname, "..", "..");
const native = join(root, "native");

/** Each target, with the source that it is about. */
const sources: Readonly<Record<string, string>> = { program: "init/program.cc", sock_diag: "sock_diag.cc" };

export const nativeTargets: readonly string[] = globSync(join(native, "fuzz", "*_fuzz.cc"))
  .map((file) => `native/${basename(file, "_fuzz.cc")}`)
  .sort();

function compiler(): string | undefined {
  const names = ["clang", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"];
  return names.find((name) => spawnSync(name, ["--version"]).error === undefined);
}

/** What libFuzzer said last; a fault is in `failed`. Undefined where there is no clang. */
export function fuzzNative(target: string, seconds: number): { said: string; failed: boolean } | undefined {
  const clang = compiler();
  if (clang === undefined) return undefined;
  const name = basename(target);
  const folder = join(root, "build", "fuzz", name);
  mkdirSync(folder, { recursive: true });
  const program = `${folder}-fuzz`;
  const sanitizers = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=undefined"];
  const files = [join(native, "fuzz", `${name}_fuzz.cc`), join(native, sources[name] ?? "")];
  const built = spawnSync(
    clang,
    ["--driver-mode=g++", "-std=c++17", "-g", "-O1", ...sanitizers, `-I${native}`, ...files, "-o", program],
    { encoding: "utf8" },
  );
  if (built.status !== 0) return { said: built.stderr, failed: true };
  const findings = join(import.meta.dirname, "findings", `${name}-`);
  mkdirSync(join(import.meta.dirname, "findings"), { recursive: true });
  const limits = [`-max_total_time=${seconds}`, "-max_len=1024", `-artifact_prefix=${findings}`];
  const ran = spawnSync(program, [...limits, folder], { encoding: "utf8", maxBuffer: 1 << 28 });
  const last = ran.stderr.trim().split("\n");
  return ran.status === 0
    ? { said: last.findLast((line) => line.includes("DONE"))?.trim() ?? "", failed: false }
    : { said: last.slice(-40).join("\n"), failed: true };
}
