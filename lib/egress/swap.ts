import type { CredentialInjection } from "../policy/credentials.ts";
import { assemble, type Piece, type SecretForm } from "../secrets/secret-text.ts";
import type { Occurrence, SessionCredentials } from "../secrets/session.ts";
import type { Binding } from "./bindings.ts";

export interface SwapField {
  /** Lower case. */
  readonly name: string;
  readonly value: string;
}

/** What a request says, canonical (canonical.ts). */
export interface SwapRequest<Field extends SwapField> {
  readonly path: string;
  readonly query?: string;
  readonly fields: readonly Field[];
}

/** Why a request that carries a placeholder does not go on. */
export class SwapFault extends Error {
  override readonly name = "SwapFault";
  readonly error: "credential_endpoint_mismatch" | "credential_unavailable";
  /** Undefined where none has the name. */
  readonly credential: string | undefined;

  /** @param options cause: what only records tell, since it speaks of the host */
  constructor(error: SwapFault["error"], credential: string | undefined, message: string, options?: ErrorOptions) {
    super(message, options);
    this.error = error;
    this.credential = credential;
  }
}

const basic = /^basic +([A-Za-z0-9+/_-]+={0,2})$/i;

/** A request whose placeholders become secrets when it is sent. */
export class Swap<Field extends SwapField> {
  /** The credentials that go into it. */
  readonly names: ReadonlySet<string>;
  /** Still with placeholders, those of what is injected too. */
  readonly fields: readonly Field[];
  readonly target: string;
  readonly #session: SessionCredentials;
  readonly #inFields: ReadonlyMap<string, Piece>;
  readonly #inTarget: ReadonlyMap<string, Piece>;

  private constructor(
    session: SessionCredentials,
    fields: readonly Field[],
    target: string,
    found: {
      readonly names: Set<string>;
      readonly inFields: Map<string, Piece>;
      readonly inTarget: Map<string, Piece>;
    },
  ) {
    this.#session = session;
    this.names = found.names;
    this.fields = fields;
    this.target = target;
    this.#inFields = found.inFields;
    this.#inTarget = found.inTarget;
  }

  /**
   * What has to be put into a request; undefined where nothing has.
   *
   * @param place what may be put in where it is going, and whether the answer will be searched: then it may not be compressed
   * @param makeField a field that was not there
   * @throws SwapFault
   */
  static of<Field extends SwapField>(
    session: SessionCredentials,
    { bound, isScrubbed }: { readonly bound: readonly Binding[]; readonly isScrubbed: boolean },
    request: SwapRequest<Field>,
    makeField: (name: string, value: string) => Field,
  ): Swap<Field> | undefined {
    const injected = inject(session, bound, request, makeField);
    const found = { names: new Set<string>(), inFields: new Map<string, Piece>(), inTarget: new Map<string, Piece>() };
    const take = (occurrence: Occurrence, place: string): string => {
      const { name } = occurrence;
      if (name === undefined)
        throw new SwapFault("credential_unavailable", undefined, `the ${place} names a credential that there is not`);
      if (!bound.some((binding) => binding.name === name))
        throw new SwapFault(
          "credential_endpoint_mismatch",
          name,
          `the placeholder of ${name} in the ${place} is not for this place`,
        );
      found.names.add(name);
      return name;
    };
    const scan = (text: string, form: SecretForm, place: string, into: Map<string, Piece>): void => {
      for (const occurrence of session.find(text))
        into.set(text.slice(occurrence.at, occurrence.end), { name: take(occurrence, place), form });
    };
    const target = spelled(
      session,
      injected.query === undefined ? injected.path : `${injected.path}?${injected.query}`,
    );
    scan(target, "percent", "target", found.inTarget);
    let isChanged = false;
    const fields = injected.fields.map((field) => {
      const { name, value } = field;
      const [, blob = ""] = (name === "authorization" ? basic.exec(value) : null) ?? [];
      if (blob !== "") {
        const pieces = piecesOf(Buffer.from(blob, "base64").toString("latin1"), session, (one) => take(one, name));
        if (pieces !== undefined) found.inFields.set(blob, { base64: pieces });
        for (const piece of pieces ?? [])
          if (typeof piece !== "string" && "name" in piece) session.secretOf(piece.name)?.markEncoded();
        return field;
      }
      if (isScrubbed && name === "accept-encoding" && value !== "identity") {
        isChanged = true;
        return makeField(name, "identity");
      }
      const plain = spelled(session, value);
      scan(plain, plain === value ? "plain" : "percent", name, found.inFields);
      return plain === value ? field : makeField(name, plain);
    });
    return found.names.size === 0 && !isChanged ? undefined : new Swap(session, fields, target, found);
  }

