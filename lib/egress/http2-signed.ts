import type { ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http2";
import type { Readable } from "node:stream";
import { HttpError } from "./http-head.ts";
import { changing, headersWith, type Outgoing } from "./http2-credentials.ts";
import { type RequestSigner, tooLong } from "./signed-request.ts";
import type { Swap, SwapField } from "./swap.ts";

/** A request of HTTP/2 that is signed. */
export interface SignedOutgoing extends Outgoing {
  /** Waits for what it is signed with, and for its body where that is signed as well. Throws a SwapFault, an HttpError. */
  readonly ready: Promise<unknown> | undefined;
}

interface Carried {
  /** What is read of the request's body; null where it has none. */
  readonly body: Readable | null;
  /** How long a body that is waited for may be silent. */
  readonly idleMs: number;
  /** Says what is wrong with a body, and lets its server wait no longer. */
  readonly stop: (upstream: ClientHttp2Stream) => (fault: Error) => void;
}

/** @param asked fields: without what the client signed with */
export function signedOutgoing(
  signer: RequestSigner,
  {
    headers,
    fields,
    swap,
  }: {
    readonly headers: IncomingHttpHeaders;
    readonly fields: readonly SwapField[];
    readonly swap: Swap<SwapField> | undefined;
  },
  { body: given, idleMs, stop }: Carried,
): SignedOutgoing {
  const signed = signer.stream();
  const host = { name: "host", value: headers[":authority"] ?? headers.host ?? "" };
  const make = (sign: (given: readonly SwapField[]) => readonly SwapField[]): OutgoingHttpHeaders => {
    const texts = swap?.texts();
    const own = (texts?.fields ?? fields).filter(({ name }) => name !== "host");
    const sent = sign([host, ...own]).filter(({ name }) => name !== "host");
    const target = texts?.target ?? (signer.query === undefined ? signer.path : `${signer.path}?${signer.query}`);
    return headersWith(headers, target, sent);
  };
  const isReady = signer.isReady && swap?.isReady !== false;
  const keys = isReady ? undefined : Promise.all([signer.prepare(), swap?.prepare()]);
  if (signed.kind === "plain") return { headers: () => make(signed.fields), body: undefined, ready: keys };
  if (signed.kind === "chunks")
    return {
      headers: () => make(signed.fields),
      body: (upstream) => changing((chunk, isLast) => signed.take(chunk, isLast), stop(upstream)),
      ready: keys,
    };
  let whole: Buffer = Buffer.alloc(0);
  const body = wholeOf(given, signed.mostBytes, idleMs).then((bytes) => {
    whole = bytes;
  });
  return {
    headers: () => ({ ...make((given) => signed.fields(given, whole)), "content-length": String(whole.length) }),
    body: undefined,
    whole: () => whole,
    ready: Promise.all([body, keys]),
  };
}

/** All of a body, which nobody else reads. */
function wholeOf(body: Readable | null, mostBytes: number, idleMs: number): Promise<Buffer> {
  if (body === null) return Promise.resolve(Buffer.alloc(0));
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let size = 0;
    const fail = (fault: Error): void => {
      clearTimeout(timer);
      body.off("data", take);
      body.resume();
      reject(fault);
    };
    const timer = setTimeout(() => fail(new HttpError(408, "the request's body does not go on")), idleMs).unref();
    const take = (part: Buffer): void => {
      timer.refresh();
      size += part.length;
      if (size <= mostBytes) parts.push(part);
      else fail(tooLong());
    };
    body.on("data", take);
    body.once("end", () => {
      clearTimeout(timer);
      resolve(Buffer.concat(parts));
    });
    body.once("close", () => fail(new Error("the client ended the stream before its body was whole")));
  });
}
