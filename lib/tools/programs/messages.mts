/** What a search is asked for: one JSON object on standard input. */
export interface SearchRequest {
  readonly tool: "glob" | "grep";
  readonly pattern: string;
  /** As given by the model; null is the working directory. */
  readonly path: string | null;
  /** Folders that the path may lead into; the working directory first. */
  readonly roots: readonly string[];
  /** When to stop looking and give what was found. */
  readonly timeLimitMs: number;
}

/**
 * What a search says: JSON objects on standard output, one a line. Any number of results, then one end; without an end
 * the search was killed, and the results before it count.
 */
export type SearchMessage =
  | { readonly line: string }
  | { readonly end: "complete" | "truncated" | "out-of-time" }
  | { readonly end: "outside" }
  | { readonly end: "unresolved"; readonly errno: string }
  /** The pattern cannot be used, and why. */
  | { readonly end: "bad-pattern"; readonly reason: string };
