import type { InferenceFamily } from "../policy/inference.ts";

/** What a request asks a model for. */
export interface InferenceShape {
  readonly family: InferenceFamily;
  /** Of the body, or of the path between the two. */
  readonly modelIn: "body" | "path" | null;
  /** With a body that streams, the usage comes only when it is asked for. */
  readonly usageOnDemand?: true;
  /** No model reads or writes anything: the counts in an answer are no usage. */
  readonly isFree?: true;
}

const exact: Readonly<Record<string, InferenceShape>> = {
  "POST /v1/chat/completions": { family: "openai", modelIn: "body", usageOnDemand: true },
  "POST /v1/completions": { family: "openai", modelIn: "body", usageOnDemand: true },
  "POST /v1/responses": { family: "openai", modelIn: "body" },
  "POST /v1/embeddings": { family: "openai", modelIn: "body" },
  "GET /v1/models": { family: "openai", modelIn: null, isFree: true },
  "POST /v1/messages": { family: "anthropic", modelIn: "body" },
  "POST /v1/messages/count_tokens": { family: "anthropic", modelIn: "body", isFree: true },
};
const oneModel = /^\/v1\/models\/[^/]+$/;
const bedrockModel = /^\/model\/([^/]+)(\/(?:invoke|invoke-with-response-stream|converse|converse-stream))$/;

/**
 * What a request is, by its method and path; undefined where it asks no model.
 *
 * @param isAnthropic it says so by a header: both interfaces list models at one path
 */
export function shapeOf(method: string, path: string, isAnthropic: boolean): InferenceShape | undefined {
  const known = exact[`${method} ${path}`];
  if (known?.modelIn === null || (method === "GET" && oneModel.test(path)))
    return { family: isAnthropic ? "anthropic" : "openai", modelIn: null, isFree: true };
  if (known !== undefined) return known;
  return method === "POST" && modelOf(path) !== undefined ? { family: "bedrock", modelIn: "path" } : undefined;
}

/** Whose client asks what asks no model. */
export function familyOf(path: string, isAnthropic: boolean): InferenceFamily {
  if (path.startsWith("/model/")) return "bedrock";
  return isAnthropic || path.startsWith("/v1/messages") ? "anthropic" : "openai";
}

/** The path with another model in it. */
export function withModel(path: string, model: string): string {
  return path.replace(bedrockModel, (_path, _asked, verb: string) => `/model/${encodeURIComponent(model)}${verb}`);
}

/** The model that a path names; undefined also where its encoding is broken. */
export function modelOf(path: string): string | undefined {
  const [, asked] = bedrockModel.exec(path) ?? [];
  if (asked === undefined) return undefined;
  try {
    return decodeURIComponent(asked);
  } catch {
    return undefined;
  }
}
