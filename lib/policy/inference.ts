import type { Place } from "./problem.ts";
import type { CredentialSource } from "./token-source.ts";

/** The name inside at which models are asked, whoever serves them. */
export const inferenceHost = "inference.local";

/** Whose interface a model is asked by; a request goes to a route of its own family. */
export const inferenceFamilies = ["openai", "anthropic", "bedrock"] as const;
export type InferenceFamily = (typeof inferenceFamilies)[number];

/** One server of models. */
export interface InferenceRoute extends Place {
  readonly name: string;
  readonly family: InferenceFamily;
  /** `http` or `https`, without a path's end: what comes after `/v1` inside comes after it outside as well. */
  readonly url: string;
  /** Absent: the server asks for none. */
  readonly key?: CredentialSource;
  /** Where the key is of AWS's: what requests are signed for. */
  readonly region?: string;
  /** Asked for whatever the caller names; absent: what the caller names. */
  readonly model?: string;
  /** How long its answer may take to begin. */
  readonly timeoutMs: number;
  /** Of a million tokens, in the currency of the budget. */
  readonly price?: { readonly input: number; readonly output: number };
}

/** What one session may use, over all routes. */
export interface InferenceBudget {
  readonly requests?: number;
  /** Read and written together. */
  readonly tokens?: number;
  readonly cost?: number;
}

export interface Inference {
  /** In the order in which they are tried. */
  readonly routes: readonly InferenceRoute[];
  readonly budget: InferenceBudget;
}
