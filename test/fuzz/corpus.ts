import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const fileOf = (target: string): string => join(import.meta.dirname, "corpus", `${target}.txt`);

/** Inputs that were kept: each is a line, a string of JSON whose characters are bytes. */
export function readCorpus(target: string): Buffer[] {
  const file = fileOf(target);
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "");
  return lines.map((line) => Buffer.from(JSON.parse(line), "latin1"));
}

export function writeCorpus(target: string, inputs: readonly Buffer[]): void {
  const lines = inputs.map((input) => JSON.stringify(input.toString("latin1")).replace(/[\x7f-\xff]/g, escaped));
  writeFileSync(fileOf(target), lines.map((line) => `${line}\n`).join(""));
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
