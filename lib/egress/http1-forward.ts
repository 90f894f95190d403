import { type Head, HttpError, type RequestHead, type ResponseHead } from "./http-head.ts";

/** For one hop only (RFC 9110 section 7.6.1), and what a client says to a proxy. */
const hopByHop: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "upgrade",
]);
/** What `Connection` may not take away: a message's meaning would be another behind it. */
const neverHopByHop: ReadonlySet<string> = new Set([
  "content-length",
  "transfer-encoding",
  "content-type",
  "content-encoding",
  "host",
  "authorization",
  "cookie",
  "trailer",
]);

const framing: ReadonlySet<string> = new Set(["content-length", "transfer-encoding"]);

/** Whether a head can go on byte by byte: nothing in it is for this hop only, but that the connection stays. */
export function isRaw(head: Head | ResponseHead): boolean {
  const { fields, hopByHop: named, keepAlive, upgrade } = head;
  if (!keepAlive || upgrade !== undefined || named.length > 0) return false;
  if ("hasVainFraming" in head && head.hasVainFraming) return false;
  return fields.every(({ name }) => name === "connection" || !hopByHop.has(name));
}

/** The head as it is sent to the server. */
export function requestBytes(head: RequestHead, target: string): Buffer {
  return write(`${head.method} ${target} HTTP/1.${head.minor}\r\n`, head, { closes: false, fault: 400 });
}

/** What stands after the target of a request's head as it is sent. */
export function afterTarget(head: RequestHead): string {
  return writeText(` HTTP/1.${head.minor}\r\n`, head, { closes: false, fault: 400 });
}

/** The head as it is sent to the client. */
export function answerBytes(head: ResponseHead, data: Buffer, { closes }: { readonly closes: boolean }): Buffer {
  const line = data.toString("latin1", 0, data.indexOf("\n") + 1);
  const fields = head.hasVainFraming ? head.fields.filter(({ name }) => !framing.has(name)) : head.fields;
  return write(line.replace(/^HTTP\/1\.0/, "HTTP/1.1"), { ...head, fields }, { closes, fault: 502 });
}

interface WriteOptions {
  readonly closes: boolean;
  /** Whose a malformed head is: the client's, or the server's. */
  readonly fault: 400 | 502;
}

function write(line: string, head: Head, options: WriteOptions): Buffer {
  return Buffer.from(writeText(line, head, options), "latin1");
}

function writeText(line: string, head: Head, { closes, fault }: WriteOptions): string {
  for (const name of head.hopByHop) {
    if (neverHopByHop.has(name)) throw new HttpError(fault, `Connection names ${name}, which is the message's own`);
  }
  const kept = head.fields.filter(({ name }) => !hopByHop.has(name) && !head.hopByHop.includes(name));
  const isWebSocket = head.upgrade === "websocket";
  const own = `${isWebSocket ? "Connection: Upgrade\r\nUpgrade: websocket\r\n" : closes ? "Connection: close\r\n" : ""}`;
  return `${line}${kept.map((field) => field.line).join("")}${own}\r\n`;
}
