import type { CredentialInjection } from "../policy/credentials.ts";
import { assemble, encoded, type Piece, type SecretForm } from "../secrets/secret-text.ts";
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

const none: readonly string[] = [];
const basic = /^basic +([A-Za-z0-9+/_-]+={0,2})$/i;

/** What is put into a request's fields. Clients say the same again and again: it is looked for once. */
interface FieldPlan<Field extends SwapField> {
  /** Still with placeholders, those of what is injected too. */
  readonly fields: readonly Field[];
  /** Whether they are others than those that came. */
  readonly isChanged: boolean;
  readonly names: readonly string[];
  readonly found: ReadonlyMap<string, Piece>;
  /** Of all that stands after the target in a head of HTTP/1.1. */
  after: readonly Piece[] | undefined;
}

/** Where a request heads. */
export interface SwapPlace {
  /** What may be put in there. */
  readonly bound: readonly Binding[];
  /** The answer will be searched: then it may not be compressed. */
  readonly isScrubbed: boolean;
}

/** Finds what has to be put into the requests of one connection. */
export class Swaps {
  readonly #session: SessionCredentials;
  #last:
    | { readonly came: readonly SwapField[]; readonly place: SwapPlace; readonly plan: FieldPlan<SwapField> }
    | undefined;
  /** Of a request that is the same as the one before. */
  #made:
    | {
        readonly plan: FieldPlan<SwapField>;
        readonly path: string;
        readonly query: string | undefined;
        readonly swap: Swap<SwapField> | undefined;
      }
    | undefined;

  constructor(session: SessionCredentials) {
    this.#session = session;
  }

