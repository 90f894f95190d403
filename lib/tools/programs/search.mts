/**
 * The program behind `glob` and `grep`. It runs as a confined child inside the sandbox, so that neither the pattern nor
 * the tree that it is matched against ever meets the worker's own process. Request and answers: messages.mts.
 *
 * It imports nothing from outside its folder but Node's own modules: the folder alone is visible inside.
 */
import { closeSync, readFileSync, writeSync } from "node:fs";
import { glob } from "./glob.mts";
import { grep } from "./grep.mts";
import type { SearchMessage, SearchRequest } from "./messages.mts";
import { BadPattern } from "./pattern.mts";
import { isWithin, resolve, toBytes, Unresolved } from "./places.mts";

function main(): void {
  // What arrives was made by the worker; the shape is not checked again.
  const request = JSON.parse(readFileSync(0, "utf8")) as SearchRequest;
  try {
    search(request);
  } catch (error) {
    if (error instanceof Unresolved) say({ end: "unresolved", errno: error.errno });
    else if (error instanceof BadPattern || error instanceof SyntaxError)
      say({ end: "bad-pattern", reason: error.message });
    else throw error;
  }
}

function search(request: SearchRequest): void {
  const deadline = performance.now() + request.timeLimitMs;
  const [workdir = "/"] = request.roots;
  const place = resolve(absolute(workdir, request.path ?? ""));
  try {
    if (!request.roots.some((root) => isBelow(place.path, root))) {
      say({ end: "outside" });
      return;
    }
    const shownPath = request.path === null ? toBytes(workdir) : place.path;
    const { pattern } = request;
    if (request.tool === "glob") glob({ place, shownPath, pattern, deadline, say });
    else grep({ place, shownPath, pattern, say });
  } finally {
    closeSync(place.parent);
  }
}

/** Absolute, in bytes, with `..` collapsed in its text, before any link is followed. */
function absolute(workdir: string, path: string): string {
  const names: string[] = [];
  for (const name of toBytes(path.startsWith("/") ? path : `${workdir}/${path}`).split("/")) {
    if (name === "..") names.pop();
    else if (name !== "" && name !== ".") names.push(name);
  }
  return `/${names.join("/")}`;
}

/** The roots may be given through links; one that leads nowhere permits nothing. */
function isBelow(path: string, root: string): boolean {
  try {
    const place = resolve(absolute("/", root));
    closeSync(place.parent);
    return isWithin(path, place.path);
  } catch {
    return false;
  }
}

/** At once, not through a stream: what has been said must survive a kill in the middle of the next line. */
function say(message: SearchMessage): void {
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`, "utf8");
  for (let from = 0; from < bytes.length; ) {
    try {
      from += writeSync(1, bytes, from);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
      // The pipe is full and does not block: wait for the reader.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

main();
