import { type ChangedBody, SwappedBody } from "./body-swap.ts";
import type { CredentialFlow } from "./credential-flow.ts";
import type { Request } from "./flow.ts";
import type { BodyReader } from "./http-body.ts";
import { type Field, makeField, type RequestHead } from "./http-head.ts";
import { afterTarget, requestBytes } from "./http1-forward.ts";
import type { Scrubber } from "./scrub.ts";
import type { RequestSigner } from "./signed-request.ts";
import { type Swap, SwapFault } from "./swap.ts";
import { withoutExtensions } from "./websocket.ts";
import type { TextSwap } from "./websocket-swap.ts";

/** What credentials make of a request of HTTP/1.1, and of its answer. */
export interface ExchangeCredentials {
  /** Its head with secrets, for the caller to wipe; undefined where it stays as it is. */
  readonly head: (() => Buffer) | undefined;
  /** Reads what has to be read before it is sent; undefined where nothing has. */
  readonly prepare: (() => Promise<unknown>) | undefined;
  /** Its body, where that is another when it goes on: with its head. */
  readonly swapped: ChangedBody | undefined;
  /** What goes into its text messages, where it becomes a WebSocket. */
  readonly texts: TextSwap | undefined;
  /** What its answer goes through. */
  readonly scrub: Scrubber | undefined;
}

/** What is looked for in a request before it is judged. */
interface Opened {
  readonly texts: TextSwap | undefined;
  readonly fields: readonly Field[];
  readonly swap: Swap<Field> | SwapFault | undefined;
  readonly signer: RequestSigner | undefined;
}

export function openCredentials(credentials: CredentialFlow, head: RequestHead, request: Request): Opened {
  const texts = head.upgrade === "websocket" ? credentials.textSwap(request) : undefined;
  // What is compressed cannot be looked into.
  const plain = texts === undefined ? head.fields : withoutExtensions(head.fields);
  const signer = credentials.signs ? credentials.signer({ ...request, fields: plain }, hasBody(head)) : undefined;
  const fields = signer?.without(plain) ?? plain;
  const { path, query } = signer ?? request;
  const asked = query === undefined ? { path, fields } : { path, fields, query };
  return { texts, fields, signer, swap: credentials.swap(asked, makeField) };
}

/**
 * Of a request that goes on.
 *
 * @throws HttpError
 */
export function credentialsFor(
  credentials: CredentialFlow,
  { texts, fields, signer, swap: found }: Opened,
  head: RequestHead,
  request: Request & { readonly sent: string },
  reader: BodyReader,
): ExchangeCredentials | null {
  const swap = found instanceof SwapFault ? undefined : found;
  const body = reader.isDone ? undefined : credentials.bodySwap({ ...request, fields });
  const scrub = credentials.scrubber();
  if (signer !== undefined) return signedCredentials(signer, { swap, texts, fields, scrub }, head, reader);
  if (swap === undefined && body === undefined && texts === undefined && scrub === undefined) return null;
  const made = (): Buffer =>
    swap === undefined
      ? requestBytes({ ...head, fields }, request.sent)
      : swap.head(`${head.method} `, () => afterTarget({ ...head, fields: swap.fields }));
  const isReady = swap?.isReady !== false && body?.isReady !== false && texts === undefined;
  return {
    head: swap === undefined && texts === undefined ? undefined : made,
    prepare: isReady ? undefined : () => Promise.all([swap?.prepare(), body?.prepare(), texts?.prepare()]),
    swapped:
      body === undefined ? undefined : new SwappedBody(head, reader, body, writerOf(head, request.sent, fields, swap)),
    texts,
    scrub,
  };
}

/** Writes the head of a body that becomes another, with the fields that go with that. */
function writerOf(
  head: RequestHead,
  target: string,
  fields: readonly Field[],
  swap: Swap<Field> | undefined,
): (change: (fields: readonly Field[]) => readonly Field[]) => Buffer {
  return (change) =>
    swap === undefined
      ? requestBytes({ ...head, fields: change(fields) }, target)
      : swap.head(`${head.method} `, afterTarget({ ...head, fields: change(swap.fields) }));
}

function signedCredentials(
  signer: RequestSigner,
  {
    swap,
    texts,
    fields,
    scrub,
  }: Pick<ExchangeCredentials, "texts" | "scrub"> & {
    readonly swap: Swap<Field> | undefined;
    readonly fields: readonly Field[];
  },
  head: RequestHead,
  reader: BodyReader,
): ExchangeCredentials {
  const target = signer.query === undefined ? signer.path : `${signer.path}?${signer.query}`;
  const write = (own: readonly Field[]): Buffer =>
    swap === undefined
      ? requestBytes({ ...head, fields: own }, target)
      : swap.head(`${head.method} `, afterTarget({ ...head, fields: own }));
  const isReady = signer.isReady && swap?.isReady !== false && texts === undefined;
  const own = swap?.fields ?? fields;
  return {
    head: signer.head(own, write),
    prepare: isReady ? undefined : () => Promise.all([signer.prepare(), swap?.prepare(), texts?.prepare()]),
    swapped: signer.body(head, reader, own, write),
    texts,
    scrub,
  };
}

function hasBody({ framing }: RequestHead): boolean {
  return framing.kind === "chunked" || (framing.kind === "length" && framing.length > 0);
}

/**
 * What came of a body, as it goes on; whether it stands where it stood.
 *
 * @param isClean the data is the first of its message, and no whole secret is in it (Scrubber.isClean)
 */
export function partOf(
  body: BodyReader,
  scrub: Scrubber | undefined,
  data: Buffer,
  at: number,
  isClean = false,
): { readonly end: number; readonly bytes: Buffer; readonly isInPlace: boolean } {
  if (scrub === undefined) {
    const end = at + body.take(data, at);
    return { end, bytes: at === 0 && end === data.length ? data : data.subarray(at, end), isInPlace: true };
  }
  const came = data.subarray(at);
  const ranges: [number, number][] = [];
  const size = body.take(came, 0, ranges, ranges);
  const whole = came.subarray(0, size);
  // Across several ranges a secret is in pieces.
  const bytes = scrub.take(whole, ranges, body.isDone, isClean && ranges.length < 2);
  return { end: at + size, bytes, isInPlace: bytes === whole };
}
