import { existsSync } from "node:fs";
import { join } from "node:path";

/**
 * Counts what ava prints, line by line. Its own format and not TAP: ava 8.0.1's TAP reporter breaks down on a timeout, just
 * when the names of the tests that hang are wanted.
 *
 * A test that finds out while it runs that this host cannot show what it is about says so with
 * `t.log("skipped: <reason>")`; it is counted as skipped.
 */
export class AvaOutput {
  passed = 0;
  failed = 0;
  readonly skipped: string[] = [];
  /** Whether the summary came: without it ava broke down. */
  ended = false;
  /** The files of the tests that failed. */
  readonly failedFiles: Set<string> = new Set();
  readonly #rest: string[] = [];
  #lastPassed: string | undefined;

  add(line: string): void {
    const pass = /^ {2}✔ (?:\[expected fail\] )?(.*?)(?: \([\d.]+m?s\))?$/.exec(line)?.[1];
    if (pass !== undefined) {
      this.passed += 1;
      this.#lastPassed = pass;
      return;
    }
    if (this.#lastPassed !== undefined && /^ {4}/.test(line)) {
      const reason = /^ {4}ℹ skipped: (.*)$/.exec(line)?.[1];
      if (reason !== undefined) {
        this.passed -= 1;
        this.skipped.push(`${this.#lastPassed}: ${reason}`);
        this.#lastPassed = undefined;
      }
      return;
    }
    this.#lastPassed = undefined;
    const skip = /^ {2}- \[(?:skip|todo)\] (.*)$/.exec(line)?.[1];
    if (skip !== undefined) {
      this.skipped.push(skip);
      return;
    }
    if (/^ {2}✘ /.test(line)) {
      this.failed += 1;
      // A title begins with the file's place: folders and name, each before " › ".
      const place = /^ {2}✘ \[fail\]: (.*) › /.exec(line)?.[1]?.split(" › ");
      const file = /^ {2}✘ (test\/\S+\.test\.ts) /.exec(line)?.[1];
      if (file !== undefined) this.failedFiles.add(file);
      else if (place !== undefined) this.failedFiles.add(fileOf(place));
    }
    if (/^ {2}\d+ tests? (passed|failed)|^ {2}\d+ (uncaught|unhandled)|remained pending/.test(line)) this.ended = true;
    this.#rest.push(line);
  }

  /** Everything but what passed: failures, exceptions, tests that hang. */
  get detail(): string {
    return this.#rest
      .join("\n")
      .replace(/\n{3,}/g, "\n\n")
      .trim();
  }
}

/** The shortest prefix of a test's place that can be a file: `e2e › run › A title › with an arrow`. */
function fileOf(place: readonly string[]): string {
  for (let length = 1; length <= place.length; length++) {
    const file = `test/${place.slice(0, length).join("/")}.test.ts`;
    if (existsSync(join(import.meta.dirname, "..", "..", file))) return file;
  }
  return `test/${place.join("/")}.test.ts`;
}
