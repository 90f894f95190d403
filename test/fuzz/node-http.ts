// Node's own parser of HTTP/1.1 (llhttp, strict), byte by byte where a test wants it: the oracle for ours.
// @ts-expect-error: no types, since nobody else is to use it
import { HTTPParser, methods } from "node:_http_common";

export const knownMethods: ReadonlySet<string> = new Set(methods as string[]);

export interface Seen {
  readonly method?: string;
  readonly url?: string;
  readonly status?: number;
  /** Names and values in turn. */
  readonly fields: readonly string[];
  readonly body: string;
  readonly isDone: boolean;
}

export interface NodeRead {
  readonly messages: readonly Seen[];
  readonly error: string | undefined;
}

/** @param options ends tells it that the connection has ended */
export function nodeReads(
  kind: "request" | "response",
  pieces: readonly Buffer[],
  options: { readonly ends?: boolean } = {},
): NodeRead {
  const parser = new HTTPParser();
  // A head's bound is not what is compared.
  parser.initialize(kind === "request" ? HTTPParser.REQUEST : HTTPParser.RESPONSE, {}, 1 << 24, 0);
  const messages: { -readonly [Key in keyof Seen]: Seen[Key] }[] = [];
  let early: string[] = [];
  let earlyUrl = "";
  parser[HTTPParser.kOnHeaders] = (fields: string[], url: string) => {
    early.push(...fields);
    earlyUrl += url;
  };
  parser[HTTPParser.kOnHeadersComplete] = (...given: unknown[]) => {
    const [, , fields, method, url, status] = given as [number, number, string[]?, number?, string?, number?];
    messages.push({
      fields: [...early, ...(fields ?? [])],
      ...(kind === "request" ? { method: methods[method ?? 0], url: earlyUrl + (url ?? "") } : { status: status ?? 0 }),
      body: "",
      isDone: false,
    });
    early = [];
    earlyUrl = "";
    return 0;
  };
  parser[HTTPParser.kOnBody] = (part: Buffer) => {
    const last = messages.at(-1);
    if (last !== undefined) last.body += part.toString("latin1");
  };
  parser[HTTPParser.kOnMessageComplete] = () => {
    const last = messages.at(-1);
    if (last !== undefined) last.isDone = true;
    early = [];
  };
  let error: string | undefined;
  for (const piece of pieces) {
    const result = parser.execute(piece);
    if (!(result instanceof Error)) continue;
    error = String((result as NodeJS.ErrnoException).code);
    break;
  }
  if (options.ends === true && error === undefined) {
    const result = parser.finish();
    if (result instanceof Error) error = String((result as NodeJS.ErrnoException).code);
  }
  parser.free?.();
  return { messages, error };
}

/** The same bytes in pieces, as a number says. */
export function cut(data: Buffer, seed: number): Buffer[] {
  if (seed % 4 === 0) return [data];
  const pieces: Buffer[] = [];
  let state = seed >>> 0;
  for (let at = 0; at < data.length; ) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const size = seed % 4 === 1 ? 1 : 1 + ((state >>> 16) % 24);
    pieces.push(data.subarray(at, at + size));
    at += size;
  }
  return pieces;
}
