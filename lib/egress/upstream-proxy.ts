import { type BlockList, connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { readHostPort, writeHostPort } from "../policy/host-port.ts";
import type { UpstreamProxySettings } from "../policy/policy.ts";
import { secretsInUse } from "../secrets/secret-search.ts";
import { checkDocument, readSource } from "../secrets/sources.ts";
import { addressBytes, compileRanges } from "./addresses.ts";
import { mostInterim } from "./http-head.ts";
import { readUntil } from "./read-until.ts";
import { serverTrust } from "./server-tls.ts";
import { timeLimits } from "./time-limits.ts";

const longestHead = 8192;

/** An entry of `no_proxy`. */
interface Direct {
  /** Every port where there is none. */
  readonly port?: number;
  /** Of addresses; else it is of names. */
  readonly ranges?: BlockList;
  readonly matches?: (host: string) => boolean;
}

function directOf(entry: string): Direct {
  if (entry === "*") return { matches: () => true };
  if (entry.includes("/")) return { ranges: compileRanges([entry]) };
  const { host, ...port } = readHostPort(entry) ?? { host: entry };
  if (isIP(host) !== 0) return { ...port, ranges: compileRanges([host]) };
  const name = host.replace(/^\*?\./, "");
  const matches = (asked: string): boolean =>
    isIP(asked) === 0 && (asked.endsWith(`.${name}`) || (asked === name && name === host));
  return { ...port, matches };
}

/** The proxy of a closed site, through which connections are made that leave it. */
export class UpstreamProxy {
  readonly #settings: UpstreamProxySettings;
  readonly #url: URL;
  readonly #direct: readonly Direct[];
  /** As it was read last. */
  #password: Buffer = Buffer.alloc(0);
  readonly #retract: () => void;

  constructor(settings: UpstreamProxySettings) {
    this.#settings = settings;
    this.#url = new URL(settings.url);
    this.#direct = settings.noProxy.map(directOf);
    this.#retract = secretsInUse.add(() => [["the upstream proxy's password", this.#password]]);
  }

  /** Whether the proxy resolves names: then nobody here knows where they lead. */
  get resolves(): boolean {
    return this.#settings.resolve === "proxy";
  }

  /** Whether `no_proxy` has a host's port: by name, or by its addresses, all of them. */
  isDirect(host: string, port: number, addresses: readonly string[]): boolean {
    const own = this.#direct.filter((entry) => entry.port === undefined || entry.port === port);
    const list = isIP(host) === 0 ? addresses : [host];
    const isListed = (address: string): boolean =>
      own.some(({ ranges }) => ranges?.check(address, isIP(address) === 6 ? "ipv6" : "ipv4"));
    return own.some(({ matches }) => matches?.(host)) || (list.length > 0 && list.every(isListed));
  }

  /**
   * A connection through the proxy.
   *
   * @param target an address that was checked, or a name where the proxy resolves
   * @param signal ends the attempt; nothing is dialled after it
   * @throws Error whose message says what the proxy answered, and never holds the credentials
   */
  async connect(
    target: string,
    port: number,
    signal: AbortSignal,
    limitMs: number = timeLimits.connectMs,
  ): Promise<Socket> {
    const { hostname, protocol, host } = this.#url;
    const isTls = protocol === "https:";
    const isSocks = protocol === "socks5:";
    const defaultPort = isTls ? 443 : isSocks ? 1080 : 80;
    const proxy = hostname.replace(/^\[|\]$/g, "");
    const credentials = await this.#credentials();
    signal.throwIfAborted();
    const raw = connect({
      host: proxy,
      port: Number(this.#url.port || defaultPort),
      allowHalfOpen: true,
      noDelay: true,
    });
    const socket = isTls ? overTls(raw, proxy) : raw;
    const timer = setTimeout(() => socket.destroy(new Error("it does not answer")), limitMs);
    const abort = (): void => void raw.destroy(signal.reason);
    signal.addEventListener("abort", abort);
    try {
      await opened(socket, isTls ? "secureConnect" : "connect");
      await (isSocks ? askSocks(socket, target, port, credentials) : askConnect(socket, target, port, credentials));
      return socket;
    } catch (error) {
      raw.destroy();
      socket.destroy();
      throw new Error(`the upstream proxy ${host}: ${(error instanceof Error ? error.message : String(error)).trim()}`);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    }
  }

  /** Forgets the password. */
  close(): void {
    this.#retract();
    this.#password.fill(0);
  }

  /** Read anew each time, so that they can be changed; the password is looked for in what leaves. */
  async #credentials(): Promise<string | undefined> {
    const { credentials } = this.#settings;
    if (credentials === undefined) return undefined;
    const isVariable = "env" in credentials;
    const from = isVariable ? `the variable ${credentials.env}` : credentials.file;
    const found = await readSource(
      isVariable ? { kind: "env", name: credentials.env } : { kind: "file", path: credentials.file },
      undefined,
      checkDocument,
    ).catch(() => undefined);
    const text = loginIn(found?.bytes.toString().trim() ?? "", this.#url.host);
    found?.bytes.fill(0);
    if (/^[^:\0-\x1f]{1,255}:[^\0-\x1f]{0,255}$/.test(text)) {
      this.#remember(Buffer.from(text.slice(text.indexOf(":") + 1)));
      return text;
    }
    throw new Error(`the upstream proxy's credentials, from ${from}, are not there as USER:PASSWORD`);
  }

  #remember(password: Buffer): void {
    if (password.equals(this.#password)) return;
    this.#password.fill(0);
    this.#password = password;
    secretsInUse.changed();
  }
}

/** `USER:PASSWORD`, also of what HTTPS_PROXY and its like may hold instead: a URL, of the proxy's host where it has no scheme. */
function loginIn(text: string, proxyHost: string): string {
  const hasScheme = /^[a-z][a-z\d+.-]*:\/\//i.test(text);
  const written = hasScheme ? text : `http://${text}`;
  if (!URL.canParse(written)) return text;
  const { host, username, password } = new URL(written);
  return hasScheme || (username !== "" && host === proxyHost) ? `${decoded(username)}:${decoded(password)}` : text;
}

/** As it is where a percent sign stands for itself. */
export function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function overTls(raw: Socket, host: string): Socket {
  const socket = connectTls({
    socket: raw,
    secureContext: serverTrust(),
    ...(isIP(host) === 0 ? { servername: host } : { host }),
  });
  raw.on("error", (error) => socket.destroy(error));
  // Only a TCP socket can be reset; what ends it ends this.
  socket.resetAndDestroy = () => {
    raw.resetAndDestroy();
    return socket.destroy();
  };
  return socket;
}

function opened(socket: Socket, event: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.once("close", () => reject(new Error("it closed the connection")));
    socket.once(event, () => resolve());
  });
}

/** RFC 9110 section 9.3.6. */
async function askConnect(socket: Socket, target: string, port: number, credentials?: string): Promise<void> {
  const authority = writeHostPort(target, port);
  const own =
    credentials === undefined ? "" : `Proxy-Authorization: Basic ${Buffer.from(credentials).toString("base64")}\r\n`;
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${own}\r\n`);
  let [status, reason] = await takeStatus(socket);
  for (let interim = 0; status.startsWith("1") && interim < mostInterim; interim++)
    [status, reason] = await takeStatus(socket);
  if (status === "407") throw new Error(`it wants ${credentials === undefined ? "" : "other "}credentials (407)`);
  if (!status.startsWith("2"))
    throw new Error(`it does not connect: ${status} ${reason.replace(/[^\x20-\x7e]/g, "?").slice(0, 100)}`.trim());
}

async function takeStatus(socket: Socket): Promise<readonly [status: string, reason: string]> {
  const head = await take(socket, (held) => {
    const end = held.indexOf("\r\n\r\n");
    return end < 0 ? Number.POSITIVE_INFINITY : end + 4;
  });
  const [, status, reason = ""] = /^HTTP\/1\.[01] (\d{3})(?: ([^\r\n]*))?\r\n/.exec(head.toString("latin1")) ?? [];
  if (status === undefined) throw new Error("what it answers is no HTTP");
  return [status, reason];
}

/** RFC 1928 section 6. */
const socksFaults = [
  "",
  "it failed",
  "its rules do not allow it",
  "the network is unreachable",
  "the host is unreachable",
  "the connection was refused",
  "the time to live ran out",
  "it does not know CONNECT",
  "it does not know this kind of address",
];

/** RFC 1928, and RFC 1929 for the credentials. */
async function askSocks(socket: Socket, target: string, port: number, credentials?: string): Promise<void> {
  socket.write(credentials === undefined ? Uint8Array.of(5, 1, 0) : Uint8Array.of(5, 2, 0, 2));
  const [version, method] = await take(socket, () => 2);
  if (version !== 5) throw new Error("what it answers is no SOCKS5");
  if (method === 2 && credentials !== undefined) {
    const colon = credentials.indexOf(":");
    const [user, password] = [Buffer.from(credentials.slice(0, colon)), Buffer.from(credentials.slice(colon + 1))];
    if (user.length > 255 || password.length > 255) throw new Error("its credentials are too long");
    socket.write(Buffer.concat([Buffer.of(1, user.length), user, Buffer.of(password.length), password]));
    const [, status] = await take(socket, () => 2);
    if (status !== 0) throw new Error("it wants other credentials");
  } else if (method !== 0) throw new Error("it wants credentials of a kind that are not there");
  const address =
    isIP(target) === 0
      ? [3, Buffer.byteLength(target), ...Buffer.from(target)]
      : [isIP(target) === 4 ? 1 : 4, ...addressBytes(target)];
  socket.write(Uint8Array.of(5, 1, 0, ...address, port >> 8, port & 255));
  const answer = await take(socket, (held) => {
    if (held.length < 5) return 5;
    const size = held[3] === 1 ? 4 : held[3] === 4 ? 16 : 1 + (held[4] ?? 0);
    return 4 + size + 2;
  });
  if (answer[0] !== 5) throw new Error("what it answers is no SOCKS5");
  if (answer[1] !== 0) throw new Error(`it does not connect: ${socksFaults[answer[1] ?? 1] ?? "it does not say why"}`);
}

/** Reads as many bytes as `sizeOf` says that what is held needs; what lies behind them stays to be read. */
function take(socket: Socket, sizeOf: (held: Buffer) => number): Promise<Buffer> {
  return readUntil(socket, (held) => {
    const size = sizeOf(held);
    if (held.length >= size) return { value: held.subarray(0, size), size };
    if (held.length > longestHead) throw new Error("its answer does not end");
    return undefined;
  });
}
