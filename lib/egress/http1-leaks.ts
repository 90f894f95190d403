import type { Request } from "./flow.ts";
import { BodyReader } from "./http-body.ts";
import type { RequestHead } from "./http-head.ts";
import type { LeakFlow } from "./leak-flow.ts";
import type { LeakStream } from "./leaks.ts";

/** Searches a request's body, its trailers too, before anybody else sees it. */
export class BodyLeaks {
  readonly #reader: BodyReader;
  readonly #stream: LeakStream;

  constructor(leaks: LeakFlow, framing: RequestHead["framing"], request: Request) {
    this.#reader = new BodyReader(framing, 400);
    this.#stream = leaks.stream("body", request);
  }

  /**
   * @returns size: how much of the data belongs to the body; out: what of it goes on now, with its framing
   * @throws HttpError, LeakFault
   */
  take(data: Buffer, at: number): { readonly size: number; readonly out: Buffer } {
    const came = at === 0 ? data : data.subarray(at);
    const ranges: [number, number][] = [];
    const size = this.#reader.take(came, 0, ranges, ranges);
    const own = size === came.length ? came : came.subarray(0, size);
    return { size, out: this.#stream.take(own, ranges, this.#reader.isDone) };
  }
}
