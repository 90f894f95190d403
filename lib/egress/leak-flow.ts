import { type Answer, failureAnswer } from "./answer.ts";
import { FramedStream } from "./aws-framed.ts";
import { type BodyCoding, CodedStream } from "./coded-body.ts";
import type { Request } from "./flow.ts";
import { LeakFault, type LeakStream, RequestGuard, type RequestLeak } from "./leaks.ts";
import { SwapFault } from "./swap.ts";

/** What of a policy decides. */
const settingOf = { known: "requests", token: "tokens", placeholder: "placeholders" } as const;

/** The same, with what it says. */
export function leakRule({ kind, action }: RequestLeak): string {
  return `leak_guard.${settingOf[kind]}: ${action}`;
}

/** What of a body goes on, by what was taken from it. */
export type BodyStream = LeakStream | CodedStream | FramedStream;

const plain: BodyCoding = { decoders: [], isFramed: false };
const leakError = "secret_in_request";

/** What the leak guard has to do with the requests of one connection. */
export class LeakFlow {
  readonly #guard: RequestGuard;
  readonly #record: (leak: RequestLeak, request: Request) => void;
  readonly #refuse: (fault: Error, rule: string, request: Request) => { readonly policy: string | null };
  readonly #boundAt: (path: string) => readonly string[];

  /**
   * @param record a secret that was found
   * @param refuse records that the request does not go on
   * @param boundAt the credentials that are for a path, whose placeholders may be said there
   */
  constructor(
    guard: RequestGuard,
    record: (leak: RequestLeak, request: Request) => void,
    refuse: (fault: Error, rule: string, request: Request) => { readonly policy: string | null },
    boundAt: (path: string) => readonly string[] = () => [],
  ) {
    this.#guard = guard;
    this.#record = record;
    this.#refuse = refuse;
    this.#boundAt = boundAt;
  }

  /** Of a connection of which nothing is recorded. */
  static unrecorded(): LeakFlow {
    return new LeakFlow(
      new RequestGuard(undefined, { isPlaceholder: () => false, placeholders: null }),
      () => {},
      () => ({ policy: null }),
    );
  }

  /** Whether what cannot be read may go on. */
  get isLenient(): boolean {
    return this.#guard.isLenient;
  }

  /** What is to be recorded of a head, if it goes on at all. */
  head(bytes: Buffer): LeakFault | readonly RequestLeak[] {
    return this.#guard.head(bytes);
  }

  /**
   * Looks at a request that is whole, and takes out of its body what is to be taken out; records what it finds.
   *
   * @returns why it does not go on
   */
  whole(head: Buffer, body: Buffer, request: Request): { readonly error: string; readonly detail: string } | undefined {
    const leaked = (fault: LeakFault) => ({ error: leakError, detail: this.refuse(fault, request).detail });
    const found = this.head(head);
    if (found instanceof LeakFault) return leaked(found);
    try {
      this.body(request).take(body, [[0, body.length]], true);
    } catch (fault) {
      if (fault instanceof LeakFault) return leaked(fault);
      if (!(fault instanceof SwapFault)) throw fault;
      const rule = "leak_guard.placeholders: block";
      this.#refuse(fault, rule, request);
      return { error: fault.error, detail: `${fault.message} (${rule})` };
    }
    this.record(found, request);
    return undefined;
  }

  /** What a request's body goes through. */
  body(request: Request, coding: BodyCoding = plain): BodyStream {
    const lenient = (leak: RequestLeak): void => this.#record(leak, request);
    const { decoders, isFramed } = coding;
    if (decoders.length === 0 && !isFramed) return this.#stream("body", request, lenient);
    // Of what cannot be changed nothing is taken out.
    const strict = (leak: RequestLeak): void => {
      if (leak.action === "redact") throw new LeakFault(leak);
      this.#record(leak, request);
    };
    if (decoders.length > 0) return new CodedStream(this.#stream("body", request, strict), coding, this.isLenient);
    return new FramedStream(this.#stream("body", request, lenient), (line) => {
      this.#stream("body", request, strict).take(line, [[0, line.length]], true);
    });
  }

  /** What the messages of a WebSocket go through. */
  messages(request: Request): LeakStream {
    return this.#stream("message", request, (leak) => this.#record(leak, request));
  }

  #stream(where: "body" | "message", request: Request, onLeak: (leak: RequestLeak) => void): LeakStream {
    return this.#guard.stream(where, this.#boundAt(request.path), onLeak);
  }

  record(leaks: readonly RequestLeak[], request: Request): void {
    for (const leak of leaks) this.#record(leak, request);
  }

  /** Records what does not go on, and says so. */
  refuse(fault: LeakFault, request: Request): Answer {
    const { leak, message } = fault;
    const rule = leakRule(leak);
    const { policy } = this.#refuse(fault, rule, request);
    this.#record(leak, request);
    return { ...failureAnswer(403, leakError, message, { policy, rule }), detail: `${message} (${rule})` };
  }
}
