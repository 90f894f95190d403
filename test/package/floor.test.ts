import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { dirname } from "node:path";
import test from "ava";

const checkout = dirname(dirname(import.meta.dirname));

/** What the oldest distribution that Node itself supports has (RHEL 8). */
const floor: Record<string, string> = { GLIBC: "2.28", GLIBCXX: "3.4.25", CXXABI: "1.3.11", GCC: "8.0.0" };

function isNewer(version: string, than: string): boolean {
  const [a, b] = [version.split(".").map(Number), than.split(".").map(Number)];
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

function readelf(...args: string[]): string | undefined {
  const run = spawnSync("readelf", args, { cwd: checkout, encoding: "utf8" });
  return run.error ? undefined : run.stdout;
}

const addons = globSync(["build/Release/holdfast.node", "prebuilds/linux-*/*.node"], { cwd: checkout });

test("The addon loads on glibc 2.28 and libstdc++ of GCC 8", (t) => {
  t.true(addons.length > 0, "nothing was built");
  for (const addon of addons) {
    const text = readelf("--wide", "--version-info", addon);
    if (text === undefined) {
      t.log("skipped: readelf (binutils) is not installed");
      t.pass();
      return;
    }
    const needs = [...text.matchAll(/Name: ([A-Z]+)_([0-9.]+)\b/g)].map(([, name = "", version = ""]) => ({
      name,
      version,
    }));
    t.true(needs.some(({ name }) => name === "GLIBC"));
    const above = needs.filter(({ name, version }) => isNewer(version, floor[name] ?? "0"));
    t.deepEqual(above, [], addon);
  }
});

test("The init needs no library of the host, and neither binary has an executable stack or writable code", (t) => {
  const init = "build/Release/holdfast_init";
  const headers = readelf("--wide", "--segments", init);
  if (headers === undefined) {
    t.log("skipped: readelf (binutils) is not installed");
    t.pass();
    return;
  }
  t.notRegex(headers, /INTERP|DYNAMIC|\.got|init_array/);
  for (const file of [init, ...addons]) {
    const segments = readelf("--wide", "--segments", file) ?? "";
    t.regex(segments, /GNU_STACK .* RW /, file);
    // The init has nothing that would be relocated, and so nothing to protect once it is.
    if (file !== init) t.regex(segments, /GNU_RELRO/, file);
    t.notRegex(segments, /LOAD .* RWE /, file);
  }
});
