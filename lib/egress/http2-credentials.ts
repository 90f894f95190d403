import {
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  sensitiveHeaders,
} from "node:http2";
import { Transform } from "node:stream";
import type { BodySwap } from "./body-swap.ts";
import type { Scrubber } from "./scrub.ts";
import type { Swap, SwapField } from "./swap.ts";

/** What goes on of a request. */
export interface Outgoing {
  /** Made when it is sent. */
  readonly headers: () => OutgoingHttpHeaders;
  /** What its body goes through; undefined where it stays as it is. */
  readonly body: ((upstream: ClientHttp2Stream) => Transform) | undefined;
  /** Its body, where that was waited for. */
  readonly whole?: () => Buffer;
}

/** What is asked of the server, with its secrets. */
export function outgoingHeaders(
  headers: IncomingHttpHeaders,
  target: string,
  swap: Swap<SwapField> | undefined,
  changesBody: boolean,
): OutgoingHttpHeaders {
  const own = swap === undefined ? headersFor(headers, target) : swapped(headers, swap);
  // What goes into the body changes its length.
  if (changesBody) delete own["content-length"];
  return own;
}

/** What is asked of the server without them. */
export function headersFor(headers: IncomingHttpHeaders, target: string): OutgoingHttpHeaders {
  const { host: _, ...own } = headers;
  return { ...own, ":path": target, ":authority": headers[":authority"] ?? headers.host };
}

export function fieldsOf(headers: IncomingHttpHeaders): readonly SwapField[] {
  return Object.entries(headers).flatMap(([name, value]) =>
    name.startsWith(":") ? [] : [value ?? []].flat().map((each) => ({ name, value: each })),
  );
}

/** With its secrets, which no compression remembers (RFC 7541 section 7.1.3). */
function swapped(headers: IncomingHttpHeaders, swap: Swap<SwapField>): OutgoingHttpHeaders {
  const { target, fields } = swap.texts();
  return headersWith(headers, target, fields);
}

/** With these fields instead of its own. */
export function headersWith(
  headers: IncomingHttpHeaders,
  target: string,
  fields: readonly SwapField[],
): OutgoingHttpHeaders {
  const pseudo = Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith(":")));
  const own: Record<string, string | string[]> = {};
  for (const { name, value } of fields) {
    const known = own[name];
    own[name] = known === undefined ? value : [known, value].flat();
  }
  const authority = headers[":authority"] ?? headers.host;
  return {
    ...headersFor({ ...pseudo, ...own, ":authority": authority }, target),
    [sensitiveHeaders]: Object.keys(own),
  };
}

/** An answer's fields without secrets. */
export function scrubbed(fields: IncomingHttpHeaders, scrub: Scrubber | undefined): OutgoingHttpHeaders {
  if (scrub === undefined) return fields;
  const clean = (value: string): string => scrub.text(value);
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      typeof value === "string" ? clean(value) : Array.isArray(value) ? value.map(clean) : value,
    ]),
  );
}

/** An answer's body goes through it. */
export function scrubbing(scrub: Scrubber): Transform {
  return new Transform({
    transform: (chunk: Buffer, _encoding, done) => done(null, scrub.take(chunk)),
    flush: (done) => done(null, scrub.end()),
  });
}

/** A request's body goes through it. */
export function swapping(
  swap: BodySwap,
  {
    onDone,
    onFault,
  }: { readonly onDone: (names: readonly string[]) => void; readonly onFault: (fault: Error) => void },
): Transform {
  return changing((chunk, isLast) => {
    const made = swap.take(chunk, isLast);
    if (isLast && swap.names.size > 0) onDone([...swap.names]);
    return made;
  }, onFault);
}

/** A body as it goes on, piece by piece; after a fault nothing does. */
export function changing(take: (chunk: Buffer, isLast: boolean) => Buffer, onFault: (fault: Error) => void): Transform {
  const change = (chunk: Buffer, isLast: boolean, done: (error: null, data?: Buffer) => void): void => {
    try {
      done(null, take(chunk, isLast));
    } catch (fault) {
      // It is not called back: nothing more is asked of it.
      onFault(fault instanceof Error ? fault : new Error(String(fault)));
    }
  };
  return new Transform({
    transform: (chunk: Buffer, _encoding, done) => change(chunk, false, done),
    flush: (done) => change(Buffer.alloc(0), true, done),
  });
}
