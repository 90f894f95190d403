import { isIP, type Socket } from "node:net";
import { type Answer, failureAnswer, message } from "./answer.ts";
import { HttpError, headEnd, parseRequest } from "./http-head.ts";

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

const headMs = 30_000;

/**
 * Reads what a client says to a proxy first: CONNECT (RFC 9110 section 9.3.6), a request in absolute form (RFC 9112
 * section 3.2.2), or SOCKS 5 (RFC 1928, without authentication). Undefined where it is none of these; then the client has
 * been told, and the connection ends.
 */
export function readProxyRequest(client: Socket): Promise<ProxyRequest | undefined> {
  return new Promise((resolve) => {
    let held: Buffer = Buffer.alloc(0);
    let hasGreeted = false;
    const timer = setTimeout(() => client.destroy(), headMs).unref();
    const settle = (request: ProxyRequest | undefined): void => {
      clearTimeout(timer);
      client.off("data", onData);
      client.off("end", onEnd);
      client.off("close", onClose);
      client.pause();
      resolve(request);
    };
    const onClose = (): void => settle(undefined);
    const onEnd = (): void => void client.destroy();
    const refuse = (bytes: Buffer | string): void => {
      settle(undefined);
      client.resume();
      client.end(bytes);
    };
    const socks = (): void => {
      if (!hasGreeted) {
        const size = 2 + (held[1] ?? 256);
        if (held.length < size) return;
        if (!held.subarray(2, size).includes(noAuthentication)) {
          refuse(Buffer.of(5, 0xff));
          return;
        }
        client.write(Buffer.of(5, noAuthentication));
        hasGreeted = true;
        held = held.subarray(size);
      }
      const asked = readSocks(held);
      if (asked === undefined) return;
      if ("fault" in asked) {
        refuse(socksReply(asked.fault));
        return;
      }
      settle({
        ...asked,
        isForward: false,
        accept: () => void client.write(socksReply(0)),
        reject: ({ status }) => {
          client.resume();
          client.end(socksReply(status === 502 ? hostUnreachable : notAllowed));
        },
      });
    };
    const http = (): void => {
      const size = headEnd(held);
      if (size < 0) return;
      const asked = readHttp(held, size);
      settle({
        ...asked,
        accept: () => {
          if (!asked.isForward) client.write("HTTP/1.1 200 Connection established\r\n\r\n");
        },
        reject: (answer) => {
          client.resume();
          client.end(message(answer, { closes: true, isHead: false }));
        },
      });
      // After it is paused: what flows would come here again.
      if (asked.isForward) client.unshift(held);
      else if (held.length > size) client.unshift(held.subarray(size));
    };
    const onData = (chunk: Buffer): void => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      try {
        if (hasGreeted || held[0] === 5) socks();
        else http();
      } catch (error) {
        const status = error instanceof HttpError ? error.status : 400;
        const detail = error instanceof Error ? error.message : String(error);
        refuse(message(failureAnswer(status, "malformed_request", detail), { closes: true, isHead: false }));
      }
    };
    client.on("data", onData);
    client.on("end", onEnd);
    client.on("close", onClose);
    if (client.readableEnded) onEnd();
    client.resume();
  });
}

/** A name in lower case, or an address without brackets. */
function hostOf(text: string): string {
  const host = text.replace(/^\[(.*)\]$/, "$1").toLowerCase();
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

function readHttp(data: Buffer, size: number): { host: string; port: number; isForward: boolean } {
  const line = data.toString("latin1", 0, data.indexOf("\r\n"));
  const [, asked] = /^CONNECT ([\x21-\x7e]+) HTTP\/1\.[01]$/.exec(line) ?? [];
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

/** Undefined while there is more to come. */
function readSocks(data: Buffer): { host: string; port: number } | { fault: number } | undefined {
  if (data.length < 5) return undefined;
  const [version, command, , kind, first = 0] = data;
  if (version !== 5 || command !== 1) return { fault: unknownCommand };
  const size = kind === 1 ? 4 : kind === 4 ? 16 : kind === 3 ? 1 + first : undefined;
  if (size === undefined) return { fault: unknownAddress };
  if (data.length < 4 + size + 2) return undefined;
  const address = data.subarray(4, 4 + size);
  const host =
    kind === 3
      ? hostOf(address.toString("latin1", 1))
      : kind === 1
        ? address.join(".")
        : Array.from({ length: 8 }, (_, i) => address.readUInt16BE(2 * i).toString(16)).join(":");
  const port = data.readUInt16BE(4 + size);
  return port === 0 ? { fault: notAllowed } : { host, port };
}
