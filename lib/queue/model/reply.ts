/** A call as the model asked for it. */
export interface AskedCall {
  readonly name: string;
  readonly input: Readonly<Record<string, unknown>>;
  /** Why it cannot be made: what it was asked with is no object of JSON. */
  readonly fault?: string;
}

/** What a model answered. */
export interface ModelReply {
  readonly text: string;
  readonly calls: readonly AskedCall[];
  /** `length`: it was cut off where it may say no more; `refusal`: it will not do it. */
  readonly ending: "done" | "length" | "refusal";
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** An answer that is none of its interface: it may be another one the next time. */
export class UnusableAnswer extends Error {
  override readonly name = "UnusableAnswer";
}

const mostCalls = 64;

/** @throws UnusableAnswer where there is nothing to go on with */
export function checkReply(reply: ModelReply): ModelReply {
  const { text, calls, ending } = reply;
  if (calls.length > mostCalls) throw new UnusableAnswer(`it makes ${calls.length} calls at once`);
  if (text === "" && calls.length === 0 && ending === "done") throw new UnusableAnswer("it is empty");
  return reply;
}

/** The arguments of a call: an object, or the JSON of one; models write others. */
export function argumentsOf(name: string, given: unknown): AskedCall {
  if (isObject(given)) return { name, input: given };
  const refused = (why: string): AskedCall => ({
    name,
    input: {},
    fault: `${name}: the arguments ${why}; send an object of JSON. They were: ${clip(String(given), 400)}`,
  });
  if (typeof given !== "string")
    return given === undefined || given === null ? { name, input: {} } : refused("are none");
  if (given.trim() === "") return { name, input: {} };
  try {
    const value: unknown = JSON.parse(given);
    return isObject(value) ? { name, input: value } : refused("are no object");
  } catch (error) {
    return refused(`are not valid JSON (${error instanceof Error ? clip(error.message, 120) : error})`);
  }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Of a count that a server says; nothing where it says none. */
export function countOf(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) && value > 0 ? Math.round(value) : 0;
}

export function clip(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most).toWellFormed()}…` : text.toWellFormed();
}
