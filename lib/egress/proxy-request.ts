import { isIP, type Socket } from "node:net";
import { type Answer, failureAnswer, message } from "./answer.ts";
import { HttpError, parseConnect, parseRequest, requestHeadEnd } from "./http-head.ts";
import { EndedError, readUntil, TooSlowError } from "./read-until.ts";
import { type TimeLimits, timeLimits } from "./time-limits.ts";

/** What a client of the explicit proxy asks for. */
export interface ProxyRequest {
  readonly host: string;
  readonly port: number;
  /** Requests in absolute form follow, and this is the first of them: it has been given back to the connection. */
  readonly isForward: boolean;
  /** Tells the client that it is connected. */
  accept(): void;
  /** Tells the client why not, and ends. */
  reject(answer: Answer): void;
}

/**
 * Reads what a client says to a proxy first: CONNECT (RFC 9110 section 9.3.6), a request in absolute form (RFC 9112
 * section 3.2.2), or SOCKS 5 (RFC 1928, without authentication). Undefined where it is none of these; then the client has
 * been told, and the connection ends.
 */
export async function readProxyRequest(
  client: Socket,
  limits: TimeLimits = timeLimits,
): Promise<ProxyRequest | undefined> {
  const within = { firstMs: limits.clientMs, restMs: limits.headMs };
  let isSocks = false;
  try {
    isSocks = await readUntil(client, ([first]) => ({ value: first === 5, size: 0 }), within);
    return await (isSocks ? readSocks(client, within) : readHttp(client, within));
  } catch (error) {
    if (error instanceof Refused) end(client, error.reply);
    else if (isSocks && error instanceof HttpError) end(client, socksReply(unknownAddress));
    else if (isSocks || error instanceof EndedError) client.destroySoon();
    else if (error instanceof TooSlowError)
      error.held.length === 0 ? client.destroySoon() : end(client, failure(408, "the request's head does not end"));
    else if (error instanceof HttpError) end(client, failure(error.status, error.message));
    else throw error;
    return undefined;
  }
}

/** A client of SOCKS is told no. */
class Refused extends Error {
  readonly reply: Buffer;

  constructor(reply: Buffer) {
    super("refused");
    this.reply = reply;
  }
}

type Within = Parameters<typeof readUntil>[2];

/** What still comes is read and dropped: a reset would take the answer from the client. */
function end(client: Socket, bytes: Buffer | string): void {
  client.resume();
  client.end(bytes);
}

function failure(status: number, detail: string): string {
  const error = status === 408 ? "timeout" : "malformed_request";
  return message(failureAnswer(status, error, detail), { closes: true, isHead: false });
}

async function readHttp(client: Socket, within: Within): Promise<ProxyRequest> {
  const asked = await readUntil(
    client,
    (held, from) => {
      const size = requestHeadEnd(held, from);
      if (size < 0) return undefined;
      const value = parseHttp(held, size);
      return { value, size: value.isForward ? 0 : size };
    },
    within,
  );
  return {
    ...asked,
    accept: () => {
      if (!asked.isForward) client.write("HTTP/1.1 200 Connection established\r\n\r\n");
    },
    reject: (answer) => end(client, message(answer, { closes: true, isHead: false })),
  };
}

async function readSocks(client: Socket, within: Within): Promise<ProxyRequest> {
  const offersNone = await readUntil(
    client,
    (held) => {
      const size = 2 + (held[1] ?? Number.POSITIVE_INFINITY);
      return held.length < size ? undefined : { value: held.subarray(2, size).includes(noAuthentication), size };
    },
    within,
  );
  if (!offersNone) throw new Refused(Buffer.of(5, 0xff));
  client.write(Buffer.of(5, noAuthentication));
  const asked = await readUntil(client, parseSocks, within);
  if ("fault" in asked) throw new Refused(socksReply(asked.fault));
  return {
    ...asked,
    isForward: false,
    accept: () => void client.write(socksReply(0)),
    reject: ({ status }) => end(client, socksReply(status === 502 ? hostUnreachable : notAllowed)),
  };
}

/** A name in lower case, or an address without brackets, in its shortest spelling. */
function hostOf(text: string): string {
  const host = text.replace(/^\[(.*)\]$/, "$1").toLowerCase();
  if (isIP(host) === 6 && !host.includes("%")) return new URL(`http://[${host}]`).hostname.slice(1, -1);
  if (isIP(host) === 0 && !/^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$/.test(host))
    throw new HttpError(400, "the host is malformed");
  return host;
}

const authority = /^(\[[0-9A-Fa-f:.]+\]|[^:/?#@[\]]+)(?::([0-9]{1,5}))?$/;

function hostPort(text: string, usual?: number): { host: string; port: number } {
  const [, host, digits] = authority.exec(text) ?? [];
  const port = Number(digits ?? usual ?? 0);
  if (host === undefined || port < 1 || port > 65_535) throw new HttpError(400, "the authority is not HOST:PORT");
  return { host: hostOf(host), port };
}

/** What the head of a client's first request asks for. Exported for its fuzzer. */
export function parseHttp(data: Buffer, size: number): { host: string; port: number; isForward: boolean } {
  const asked = parseConnect(data, size);
  if (asked !== undefined) return { ...hostPort(asked), isForward: false };
  const { target } = parseRequest(data, size);
  const [, to] = /^http:\/\/([^/?#]+)/i.exec(target) ?? [];
  if (to === undefined) throw new HttpError(400, "a proxy is asked by CONNECT, or for http://HOST/PATH");
  return { ...hostPort(to, 80), isForward: true };
}

const noAuthentication = 0;
// RFC 1928 section 6.
const notAllowed = 2;
const hostUnreachable = 4;
const unknownCommand = 7;
const unknownAddress = 8;

function socksReply(code: number): Buffer {
  return Buffer.of(5, code, 0, 1, 0, 0, 0, 0, 0, 0);
}

/**
 * What a client of SOCKS asks for, or what it is told; undefined while there is more to come.
 *
 * @throws HttpError where the host is no name
 */
export function parseSocks(
  data: Buffer,
): { value: { host: string; port: number } | { fault: number }; size: number } | undefined {
  if (data.length < 5) return undefined;
  const [version, command, , kind, first = 0] = data;
  if (version !== 5 || command !== 1) return { value: { fault: unknownCommand }, size: data.length };
  const addressSize = kind === 1 ? 4 : kind === 4 ? 16 : kind === 3 ? 1 + first : undefined;
  if (addressSize === undefined) return { value: { fault: unknownAddress }, size: data.length };
  const size = 4 + addressSize + 2;
  if (data.length < size) return undefined;
  const address = data.subarray(4, 4 + addressSize);
  const host =
    kind === 3
      ? hostOf(address.toString("latin1", 1))
      : kind === 1
        ? address.join(".")
        : Array.from({ length: 8 }, (_, i) => address.readUInt16BE(2 * i).toString(16)).join(":");
  const port = data.readUInt16BE(4 + addressSize);
  return { value: port === 0 ? { fault: notAllowed } : { host, port }, size };
}
