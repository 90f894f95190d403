import { readFileSync } from "node:fs";

/** A file of /proc or /sys, trimmed; null where it is missing or may not be read. */
export function kernelSetting(path: string): string | null {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return null;
  }
}
