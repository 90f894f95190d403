import type { InferenceFamily } from "../policy/inference.ts";
import { secretsInUse } from "../secrets/secret-search.ts";

/** What is said instead of a model's answer, so that its family's clients show it. */
export interface InferenceRefusal {
  readonly fields: Readonly<Record<string, string>>;
  readonly body: string;
}

/** By status: the word of OpenAI's and Anthropic's interfaces, and the exception of Bedrock's. */
const kinds: Readonly<Record<number, readonly [word: string, exception: string]>> = {
  400: ["invalid_request_error", "ValidationException"],
  403: ["permission_error", "AccessDeniedException"],
  413: ["request_too_large", "ValidationException"],
  429: ["rate_limit_error", "ThrottlingException"],
};

/** @param code which of holdfast's own answers it is */
export function inferenceRefusal(
  family: InferenceFamily,
  status: number,
  code: string,
  said: string,
): InferenceRefusal {
  const message = secretsInUse.redact(said);
  const [type, exception] = kinds[status] ?? ["api_error", "ServiceUnavailableException"];
  // Asked again it would be the same: clients of both interfaces know this field.
  const again: Record<string, string> = status < 500 ? { "X-Should-Retry": "false" } : {};
  const say = (value: object, fields: Readonly<Record<string, string>> = {}): InferenceRefusal => ({
    fields: { "Content-Type": "application/json", ...again, ...fields },
    body: `${JSON.stringify(value)}\n`,
  });
  if (family === "bedrock") return say({ message, code }, { "X-Amzn-ErrorType": exception });
  if (family === "anthropic") return say({ type: "error", error: { type, message, code } });
  return say({ error: { message, type, param: null, code } });
}
