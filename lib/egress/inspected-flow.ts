import type { Protocol } from "../policy/network.ts";
import type { Answer } from "./answer.ts";
import { canonicalTarget, TargetError } from "./canonical.ts";
import type { CredentialFlow } from "./credential-flow.ts";
import type { Request } from "./flow.ts";
import type { RequestHead, ResponseHead } from "./http-head.ts";
import type { LeakFlow } from "./leak-flow.ts";
import type { LeakFault } from "./leaks.ts";
import type { Origin } from "./origin.ts";
import { alsoMethodsOf } from "./overrides.ts";
import type { Swap, SwapFault, SwapField } from "./swap.ts";

/** A request as it was read, and what it is taken for. */
export interface ReadRequest {
  readonly head: RequestHead;
  readonly request: ReturnType<typeof requestOf>;
  readonly encodedSlash: boolean;
}

/** The last of what was read at a server, on whichever connection: the next one begins with it, as many clients do. */
export interface LastRead {
  request?: ReadRequest;
  answer?: ResponseHead;
}

/** One connection of a program to an inspected endpoint: what the readers of HTTP ask of the rest. */
export interface InspectedFlow {
  readonly last: LastRead;
  readonly scheme: "http" | "https";
  readonly host: string;
  readonly port: number;
  /** Whether an endpoint keeps `%2F` in paths. */
  readonly encodedSlash: boolean;
  /**
   * Judges and records; undefined where it may go on.
   *
   * @param swap what credentials are put into it, or why it does not go on
   */
  judge(request: Request, swap?: Swap<SwapField> | SwapFault | LeakFault): Answer | undefined;
  /** Looks for secrets in all that is sent. */
  readonly leaks: LeakFlow;
  /** Null where the policy has none. */
  readonly credentials: CredentialFlow | null;
  /** Records what is refused because it has no single meaning. */
  malformed(why: string): void;
  /** Of the endpoint that a path belongs to. */
  protocolOf(path: string): Protocol;
  /** An idle connection to the server, if there is one. */
  take(): Origin | undefined;
  /** A new one. Throws an Unreachable. */
  open(): Promise<Origin>;
  release(origin: Origin): void;
}

/** Why there is no connection to a server, as the client is told. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
  readonly answer: Answer;

  constructor(answer: Answer, options?: ErrorOptions) {
    super(answer.body, options);
    this.answer = answer;
  }
}

/** What may be sent twice without harm, and has no body (RFC 9110 section 9.2.2). */
export const mayRepeat: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** The method that rules know a WebSocket's text messages by. */
export const webSocketText = "WEBSOCKET_TEXT";

/** Whether what a request says it is for is what was connected to (RFC 9110 section 7.2). */
export function isAuthority(given: string, { scheme, host, port }: InspectedFlow): boolean {
  const name = host.includes(":") ? `[${host}]` : host;
  const said = given.toLowerCase();
  const isUsual = port === (scheme === "https" ? 443 : 80);
  return said === `${name}:${port}` || (isUsual && said === name);
}

/**
 * The one meaning of a request's target, which is judged and sent.
 *
 * @param fields names in lower case
 * @throws TargetError where it has none
 */
export function requestOf(
  method: string,
  target: string,
  flow: InspectedFlow,
  fields: readonly SwapField[] = [],
): Request & { readonly sent: string } {
  if (method.toUpperCase() === webSocketText) throw new TargetError(`${method} is a message's, and no request's`);
  const alsoMethods = alsoMethodsOf(fields);
  let own = target;
  const absolute = /^([a-z]+):\/\/([^/?#]*)(.*)$/i.exec(target);
  if (absolute !== null) {
    const [, scheme = "", authority = "", rest = ""] = absolute;
    if (scheme.toLowerCase() !== flow.scheme || !isAuthority(authority, flow))
      throw new TargetError(`the request is for ${scheme}://${authority}, not for the server that was connected to`);
    own = rest.startsWith("/") ? rest : `/${rest}`;
  }
  const { path, query } = canonicalTarget(own, { encodedSlash: flow.encodedSlash });
  return {
    method,
    path,
    ...(query === undefined ? {} : { query }),
    ...(alsoMethods === undefined ? {} : { alsoMethods }),
    sent: query === undefined ? path : `${path}?${query}`,
  };
}
