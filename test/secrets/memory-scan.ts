// Prints what of a secret is in a process's memory: memory-scan.ts PID FILE; as {"locked": [forms], "elsewhere": [forms]}.
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { finds } from "./secret-search.ts";

const [pid = "", file = ""] = process.argv.slice(2);
const secret = readFileSync(file, "latin1").trimEnd();
const pieceBytes = 16 * 1024 * 1024;
const found = { locked: new Set<string>(), elsewhere: new Set<string>() };

interface Region {
  readonly from: number;
  readonly until: number;
  readonly flags: string;
}

/** What a core dump could hold (proc_pid_smaps(5)). */
function regions(): Region[] {
  const all: Region[] = [];
  let at: Omit<Region, "flags"> | undefined;
  for (const line of readFileSync(`/proc/${pid}/smaps`, "latin1").split("\n")) {
    const [, from = "", until = "", rights = ""] = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line) ?? [];
    if (rights !== "")
      at = rights.startsWith("rw") ? { from: Number.parseInt(from, 16), until: Number.parseInt(until, 16) } : undefined;
    const [, flags] = /^VmFlags: (.*)/.exec(line) ?? [];
    if (flags !== undefined && at !== undefined) all.push({ ...at, flags: ` ${flags} ` });
  }
  return all;
}

const memory = openSync(`/proc/${pid}/mem`, "r");
for (const { from, until, flags } of regions()) {
  const into = flags.includes(" dd ") && flags.includes(" lo ") ? found.locked : found.elsewhere;
  for (let at = from; at < until; at += pieceBytes) {
    // With an overlap: nothing is cut.
    const piece = Buffer.alloc(Math.min(pieceBytes + 4096, until - at));
    try {
      const size = readSync(memory, piece, 0, piece.length, at);
      for (const form of finds(piece.subarray(0, size), secret)) into.add(form);
    } catch {
      // Not there any more, or never: a device's, a guard page.
    }
  }
}
closeSync(memory);
process.stdout.write(JSON.stringify({ locked: [...found.locked], elsewhere: [...found.elsewhere] }));
