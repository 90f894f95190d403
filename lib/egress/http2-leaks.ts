import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Transform } from "node:stream";
import { HttpError } from "./http-head.ts";
import type { BodyStream } from "./leak-flow.ts";
import { isWrongTrailer } from "./overrides.ts";

const nothing: Buffer = Buffer.alloc(0);

/** A request's fields as they are searched, or its trailers. */
export function headBytes(headers: IncomingHttpHeaders): Buffer {
  let text = "";
  for (const name in headers) {
    const value = headers[name];
    if (value !== undefined) text += `${name}: ${typeof value === "string" ? value : value.join("\n")}\n`;
  }
  return Buffer.from(text, "latin1");
}

/** A request's body, searched as it comes: what cannot go on is said, and ends it. Its trailers belong to it. */
export class CheckedBody extends Transform {
  trailers: IncomingHttpHeaders = {};
  readonly #leaks: BodyStream;
  readonly #onFault: (fault: unknown) => void;

  /** @param onFault called once; nothing comes of the body after it */
  constructor(stream: ServerHttp2Stream, leaks: BodyStream, onFault: (fault: unknown) => void) {
    super();
    this.#leaks = leaks;
    this.#onFault = onFault;
    stream.on("trailers", (fields: IncomingHttpHeaders) => {
      this.trailers = fields;
    });
    stream.once("close", () => void (stream.readableEnded || this.destroy()));
    stream.pipe(this);
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: (error: null, data: Buffer) => void): void {
    this.#take(chunk, false, done);
  }

  override _flush(done: (error: null, data: Buffer) => void): void {
    const wrong = Object.keys(this.trailers).find((name) => isWrongTrailer(name, true));
    if (wrong !== undefined) {
      this.#onFault(new HttpError(400, `${wrong} has no place in trailers`));
      this.destroy();
      return;
    }
    this.#take(nothing, true, (_, data) => {
      // They stand behind the data: what a secret begins with may be in it.
      const trailers = headBytes(this.trailers);
      const came = trailers.toString("latin1");
      this.#take(trailers, true, (__, clean) => {
        if (clean.toString("latin1") !== came) this.trailers = {};
        done(null, data);
      });
    });
  }

  #take(chunk: Buffer, isLast: boolean, done: (error: null, data: Buffer) => void): void {
    let data: Buffer;
    try {
      data = this.#leaks.take(chunk, [[0, chunk.length]], isLast);
    } catch (fault) {
      this.#onFault(fault);
      this.destroy();
      return;
    }
    done(null, data);
  }
}
