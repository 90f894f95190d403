import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";

const lib = join(import.meta.dirname, "..", "..", "lib");
const comment = String.raw`\/\*\*(?:(?!\*\/)[^])*\*\/\s*`;

/** What is between a brace and the one that closes it. */
function bodyFrom(text: string): string {
  let depth = 0;
  for (let at = text.indexOf("{"), from = at; at < text.length; at++) {
    if (text[at] === "{") depth++;
    if (text[at] === "}" && --depth === 0) return text.slice(from + 1, at);
  }
  return "";
}

/** The names of a module's declaration that have no comment of their own above them. */
function undocumented(source: string, name: string): string[] {
  const kinds = String.raw`(?:const|function\*?|async function\*?|class|interface|type)`;
  const found = new RegExp(`(${comment})?export (${kinds}) ${name}\\b`).exec(source);
  if (found === null) return [`${name} is not there`];
  const missing = found[1] === undefined ? [name] : [];
  if (found[2] !== "class" && found[2] !== "interface") return missing;
  const lines = bodyFrom(source.slice(found.index + found[0].length)).split("\n");
  for (const [place, line] of lines.entries()) {
    const member = /^ {2}(?:static |readonly |async |get )*(\w+|\[Symbol\.\w+\])\??[(:]/.exec(line)?.[1];
    if (member === undefined || member === "constructor") continue;
    if (!lines[place - 1]?.trimEnd().endsWith("*/")) missing.push(`${name}.${member}`);
  }
  return missing;
}

test("Everything that an importer may use says what it is, member by member", (t) => {
  const index = readFileSync(join(lib, "index.ts"), "utf8");
  let looked = 0;
  for (const [, names = "", file = ""] of index.matchAll(/export (?:type )?\{([^}]*)\} from "\.\/([^"]+)"/g)) {
    const source = readFileSync(join(lib, file), "utf8");
    for (const entry of names.split(",")) {
      const name = entry
        .trim()
        .replace(/^type /, "")
        .replace(/ as .*/, "");
      if (name === "") continue;
      looked++;
      t.deepEqual(undocumented(source, name), [], file);
    }
  }
  t.true(looked > 40);
});
