import type { InferenceBudget, InferenceRoute } from "../policy/inference.ts";
import type { Usage } from "./inference-usage.ts";

/** What one session has used of what it may. */
export class Spending {
  readonly #budget: InferenceBudget;
  #requests = 0;
  #tokens = 0;
  #cost = 0;

  constructor(budget: InferenceBudget) {
    this.#budget = budget;
  }

  /** Whether tokens matter to anybody. */
  get countsTokens(): boolean {
    return this.#budget.tokens !== undefined || this.#budget.cost !== undefined;
  }

  /** Takes up one request. Returns what is used up already, in words; then it is not to be made. */
  begin(): string | undefined {
    const { requests, tokens, cost } = this.#budget;
    if (requests !== undefined && this.#requests >= requests) return `${requests} requests`;
    if (tokens !== undefined && this.#tokens >= tokens) return `${tokens} tokens`;
    if (cost !== undefined && this.#cost >= cost) return `a cost of ${cost}`;
    this.#requests++;
    return undefined;
  }

  /** What an answer came to. What runs at the same time is not known of each other: each may go over by one answer. */
  spend({ price }: InferenceRoute, { input, output }: Usage): void {
    this.#tokens += input + output;
    if (price !== undefined) this.#cost += (input * price.input + output * price.output) / 1_000_000;
  }
}
