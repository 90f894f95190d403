/**
 * Makes prebuilds/linux-<arch>/ for the package, for x64 and arm64: the addon by prebuildify, and the init beside it. In a
 * folder of its own, since prebuildify deletes build/ and moves the addon out of it.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { arch as hostArch } from "node:os";
import { dirname, join } from "node:path";
import { gypEnvironment } from "./headers.ts";

const root = dirname(import.meta.dirname);

/** Debian's cross compilers; the same architecture needs none. */
const crossPrefix = new Map([
  ["arm64", "aarch64-linux-gnu-"],
  ["x64", "x86_64-linux-gnu-"],
]);

function crossEnvironment(arch: string): NodeJS.ProcessEnv | undefined {
  if (arch === hostArch()) return {};
  const prefix = crossPrefix.get(arch) ?? "";
  if (spawnSync(`${prefix}g++`, ["--version"], { stdio: "ignore" }).status !== 0) return undefined;
  return {
    CC: `${prefix}gcc`,
    CXX: `${prefix}g++`,
    AR: `${prefix}ar`,
    PREBUILD_STRIP_BIN: `${prefix}strip`,
  };
}

function prebuild(arch: string): boolean {
  const cross = crossEnvironment(arch);
  if (!cross) {
    console.error(
      `linux-${arch}: skipped: there is no cross compiler (Debian: g++-${arch === "arm64" ? "aarch64" : "x86-64"}-linux-gnu)`,
    );
    return true;
  }
  const cache = join(root, "node_modules", ".cache");
  mkdirSync(cache, { recursive: true });
  const stage = mkdtempSync(join(cache, "holdfast-prebuild-"));
  try {
    for (const name of ["package.json", "binding.gyp"]) copyFileSync(join(root, name), join(stage, name));
    for (const name of ["native", "node_modules"]) symlinkSync(join(root, name), join(stage, name));
    const args = ["--napi", "--strip", "--tag-libc", "--platform", "linux", "--arch", arch, "--out", root];
    const { status } = spawnSync(join(root, "node_modules", ".bin", "prebuildify"), args, {
      cwd: stage,
      env: { ...gypEnvironment(root), ...cross },
      stdio: ["ignore", 2, 2],
    });
    if (status !== 0) return false;
    copyFileSync(
      join(stage, "build", "Release", "holdfast_init"),
      join(root, "prebuilds", `linux-${arch}`, "holdfast_init"),
    );
    console.error(`linux-${arch}: made`);
    return true;
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

rmSync(join(root, "prebuilds"), { recursive: true, force: true });
const made = ["x64", "arm64"].map(prebuild);
process.exitCode = made.every(Boolean) ? 0 : 1;
