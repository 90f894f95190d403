import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { SecureContext } from "node:tls";

export interface Proxy {
  readonly port: number;
  /** The targets that were asked for. */
  readonly asked: readonly string[];
  close(): void;
}

interface ProxyOptions {
  readonly address: string;
  /** `USER:PASSWORD` that a client must have. */
  readonly credentials?: string;
  /** Where names lead; the proxy's own knowledge. */
  readonly names?: Readonly<Record<string, string>>;
}

async function listening(server: Server, address: string, asked: string[]): Promise<Proxy> {
  server.listen(0, address);
  await once(server, "listening");
  const bound = server.address();
  return { port: typeof bound === "object" ? (bound?.port ?? 0) : 0, asked, close: () => server.close() };
}

function splice(one: Socket, other: Socket): void {
  one.on("error", () => other.destroy());
  other.on("error", () => one.destroy());
  one.pipe(other).pipe(one);
}

/** A proxy that speaks CONNECT, over TLS where it is given a context. */
export function startConnectProxy(
  { address, credentials, names = {} }: ProxyOptions,
  context?: (name: string) => SecureContext,
): Promise<Proxy> {
  const asked: string[] = [];
  const server =
    context === undefined
      ? createHttpServer()
      : createHttpsServer({ SNICallback: (name, done) => done(null, context(name)) });
  const wanted = credentials === undefined ? undefined : `Basic ${Buffer.from(credentials).toString("base64")}`;
  server.on("connect", (request, client: Socket) => {
    client.on("error", () => {});
    if (request.headers["proxy-authorization"] !== wanted) {
      client.end("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n");
      return;
    }
    asked.push(request.url ?? "");
    const [, host = "", port = ""] = /^(.*):(\d+)$/.exec(request.url ?? "") ?? [];
    const upstream = connect({ host: names[host] ?? host, port: Number(port), allowHalfOpen: true });
    upstream.once("connect", () => {
      client.write("HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n");
      splice(client, upstream);
    });
    upstream.once("error", () => client.end("HTTP/1.1 502 Bad Gateway\r\n\r\n"));
  });
  return listening(server, address, asked);
}

/** A proxy that speaks SOCKS5. */
export function startSocksProxy({ address, credentials, names = {} }: ProxyOptions): Promise<Proxy> {
  const asked: string[] = [];
  const server = createServer({ allowHalfOpen: true }, (client) => {
    client.on("error", () => {});
    serveSocks(client).catch(() => client.destroy());
  });
  async function serveSocks(client: Socket): Promise<void> {
    const next = async (size: number): Promise<Buffer> => {
      for (;;) {
        const held: Buffer | null = client.read(size);
        if (held !== null) return held;
        await once(client, "readable");
      }
    };
    const [, count = 0] = await next(2);
    const methods = await next(count);
    const method = credentials === undefined ? 0 : methods.includes(2) ? 2 : 255;
    client.write(Uint8Array.of(5, method));
    if (method === 255) return void client.end();
    if (method === 2) {
      const [, user = 0] = await next(2);
      const name = await next(user);
      const [length = 0] = await next(1);
      const isRight = `${name}:${await next(length)}` === credentials;
      client.write(Uint8Array.of(1, isRight ? 0 : 1));
      if (!isRight) return void client.end();
    }
    const [, , , kind] = await next(4);
    const data = kind === 3 ? await next((await next(1))[0] ?? 0) : await next(kind === 1 ? 4 : 16);
    const host = kind === 3 ? String(data) : [...data].join(".");
    const port = (await next(2)).readUInt16BE();
    asked.push(`${host}:${port}`);
    const upstream = connect({ host: names[host] ?? host, port, allowHalfOpen: true });
    const answer = (code: number): Uint8Array => Uint8Array.of(5, code, 0, 1, 0, 0, 0, 0, 0, 0);
    upstream.once("connect", () => {
      client.write(answer(0));
      splice(client, upstream);
    });
    upstream.once("error", () => client.end(answer(5)));
  }
  return listening(server, address, asked);
}
