import type { NetworkEndpoint } from "../policy/network.ts";
import type { SessionCredentials } from "../secrets/session.ts";
import { type Answer, failureAnswer } from "./answer.ts";
import { isBound } from "./bindings.ts";
import { BodySwap } from "./body-swap.ts";
import { configurationOf, type Grant } from "./decide.ts";
import type { Request } from "./flow.ts";
import type { Inspected } from "./inspect.ts";
import { Scrubber } from "./scrub.ts";
import { RequestSigner } from "./signed-request.ts";
import { type Swap, type SwapFault, type SwapField, type SwapPlace, type SwapRequest, Swaps } from "./swap.ts";
import { TextSwap } from "./websocket-swap.ts";

/** What credentials have to do with the requests of one connection. */
export class CredentialFlow {
  readonly #session: SessionCredentials;
  readonly #inspected: Pick<Inspected, "current" | "record" | "recordCredentials">;
  readonly #scheme: "http" | "https";
  readonly #swaps: Swaps;
  /** Clients ask for the same again and again. */
  #last: { readonly grant: Grant; readonly path: string; readonly place: SwapPlace } | undefined;

  constructor(
    session: SessionCredentials,
    inspected: Pick<Inspected, "current" | "record" | "recordCredentials">,
    scheme: "http" | "https",
  ) {
    this.#session = session;
    this.#swaps = new Swaps(session);
    this.#inspected = inspected;
    this.#scheme = scheme;
  }

  /** What has to be put into a request; undefined where nothing has. */
  swap<Field extends SwapField>(
    request: SwapRequest<Field>,
    makeField: (name: string, value: string) => Field,
  ): Swap<Field> | SwapFault | undefined {
    return this.#swaps.of(this.#placeOf(request.path), request, makeField);
  }

  #placeOf(path: string): SwapPlace {
    const { grant } = this.#inspected.current();
    if (this.#last?.grant === grant && this.#last.path === path) return this.#last.place;
    const bound = grant.credentials.filter((each) => !each.signs && isBound(each, this.#scheme, path));
    const place = { bound, isScrubbed: grant.scrubbed.length > 0 };
    this.#last = { grant, path, place };
    return place;
  }

  /** Those that are for a path, whatever is made of them there. */
  boundAt(path: string): readonly string[] {
    const { grant } = this.#inspected.current();
    return grant.credentials.filter((each) => isBound(each, this.#scheme, path)).map(({ name }) => name);
  }

  /** Whether something may sign requests here. */
  get signs(): boolean {
    return this.#inspected.current().grant.credentials.some((each) => each.signs);
  }

  /**
   * What signs a request; undefined where nothing does.
   *
   * @throws HttpError where it cannot be signed
   */
  signer(request: SwapRequest<SwapField> & Request, hasBody: boolean): RequestSigner | undefined {
    const { grant } = this.#inspected.current();
    const found = grant.credentials.find((each) => each.signs && isBound(each, this.#scheme, request.path));
    const endpoint = found && configurationOf(grant, request.path);
    if (found === undefined || endpoint === undefined || endpoint.credentialSigning === "") return undefined;
    return new RequestSigner(this.#session, found.name, endpoint, grant.host, request, hasBody);
  }

  /** What goes into a request's body; undefined where its endpoint does not ask for it, or its type is none of those. */
  bodySwap({ path, fields }: SwapRequest<SwapField>): BodySwap | undefined {
    const bound = this.#boundWhere(path, (endpoint) => endpoint.requestBodyCredentialRewrite);
    return bound && BodySwap.of(bound.credentials, bound.names, fields);
  }

  /** What goes into a WebSocket's text messages; undefined where its endpoint does not ask for it. */
  textSwap(request: Request): TextSwap | undefined {
    const bound = this.#boundWhere(request.path, (endpoint) => endpoint.websocketCredentialRewrite);
    return bound && new TextSwap(bound.credentials, bound.names, (names) => this.record(names, request));
  }

  /** What may be put into what a path's endpoint lets be looked into. */
  #boundWhere(
    path: string,
    asks: (endpoint: NetworkEndpoint) => boolean,
  ): { readonly credentials: SessionCredentials; readonly names: readonly string[] } | undefined {
    const credentials = this.#session;
    const { grant } = this.#inspected.current();
    const endpoint = configurationOf(grant, path);
    if (endpoint === undefined || !asks(endpoint)) return undefined;
    const bound = grant.credentials.filter((each) => !each.signs && isBound(each, this.#scheme, path));
    return { credentials, names: bound.map(({ name }) => name) };
  }

  /** What went into a request after it was judged. */
  record(names: readonly string[], request: Request): void {
    this.#inspected.recordCredentials(names, request);
  }

  /** Takes secrets out of an answer; undefined where its server is sent none. */
  scrubber(): Scrubber | undefined {
    const { scrubbed } = this.#inspected.current().grant;
    return scrubbed.length === 0 ? undefined : new Scrubber(() => this.#session.needlesOf(scrubbed));
  }

  /** Records a credential that does not go where it was to go, and says so. */
  refuse({ error, credential, message, cause }: SwapFault, request: Request): Answer {
    const { policy } = this.#inspected.current().grant;
    const detail = cause instanceof Error ? `${message}: ${cause.message}` : message;
    this.#inspected.record(
      {
        ...{ allowed: false, policy, rule: null, reason: "credential", detail },
        ...(credential === undefined ? {} : { credential }),
      },
      request,
    );
    return failureAnswer(error === "credential_unavailable" ? 500 : 403, error, message);
  }
}
