import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Where a program of the host's is; null when it is not on PATH. */
export function findOnPath(name: string): string | null {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  return null;
}