  /**
   * Undefined where nothing has to be put in.
   *
   * @param makeField a field that was not there
   */
  of<Field extends SwapField>(
    place: SwapPlace,
    request: SwapRequest<Field>,
    makeField: (name: string, value: string) => Field,
  ): Swap<Field> | SwapFault | undefined {
    try {
      const plan = this.#planOf(place, request.fields, makeField);
      const made = this.#made;
      // The plan is the same object, so that its fields are of the same kind.
      if (made?.plan === plan && made.path === request.path && made.query === request.query)
        return made.swap as Swap<Field> | undefined;
      const { path, query } = injectIntoTarget(this.#session, place.bound, request);
      const target = spelled(this.#session, query === undefined ? path : `${path}?${query}`);
      const inTarget = new Map<string, Piece>();
      const names = scan(this.#session, place.bound, target, "percent", "target", inTarget);
      const isSame = plan.names.length + names.length === 0 && !plan.isChanged;
      const swap = isSame ? undefined : new Swap(this.#session, plan, target, inTarget, names);
      this.#made = { plan, path: request.path, query: request.query, swap };
      return swap;
    } catch (fault) {
      if (fault instanceof SwapFault) return fault;
      throw fault;
    }
  }

  #planOf<Field extends SwapField>(
    place: SwapPlace,
    came: readonly Field[],
    makeField: (name: string, value: string) => Field,
  ): FieldPlan<Field> {
    const last = this.#last;
    // The fields are the same objects, so that they are of the same kind.
    if (last?.came === came && isSamePlace(last.place, place)) return last.plan as FieldPlan<Field>;
    const plan = planFields(this.#session, place, came, makeField);
    this.#last = { came, place, plan };
    return plan;
  }
}

function isSamePlace(one: SwapPlace, other: SwapPlace): boolean {
  if (one === other) return true;
  return (
    one.isScrubbed === other.isScrubbed &&
    one.bound.length === other.bound.length &&
    one.bound.every((binding, index) => binding === other.bound[index])
  );
}

/** @throws SwapFault */
function planFields<Field extends SwapField>(
  session: SessionCredentials,
  { bound, isScrubbed }: SwapPlace,
  came: readonly Field[],
  makeField: (name: string, value: string) => Field,
): FieldPlan<Field> {
  const boundNames = bound.map((binding) => binding.name);
  const found = new Map<string, Piece>();
  const names: string[] = [];
  const injected = injectIntoFields(session, bound, came, makeField);
  let isChanged = injected !== came;
  const fields = injected.map((field) => {
    const { name, value } = field;
    const [, blob = ""] = (name === "authorization" ? basic.exec(value) : null) ?? [];
    if (blob !== "") {
      const pieces = piecesOf(Buffer.from(blob, "base64").toString("latin1"), session, (one) => {
        const taken = checkBound(boundNames, one.name, name);
        names.push(taken);
        session.secretOf(taken)?.markEncoded();
        return taken;
      });
      if (pieces !== undefined) found.set(blob, { base64: pieces });
      return field;
    }
    if (isScrubbed && name === "accept-encoding" && value !== "identity") {
      isChanged = true;
      return makeField(name, "identity");
    }
    const plain = spelled(session, value);
    names.push(...scan(session, bound, plain, plain === value ? "plain" : "percent", name, found));
    return plain === value ? field : makeField(name, plain);
  });
  return { fields, isChanged, names, found, after: undefined };
}

/**
 * @param name what a placeholder stands for
 * @returns the same
 * @throws SwapFault where it may not be here
 */
export function checkBound(bound: readonly string[], name: string | undefined, where: string): string {
  if (name === undefined)
    throw new SwapFault("credential_unavailable", undefined, `the ${where} names a credential that there is not`);
  if (bound.includes(name)) return name;
  const message = `the placeholder of ${name} in the ${where} is not for this place`;
  throw new SwapFault("credential_endpoint_mismatch", name, message);
}

/**
 * Reads what has to be read before it is sent.
 *
 * @throws SwapFault
 */
export async function refreshFor(session: SessionCredentials, names: readonly string[]): Promise<void> {
  for (const name of names) {
    try {
      await session.secretOf(name)?.refresh();
    } catch (cause) {
      throw new SwapFault("credential_unavailable", name, `the credential ${name} cannot be had`, { cause });
    }
  }
}

/** @throws SwapFault where it has been lost since it was read */
export function bytesOf(session: SessionCredentials, name: string): Buffer {
  const bytes = session.secretOf(name)?.bytes ?? null;
  if (bytes === null) throw new SwapFault("credential_unavailable", name, `the credential ${name} cannot be had`);
  return bytes;
}

/** @throws SwapFault */
function scan(
  session: SessionCredentials,
  bound: readonly Binding[],
  text: string,
  form: SecretForm,
  where: string,
  into: Map<string, Piece>,
): readonly string[] {
  const found = session.find(text);
  if (found.length === 0) return none;
  const names = bound.map((binding) => binding.name);
  return found.map((occurrence) => {
    const name = checkBound(names, occurrence.name, where);
    into.set(text.slice(occurrence.at, occurrence.end), { name, form });
    return name;
  });
}

/** A request whose placeholders become secrets when it is sent. */
export class Swap<Field extends SwapField> {
  /** The credentials that go into it. */
  readonly names: readonly string[];
  /** Still with placeholders. */
  readonly target: string;
  readonly #session: SessionCredentials;
  readonly #plan: FieldPlan<Field>;
  readonly #inTarget: ReadonlyMap<string, Piece>;

  constructor(
    session: SessionCredentials,
    plan: FieldPlan<Field>,
    target: string,
    inTarget: ReadonlyMap<string, Piece>,
    names: readonly string[],
  ) {
    this.#session = session;
    this.#plan = plan;
    this.target = target;
    this.#inTarget = inTarget;
    this.names = names.length === 0 ? plan.names : [...new Set([...plan.names, ...names])];
  }

  /** Still with placeholders, those of what is injected too. */
  get fields(): readonly Field[] {
    return this.#plan.fields;
  }

  /** Whether it can be sent now. */
  get isReady(): boolean {
    return this.#session.areFresh(this.names);
  }

  /**
   * Reads what has to be read.
   *
   * @throws SwapFault
   */
  prepare(): Promise<void> {
    return refreshFor(this.#session, this.names);
  }

  /**
   * A head as it is sent, for the caller to wipe.
   *
   * @param after what stands after the target, with placeholders; the same for the same fields where it is a function
   */
  head(before: string, after: string | (() => string)): Buffer {
    const plan = this.#plan;
    if (typeof after === "function") plan.after ??= replaced(after(), plan.found).map(encoded);
    const rest = typeof after === "function" ? (plan.after ?? []) : replaced(after, plan.found);
    const start =
      this.#inTarget.size === 0 ? [before + this.target] : [before, ...replaced(this.target, this.#inTarget)];
    return assemble([...start, ...rest], (name) => bytesOf(this.#session, name));
  }

  /** As strings, which HTTP/2's sessions take nothing else but. */
  texts(): { readonly target: string; readonly fields: readonly SwapField[] } {
    const text = (value: string, map: ReadonlyMap<string, Piece>): string => {
      const pieces = replaced(value, map);
      if (pieces.length === 1 && typeof pieces[0] === "string") return value;
      const bytes = assemble(pieces, (name) => bytesOf(this.#session, name));
      const made = bytes.toString("latin1");
      bytes.fill(0);
      return made;
    };
    return {
      target: text(this.target, this.#inTarget),
      fields: this.fields.map(({ name, value }) => ({ name, value: text(value, this.#plan.found) })),
    };
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

/** What the client sent in a credential's place is replaced by its placeholder. */
function injectIntoFields<Field extends SwapField>(
  session: SessionCredentials,
  bound: readonly Binding[],
  came: readonly Field[],
  makeField: (name: string, value: string) => Field,
): readonly Field[] {
  let fields = came;
  for (const { name, inject } of bound) {
    const made = inject === undefined ? undefined : fieldOf(inject, session.placeholderOf(name));
    if (made !== undefined)
      fields = [...fields.filter((field) => !isReadAs(field.name, made.name)), makeField(made.name, made.value)];
  }
  return fields;
}

/** Servers behind CGI and its like read an underscore as a hyphen (RFC 3875 section 4.1.18). */
function isReadAs(name: string, made: string): boolean {
  if (name === made) return true;
  return name.length === made.length && name.replaceAll("_", "-") === made.replaceAll("_", "-");
}

function fieldOf(inject: CredentialInjection, placeholder: string): SwapField | undefined {
  switch (inject.as) {
    case "bearer":
      return { name: "authorization", value: `Bearer ${placeholder}` };
    case "basic": {
      const login = inject.username === undefined ? placeholder : `${inject.username}:${placeholder}`;
      return { name: "authorization", value: `Basic ${Buffer.from(login, "latin1").toString("base64")}` };
    }
    case "header":
      return { name: inject.name, value: `${inject.prefix}${placeholder}` };
    default:
      return undefined;
  }
}

interface Target {
  readonly path: string;
  readonly query?: string | undefined;
}

function injectIntoTarget(session: SessionCredentials, bound: readonly Binding[], came: Target): Target {
  let target = came;
  for (const { name, inject } of bound) {
    if (inject?.as === "query") target = withParameter(target, inject.name, session.placeholderOf(name));
    else if (inject?.as === "path") target = withSegment(target, inject.template, session.placeholderOf(name));
  }
  return target;
}

function withParameter({ path, query = "" }: Target, name: string, value: string): Target {
  const others = query.split("&").filter((pair) => pair !== "" && nameOf(pair) !== name);
  return { path, query: [...others, `${name}=${value}`].join("&") };
}

function withSegment(target: Target, template: string, value: string): Target {
  const [before = "", after = ""] = template.split("{}");
  const { path } = target;
  if (!path.startsWith(before)) return target;
  const slash = path.indexOf("/", before.length);
  const rest = slash < 0 ? "" : path.slice(slash);
  return rest.startsWith(after) ? { ...target, path: `${before}${value}${rest}` } : target;
}

function nameOf(pair: string): string {
  const name = pair.split("=", 1)[0] ?? "";
  try {
    return decodeURIComponent(name.replaceAll("+", " "));
  } catch {
    return name;
  }
}
