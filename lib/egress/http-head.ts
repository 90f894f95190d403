/**
 * Heads of HTTP/1.1 messages by the strict grammar of RFC 9112 and RFC 9110, and nothing beside it: whatever two readers
 * could take for two things is refused. Heads that pass are forwarded byte for byte wherever nothing has to change.
 */

/** Why a message is refused, with the status that says so to its sender. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** How the body's end is found (RFC 9112 section 6.3). */
export type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly length: number }
  | { readonly kind: "chunked" }
  /** Responses only: up to the end of the connection. */
  | { readonly kind: "close" };

export interface Head {
  /** The bytes of it, the empty line included. */
  readonly size: number;
  /** Names in lower case with their values, in order, as they stand. */
  readonly fields: readonly Field[];
  readonly framing: Framing;
  /** Whether the connection carries another message after this one. */
  readonly keepAlive: boolean;
  /** What it asks to change to, in lower case, where `Connection: upgrade` asks for it as well. */
  readonly upgrade: string | undefined;
  /** Names that `Connection` says are for this hop only, in lower case. */
  readonly hopByHop: readonly string[];
}

export interface Field {
  readonly name: string;
  readonly value: string;
  /** The line as it came, CRLF included. */
  readonly line: string;
}

/** A field that did not come in this form. */
export function makeField(name: string, value: string): Field {
  return { name, value, line: `${name}: ${value}\r\n` };
}

export interface RequestHead extends Head {
  readonly method: string;
  readonly target: string;
  /** HTTP/1.0 or HTTP/1.1. */
  readonly minor: 0 | 1;
  /** The only Host field's value. */
  readonly host: string;
  /** All of it after the request line. */
  readonly rest: string;
  readonly expectsContinue: boolean;
}

export interface ResponseHead extends Head {
  readonly status: number;
  /** It tells of a body that its status cannot have: some readers wait for one (RFC 9112 section 6.3). */
  readonly hasVainFraming: boolean;
  /** Of the request that it answers. */
  readonly method: string;
  /** All of it, as it came. */
  readonly text: string;
}

/** The longest head that is read: request line and fields. */
export const longestHead: number = 64 * 1024;
/** Of one head. */
export const mostFields: number = 256;
/** A server may say this often that there will be an answer (RFC 9110 section 15.2). */
export const mostInterim: number = 32;

const endOfHead = Buffer.from("\r\n\r\n");

// RFC 9110 section 5.6.2: tokens. Section 5.5: values, without surrounding white space; obs-text is opaque.
const requestLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP\/1\.([01])\r\n/;
const statusLine = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n/;
/** What their first bytes can be. */
const requestStart = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: |$)/;
const statusStart = /^(?:HTTP\/1\.|H$|HT$|HTT$|HTTP$|HTTP\/$|HTTP\/1$)/;
const fieldLine =
  /([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?[ \t]*\r\n/y;

/**
 * Finds the end of a request's head in what has come so far: its size, or -1 when there is more to come.
 *
 * @param from where to look from: what was looked at before need not be again
 * @throws HttpError 431 when it is longer than `longestHead`, 400 when it cannot become one
 */
export function requestHeadEnd(data: Buffer, from = 0): number {
  if (data[0] === 0x16) throw new HttpError(400, "TLS within TLS cannot be inspected: `tls: skip` passes it on unread");
  const size = headEnd(data, from);
  // Who babbles is told so now, and not when its time is over.
  if (size < 0 && !couldBegin(data, requestLine, requestStart))
    throw new HttpError(400, "the request line is malformed");
  return size;
}

/** As `requestHeadEnd`, of what an origin says. */
export function responseHeadEnd(data: Buffer, from: number): number {
  const size = ofOrigin(() => headEnd(data, from));
  if (size < 0 && !couldBegin(data, statusLine, statusStart)) throw new HttpError(502, "the status line is malformed");
  return size;
}

function headEnd(data: Buffer, from: number): number {
  const at = data.indexOf(endOfHead, Math.max(0, from - 3));
  const size = at < 0 ? data.length : at + endOfHead.length;
  if (size > longestHead) throw new HttpError(431, `the head is longer than ${longestHead} bytes`);
  return at < 0 ? -1 : size;
}

function couldBegin(data: Buffer, line: RegExp, start: RegExp): boolean {
  const end = data.indexOf(0x0a);
  return end < 0 ? start.test(data.toString("latin1", 0, 8)) : line.test(data.toString("latin1", 0, end + 1));
}

/** What is malformed is the origin's fault, and not the client's: 502. */
function ofOrigin<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof HttpError ? new HttpError(502, error.message) : error;
  }
}

/**
 * What a client of a proxy wants to be connected to (RFC 9110 section 9.3.6); undefined where it asks for something else.
 * Some send no Host field.
 *
 * @throws HttpError 400 when the head is not of the grammar
 */
export function parseConnect(data: Buffer, size: number): string | undefined {
  const text = data.toString("latin1", 0, size);
  const [line = "", method, target, minor] = requestLine.exec(text) ?? [];
  if (method !== "CONNECT") return undefined;
  const { chunked, length } = parseFields(text, line.length, minor === "1");
  if (chunked || (length ?? 0) > 0) throw new HttpError(400, "CONNECT has no content");
  return target;
}

/**
 * @param before to the same server, if any: most clients say the same after the request line, and that is read once
 * @throws HttpError 400 when the head is not of the grammar
 */
