import { CodedStream } from "./coded-body.ts";
import type { Request } from "./flow.ts";
import { BodyReader } from "./http-body.ts";
import type { RequestHead } from "./http-head.ts";
import type { LeakFlow } from "./leak-flow.ts";
import type { LeakStream } from "./leaks.ts";

/** Searches a request's body, its trailers too, before anybody else sees it. */
export class BodyLeaks {
  readonly #reader: BodyReader;
  readonly #stream: LeakStream | CodedStream;

  constructor(leaks: LeakFlow, { framing, fields }: RequestHead, request: Request) {
    this.#reader = new BodyReader(framing, 400);
    this.#stream = leaks.body(request, fields.find(({ name }) => name === "content-encoding")?.value);
  }

  /**
   * @returns size: how much of the data belongs to the body; out: what of it goes on now, with its framing
   * @throws HttpError, LeakFault
   */
  take(data: Buffer, at: number): { readonly size: number; readonly out: Buffer } {
    const came = at === 0 ? data : data.subarray(at);
    const ranges: [number, number][] = [];
    const isCoded = this.#stream instanceof CodedStream;
    const trailers = isCoded ? [] : ranges;
    const size = this.#reader.take(came, 0, ranges, trailers);
    const own = size === came.length ? came : came.subarray(0, size);
    const out = isCoded
      ? this.#stream.take(own, ranges, this.#reader.isDone, trailers)
      : this.#stream.take(own, ranges, this.#reader.isDone);
    return { size, out };
  }
}
