/**
 * Counts what `ava --tap` prints, line by line. A test that finds out while it runs that this host cannot show what it is
 * about says so with `t.log("skipped: <reason>")`; it is counted as skipped.
 */
export class TapCounter {
  passed = 0;
  failed = 0;
  readonly skipped: string[] = [];
  /** Each failure with its diagnostics. */
  readonly failures: string[] = [];
  #block: string[] | undefined;
  #lastPassed: string | undefined;

  add(line: string): void {
    const result = /^(not ok|ok) \d+ - (.*)$/.exec(line);
    if (!result) {
      const reason = /^#\s+skipped: (.*)$/.exec(line)?.[1];
      if (reason !== undefined && this.#lastPassed !== undefined) {
        this.passed -= 1;
        this.skipped.push(`${this.#lastPassed}: ${reason}`);
        this.#lastPassed = undefined;
      }
      if (this.#block && this.#block.length < 60 && /^(\s|#)/.test(line)) this.#block.push(line);
      return;
    }
    this.#close();
    this.#lastPassed = undefined;
    const [, verdict, title = ""] = result;
    if (/ # (SKIP|TODO)\b/i.test(title)) {
      this.skipped.push(title.replace(/ # (SKIP|TODO)\b.*$/i, ""));
    } else if (verdict === "ok") {
      this.passed += 1;
      this.#lastPassed = title;
    } else {
      this.failed += 1;
      this.#block = [`not ok: ${title}`];
    }
  }

  end(): void {
    this.#close();
  }

  #close(): void {
    if (this.#block) this.failures.push(this.#block.join("\n"));
    this.#block = undefined;
  }
}
