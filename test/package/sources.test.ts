import { execSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "ava";

const checkout = dirname(dirname(import.meta.dirname));
const read = (path: string): string => readFileSync(join(checkout, path), "utf8");

/** What the commands in binding.gyp list, target by target. */
function gypSources(): string[][] {
  const commands = [...read("binding.gyp").matchAll(/"sources": \["<!@\((.*)\)"\]/g)].map((match) => match[1] ?? "");
  return commands.map((command) =>
    execSync(command.replaceAll('\\"', '"'), { cwd: checkout, encoding: "utf8" }).trim().split(/\s+/).sort(),
  );
}

function cmakeSources(name: string): string[] {
  const patterns =
    new RegExp(`file\\(GLOB ${name} CONFIGURE_DEPENDS ([^)]*)\\)`).exec(read("CMakeLists.txt"))?.[1] ?? "";
  return globSync(patterns.split(/\s+/), { cwd: checkout }).sort();
}

test("The shipping build and the development build have the same sources", (t) => {
  const [init = [], addon = []] = gypSources();
  t.true(init.length > 0 && addon.length > 0);
  t.deepEqual(init, cmakeSources("HOLDFAST_INIT_SOURCES"));
  t.deepEqual(addon, cmakeSources("HOLDFAST_ADDON_SOURCES"));
});

test("The shipping build and the development build define the same of Node-API", (t) => {
  const names = (text: string): string[] =>
    [...new Set(text.match(/\b(NAPI_VERSION=\d+|(NAPI|NODE_ADDON_API|NODE_API)_[A-Z_]{5,})(?![\w=])/g))].sort();
  const gyp = names(read("binding.gyp"));
  t.true(gyp.includes("NAPI_VERSION=9"));
  t.deepEqual(gyp, names(read("CMakeLists.txt")));
});