  /** Whether it can be sent now. */
  get isReady(): boolean {
    return [...this.names].every((name) => this.#session.secretOf(name)?.isFresh === true);
  }

  /**
   * Reads what has to be read.
   *
   * @throws SwapFault
   */
  async prepare(): Promise<void> {
    for (const name of this.names) {
      try {
        await this.#session.secretOf(name)?.refresh();
      } catch (error) {
        throw new SwapFault("credential_unavailable", name, `the credential ${name} cannot be had`, { cause: error });
      }
    }
  }

  /**
   * A head as it is sent, for the caller to wipe.
   *
   * @param line what stands before the target and after it, and the fields, with placeholders
   */
  head(before: string, after: string): Buffer {
    return assemble([before, ...replaced(this.target, this.#inTarget), ...replaced(after, this.#inFields)], (name) =>
      this.#bytes(name),
    );
  }

  /** As strings, which HTTP/2's sessions take nothing else but. */
  texts(): { readonly target: string; readonly fields: readonly SwapField[] } {
    const text = (value: string, map: ReadonlyMap<string, Piece>): string => {
      const pieces = replaced(value, map);
      if (pieces.length === 1 && typeof pieces[0] === "string") return value;
      const bytes = assemble(pieces, (name) => this.#bytes(name));
      const made = bytes.toString("latin1");
      bytes.fill(0);
      return made;
    };
    return {
      target: text(this.target, this.#inTarget),
      fields: this.fields.map(({ name, value }) => ({ name, value: text(value, this.#inFields) })),
    };
  }

  #bytes(name: string): Buffer {
    const bytes = this.#session.secretOf(name)?.bytes ?? null;
    // It was there when the request was prepared, and has been lost since.
    if (bytes === null) throw new SwapFault("credential_unavailable", name, `the credential ${name} cannot be had`);
    return bytes;
  }
}

/** Undefined where there is no placeholder. */
function piecesOf(
  text: string,
  session: SessionCredentials,
  take: (occurrence: Occurrence) => string,
): readonly Piece[] | undefined {
  const pieces: Piece[] = [];
  let at = 0;
  for (const occurrence of session.find(text)) {
    pieces.push(text.slice(at, occurrence.at), { name: take(occurrence), form: "plain" });
    at = occurrence.end;
  }
  return pieces.length === 0 ? undefined : [...pieces, text.slice(at)];
}

function replaced(text: string, map: ReadonlyMap<string, Piece>): readonly Piece[] {
  if (map.size === 0) return [text];
  const pieces: Piece[] = [];
  let at = 0;
  const needles = [...map.keys()].map((needle) => needle.replace(/[^A-Za-z0-9_]/g, "\\$&"));
  for (const { index, 0: needle } of text.matchAll(new RegExp(needles.join("|"), "g"))) {
    pieces.push(text.slice(at, index), map.get(needle) ?? needle);
    at = index + needle.length;
  }
  pieces.push(text.slice(at));
  return pieces;
}

const encodedUnreserved = /%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])/g;

/**
 * The text with placeholders as they are: where one is percent-encoded, all that need not be is decoded, which leaves its
 * meaning (RFC 3986 section 6.2.2.2).
 */
function spelled(session: SessionCredentials, text: string): string {
  if (!text.includes("%")) return text;
  const plain = text
    .replace(encodedUnreserved, (octet) => String.fromCharCode(Number.parseInt(octet.slice(1), 16)))
    .replace(/openshell%3Aresolve%3Aenv%3A/gi, "openshell:resolve:env:");
  return session.find(plain).length > session.find(text).length ? plain : text;
}

interface Injected<Field> {
  readonly path: string;
  readonly query?: string | undefined;
  readonly fields: readonly Field[];
}

/** What the client sent in a credential's place is replaced by its placeholder. */
function inject<Field extends SwapField>(
  session: SessionCredentials,
  bound: readonly Binding[],
  request: SwapRequest<Field>,
  makeField: (name: string, value: string) => Field,
): Injected<Field> {
  let injected: Injected<Field> = request;
  for (const binding of bound) {
    if (binding.inject === undefined) continue;
    injected = injectOne(injected, binding.inject, session.placeholderOf(binding.name), makeField);
  }
  return injected;
}

function injectOne<Field extends SwapField>(
  request: Injected<Field>,
  injection: CredentialInjection,
  placeholder: string,
  makeField: (name: string, value: string) => Field,
): Injected<Field> {
  const withField = (name: string, value: string): Injected<Field> => ({
    ...request,
    fields: [...request.fields.filter((field) => field.name !== name), makeField(name, value)],
  });
  switch (injection.as) {
    case "bearer":
      return withField("authorization", `Bearer ${placeholder}`);
    case "basic": {
      const login = injection.username === undefined ? placeholder : `${injection.username}:${placeholder}`;
      return withField("authorization", `Basic ${Buffer.from(login, "latin1").toString("base64")}`);
    }
    case "header":
      return withField(injection.name, `${injection.prefix}${placeholder}`);
    case "query": {
      const isOwn = (pair: string): boolean => nameOf(pair) === injection.name;
      const others = (request.query ?? "").split("&").filter((pair) => pair !== "" && !isOwn(pair));
      return { ...request, query: [...others, `${injection.name}=${placeholder}`].join("&") };
    }
    case "path": {
      const [before = "", after = ""] = injection.template.split("{}");
      if (!request.path.startsWith(before)) return request;
      const slash = request.path.indexOf("/", before.length);
      const rest = slash < 0 ? "" : request.path.slice(slash);
      if (!rest.startsWith(after)) return request;
      return { ...request, path: `${before}${placeholder}${rest}` };
    }
  }
}

function nameOf(pair: string): string {
  const name = pair.split("=", 1)[0] ?? "";
  try {
    return decodeURIComponent(name.replaceAll("+", " "));
  } catch {
    return name;
  }
}