export function parseRequest(data: Buffer, size: number, before?: RequestHead): RequestHead {
  const text = data.toString("latin1", 0, size);
  const line = requestLine.exec(text);
  if (line === null) throw new HttpError(400, "the request line is malformed");
  const [whole, method = "", target = "", digit] = line;
  if (method === "CONNECT") throw new HttpError(400, "CONNECT means nothing within a connection");
  const rest = text.slice(whole.length);
  const minor = digit === "1" ? 1 : 0;
  if (before !== undefined && before.minor === minor && before.rest === rest)
    return before.method === method && before.target === target ? before : { ...before, size, method, target };
  const common = parseFields(text, whole.length, minor === 1);
  const host = single(common.fields, "host");
  if (host === undefined) throw new HttpError(400, "there is no Host field");
  const framing: Framing = common.chunked
    ? { kind: "chunked" }
    : common.length === undefined || common.length === 0
      ? { kind: "none" }
      : { kind: "length", length: common.length };
  const expect = single(common.fields, "expect");
  if (expect !== undefined && expect.toLowerCase() !== "100-continue")
    throw new HttpError(417, "an expectation is not known");
  return {
    size,
    method,
    target,
    minor,
    host,
    rest,
    framing,
    fields: common.fields,
    keepAlive: common.keepAlive,
    upgrade: common.upgrade,
    hopByHop: common.hopByHop,
    expectsContinue: expect !== undefined && minor === 1 && framing.kind !== "none",
  };
}

/**
 * @param method of the request that it answers: the answer to HEAD has no body, whatever its fields say
 * @param before of the same server, if any: it is returned where it is the same
 * @throws HttpError 502 when the head is not of the grammar
 */
export function parseResponse(data: Buffer, size: number, method: string, before?: ResponseHead): ResponseHead {
  const text = data.toString("latin1", 0, size);
  if (before?.text === text && before.method === method) return before;
  const line = statusLine.exec(text);
  if (line === null) throw new HttpError(502, "the status line is malformed");
  const status = Number(line[2]);
  const common = ofOrigin(() => parseFields(text, line[0].length, line[1] === "1"));
  const isHead = method === "HEAD" && status !== 304;
  const bodiless = method === "HEAD" || status === 204 || status === 304 || (status >= 100 && status < 200);
  const framing: Framing = bodiless
    ? { kind: "none" }
    : common.chunked
      ? { kind: "chunked" }
      : common.length === undefined
        ? { kind: "close" }
        : common.length === 0
          ? { kind: "none" }
          : { kind: "length", length: common.length };
  return {
    ...{ size, status, method, text },
    hasVainFraming: bodiless && !isHead && (common.chunked || (common.length ?? 0) > 0),
    framing,
    fields: common.fields,
    keepAlive: common.keepAlive && framing.kind !== "close",
    upgrade: status === 101 ? common.upgrade : undefined,
    hopByHop: common.hopByHop,
  };
}

interface Common {
  readonly fields: readonly Field[];
  readonly length: number | undefined;
  readonly chunked: boolean;
  readonly keepAlive: boolean;
  readonly upgrade: string | undefined;
  readonly hopByHop: readonly string[];
}

function parseFields(text: string, from: number, isOne: boolean): Common {
  const fields: Field[] = [];
  let length: string | undefined;
  let coding: string | undefined;
  let connection = "";
  let upgrade: string | undefined;
  let at = from;
  // Up to the empty line.
  while (at < text.length - 2) {
    fieldLine.lastIndex = at;
    const match = fieldLine.exec(text);
    if (match === null) throw new HttpError(400, "a field is malformed");
    at = fieldLine.lastIndex;
    const [line, given = "", value = ""] = match;
    const name = given.toLowerCase();
    fields.push({ name, value, line });
    if (fields.length > mostFields) throw new HttpError(431, `there are more than ${mostFields} fields`);
    switch (name) {
      case "content-length":
        if (length !== undefined) throw new HttpError(400, "there are two lengths");
        length = value;
        break;
      case "transfer-encoding":
        if (coding !== undefined) throw new HttpError(400, "there are two transfer codings");
        // White space to RFC 9110, and part of the word to some: the body would end elsewhere.
        if (line.includes("\t")) throw new HttpError(400, "a tabulator stands beside the transfer coding");
        coding = value;
        break;
      case "connection":
        connection = connection === "" ? value : `${connection},${value}`;
        break;
      case "upgrade":
        if (upgrade !== undefined) throw new HttpError(400, "there are two Upgrade fields");
        upgrade = value.toLowerCase();
        break;
    }
  }
  if (coding !== undefined) {
    if (length !== undefined) throw new HttpError(400, "there is a length beside a transfer coding");
    if (!isOne) throw new HttpError(400, "HTTP/1.0 has no transfer codings");
    if (coding.toLowerCase() !== "chunked") throw new HttpError(400, "the transfer coding is not chunked");
  }
  if (length !== undefined && !/^[0-9]{1,15}$/.test(length)) throw new HttpError(400, "the length is not a number");
  const options =
    connection === ""
      ? []
      : connection
          .toLowerCase()
          .split(",")
          .map((option) => option.trim());
  const closes = options.includes("close");
  return {
    fields,
    length: length === undefined ? undefined : Number(length),
    chunked: coding !== undefined,
    keepAlive: !closes && (isOne || options.includes("keep-alive")),
    upgrade: options.includes("upgrade") ? upgrade : undefined,
    hopByHop: options.filter((option) => option !== "close" && option !== "keep-alive" && option !== ""),
  };
}

function single(fields: readonly Field[], name: string): string | undefined {
  let found: string | undefined;
  for (const field of fields) {
    if (field.name !== name) continue;
    if (found !== undefined) throw new HttpError(400, `there are two ${name} fields`);
    found = field.value;
  }
  return found;
}
