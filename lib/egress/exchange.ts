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
 * Sends a request, its key from locked memory and wiped when it is written, and reads the answer's head. The connection is
 * for this exchange alone.
 *
 * @throws NoAnswer where none begins in time, or a malformed one
 */
export async function exchange(
  socket: Socket,
  { method, target, fields, body }: OwnRequest,
  { key, beginMs }: { readonly key: Buffer | null; readonly beginMs: number },
): Promise<OwnAnswer> {
  const lines: Piece[] = [`${method} ${target} HTTP/1.1\r\n`];
  for (const field of fields) lines.push(...field, "\r\n");
  if (method === "POST") lines.push(`Content-Length: ${body.length}\r\n`);
  lines.push("Connection: close\r\n\r\n");
  const bytes = assemble(lines, () => key ?? Buffer.alloc(0));
  socket.write(bytes, () => bytes.fill(0));
  if (body.length > 0) socket.write(body);
  const head = await readUntil<ResponseHead>(
    socket,
    (held) => {
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
    if (error instanceof EndedError) throw new NoAnswer("it closes the connection without an answer");
    throw error instanceof HttpError ? new NoAnswer(error.message) : error;
  });
  return { head, body: contentOf(socket, head), discard: () => void socket.destroy() };
}

async function* contentOf(socket: Socket, head: ResponseHead): AsyncGenerator<Buffer, void, void> {
  const reader = new BodyReader(head.framing, 502);
  try {
    if (reader.isDone) return;
    socket.setTimeout(silenceMs, () => socket.destroy(new Error("the server does not go on")));
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      const ranges: [from: number, until: number][] = [];
      const size = reader.take(chunk, 0, ranges);
      for (const [from, until] of ranges) yield chunk.subarray(from, until);
      if (reader.isDone) return;
      if (size < chunk.length) throw new HttpError(502, "the server says more than its answer");
    }
    if (!reader.endsWithConnection) throw new Error("the server closed the connection in the middle of its answer");
  } finally {
    socket.destroy();
  }
}
