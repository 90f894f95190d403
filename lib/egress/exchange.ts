import type { Socket } from "node:net";
import { assemble, type Piece } from "../secrets/secret-text.ts";
import { BodyReader } from "./http-body.ts";
import { HttpError, mostInterim, parseResponse, type ResponseHead, responseHeadEnd } from "./http-head.ts";
import { EndedError, readUntil, TooSlowError } from "./read-until.ts";

/** A server that streams says something at least so often. */
const silenceMs = 120_000;

/** Why a server that was reached gave no answer; it may be told to whoever asked. */
export class NoAnswer extends Error {
  override readonly name = "NoAnswer";
}

/** It closed the connection before anything of an answer had come: it may not have seen the request at all. */
export class NotBegun extends NoAnswer {}

/** A request of this process's own, for one connection. */
export interface OwnRequest {
  readonly method: string;
  readonly target: string;
  /** Lines without their ends; a key stands in them as a piece. */
  readonly fields: readonly (readonly Piece[])[];
  readonly body: Buffer;
}

export interface OwnAnswer {
  readonly head: ResponseHead;
  /** Its content, without framing. Throws where it does not end as it should. */
  readonly body: AsyncGenerator<Buffer, void, void>;
  /** Ends it, whatever is still to come. */
  discard(): void;
}

/**
 * Sends a request, its key from locked memory and wiped when it is written, and reads the answer's head.
 *
 * @param onFree is given the connection when the answer has been read to its end and it may carry another; without it, the
 *   connection is for this exchange alone
 * @throws NoAnswer where none begins in time, or a malformed one; NotBegun
 */
export async function exchange(
  socket: Socket,
  { method, target, fields, body }: OwnRequest,
  {
    key,
    beginMs,
    onFree,
  }: { readonly key: Buffer | null; readonly beginMs: number; readonly onFree?: (socket: Socket) => void },
): Promise<OwnAnswer> {
  const lines: Piece[] = [`${method} ${target} HTTP/1.1\r\n`];
  for (const field of fields) lines.push(...field, "\r\n");
  if (method === "POST") lines.push(`Content-Length: ${body.length}\r\n`);
  lines.push(onFree === undefined ? "Connection: close\r\n\r\n" : "\r\n");
  const bytes = assemble(lines, () => key ?? Buffer.alloc(0));
  socket.write(bytes, () => bytes.fill(0));
  if (body.length > 0) socket.write(body);
  let hasBegun = false;
  const head = await readUntil<ResponseHead>(
    socket,
    (held) => {
      hasBegun = true;
      for (let from = 0, interim = 0; ; ) {
        const rest = held.subarray(from);
        const size = responseHeadEnd(rest, 0);
        if (size < 0) return undefined;
        const parsed = parseResponse(rest, size, method);
        if (parsed.status === 101) throw new HttpError(502, "the server changes to a protocol that was not asked for");
        if (parsed.status >= 200) return { value: parsed, size: from + size };
        if (++interim > mostInterim) throw new HttpError(502, "the server says again and again that it will answer");
        from += size;
      }
    },
    { firstMs: beginMs, restMs: beginMs },
  ).catch((error: unknown) => {
    if (error instanceof TooSlowError) throw new NoAnswer(`its answer does not begin within ${beginMs / 1000} s`);
    if (error instanceof HttpError) throw new NoAnswer(error.message);
    const closed = "it closes the connection without an answer";
    if (!hasBegun) throw new NotBegun(closed);
    throw error instanceof EndedError ? new NoAnswer(closed) : error;
  });
  const free = head.keepAlive ? onFree : undefined;
  return { head, body: contentOf(socket, head, free), discard: () => void socket.destroy() };
}

async function* contentOf(
  socket: Socket,
  head: ResponseHead,
  onFree: ((socket: Socket) => void) | undefined,
): AsyncGenerator<Buffer, void, void> {
  const reader = new BodyReader(head.framing, 502);
  const onSilence = (): void => void socket.destroy(new Error("the server does not go on"));
  let isFree = false;
  try {
    if (reader.isDone) {
      isFree = socket.readableLength === 0;
      return;
    }
    socket.setTimeout(silenceMs, onSilence);
    for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      const ranges: [from: number, until: number][] = [];
      const size = reader.take(chunk, 0, ranges);
      for (const [from, until] of ranges) yield chunk.subarray(from, until);
      if (reader.isDone) {
        isFree = size === chunk.length && socket.readableLength === 0;
        return;
      }
      if (size < chunk.length) throw new HttpError(502, "the server says more than its answer");
    }
    if (!reader.endsWithConnection) throw new Error("the server closed the connection in the middle of its answer");
  } finally {
    socket.setTimeout(0, onSilence);
    if (isFree && onFree !== undefined) onFree(socket);
    else socket.destroy();
  }
}
