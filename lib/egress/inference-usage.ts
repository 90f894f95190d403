/** Tokens that a model read and wrote. */
export interface Usage {
  readonly input: number;
  readonly output: number;
}

/** The longest name of a count with its number. */
const overlap = 96;
/** Where no server counts: so many bytes of text are a token, roughly. */
const bytesPerToken = 4;

/** As the three interfaces name their counts; one within a string of JSON has a backslash before it. */
const count = /(?<!\\)"([A-Za-z_]+)"\s*:\s*([0-9]{1,12})(?![0-9.])/g;
const names: Readonly<Record<string, "input" | "cached" | "created" | "output">> = {
  input_tokens: "input",
  prompt_tokens: "input",
  inputTokens: "input",
  inputTokenCount: "input",
  cache_read_input_tokens: "cached",
  cacheReadInputTokens: "cached",
  cache_creation_input_tokens: "created",
  cacheWriteInputTokens: "created",
  output_tokens: "output",
  completion_tokens: "output",
  outputTokens: "output",
  outputTokenCount: "output",
};

/** Reads the tokens that an answer says it cost, while it passes: in one document, or in the events of a stream. */
export class UsageReader {
  readonly #asked: number;
  #answered = 0;
  #rest = "";
  readonly #counts = { input: 0, cached: 0, created: 0, output: 0 };
  #isTold = false;

  /** @param askedBytes the size of the request, where the answer says nothing */
  constructor(askedBytes: number) {
    this.#asked = askedBytes;
  }

  take(bytes: Buffer): void {
    this.#answered += bytes.length;
    const text = this.#rest + bytes.toString("latin1");
    for (const [, name = "", value] of text.matchAll(count)) {
      const kind = Object.hasOwn(names, name) ? names[name] : undefined;
      if (kind === undefined) continue;
      this.#isTold = true;
      // Streams tell what it came to so far, again and again.
      this.#counts[kind] = Math.max(this.#counts[kind], Number(value));
    }
    this.#rest = text.slice(-overlap);
  }

  get usage(): Usage {
    const { input, cached, created, output } = this.#counts;
    return this.#isTold ? { input: input + cached + created, output } : this.#estimate;
  }

  /** Of an answer that did not come to its end, where its server would have said what it came to. */
  get partialUsage(): Usage {
    const { input, output } = this.#estimate;
    const told = this.usage;
    return { input: told.input || input, output: Math.max(told.output, output) };
  }

  get #estimate(): Usage {
    const tokens = (bytes: number): number => Math.ceil(bytes / bytesPerToken);
    return { input: tokens(this.#asked), output: tokens(this.#answered) };
  }
}
