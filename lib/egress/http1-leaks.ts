import { codingOf } from "./coded-body.ts";
import type { Request } from "./flow.ts";
import { BodyReader } from "./http-body.ts";
import type { RequestHead } from "./http-head.ts";
import type { BodyStream, LeakFlow } from "./leak-flow.ts";
import { LeakStream } from "./leaks.ts";

/** Searches a request's body, its trailers too, before anybody else sees it. */
export class BodyLeaks {
  readonly #reader: BodyReader;
  readonly #stream: BodyStream;

  constructor(leaks: LeakFlow, { framing, fields }: RequestHead, request: Request) {
    this.#reader = new BodyReader(framing, 400);
    const coding = codingOf((name) => fields.flatMap((field) => (field.name === name ? [field.value] : [])));
    this.#stream = leaks.body(request, coding);
  }

  /**
   * @returns size: how much of the data belongs to the body; out: what of it goes on now, with its framing
   * @throws HttpError, LeakFault
   */
  take(data: Buffer, at: number): { readonly size: number; readonly out: Buffer } {
    const came = at === 0 ? data : data.subarray(at);
    const ranges: [number, number][] = [];
    const stream = this.#stream;
    const isPlain = stream instanceof LeakStream;
    const trailers = isPlain ? ranges : [];
    const size = this.#reader.take(came, 0, ranges, trailers);
    const own = size === came.length ? came : came.subarray(0, size);
    const out = isPlain
      ? stream.take(own, ranges, this.#reader.isDone)
      : stream.take(own, ranges, this.#reader.isDone, trailers);
    return { size, out };
  }
}
