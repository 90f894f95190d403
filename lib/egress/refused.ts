import type { ClientHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { Answer } from "./answer.ts";
import type { Authority } from "./authority.ts";
import { endTls } from "./client-tls.ts";
import { Http1 } from "./http1.ts";
import { Http2, type InspectedHttp2Flow } from "./http2.ts";
import { LeakFlow } from "./leak-flow.ts";
import { readOpening } from "./opening.ts";
import type { Origin } from "./origin.ts";

/** Who says nothing waits for a server that speaks first: none will. */
const silenceMs = 1000;
/** The whole conversation: its client has nothing to wait for. */
const mostMs = 10_000;

export interface RefusedConnection {
  readonly client: Socket;
  readonly host: string;
  readonly port: number;
  readonly answer: Answer;
}

/**
 * Tells a program that an inspected endpoint is not granted to, in HTTP, what it would have to be granted; a reset is all
 * that it can be told in anything else. Nothing is dialled for it.
 *
 * @param authority whose certificates the sandbox trusts
 */
export async function tellRefused(authority: Authority, connection: RefusedConnection): Promise<void> {
  const { client, host } = connection;
  const reset = bounded(client);
  const opening = await readOpening(client, { firstMs: silenceMs, restMs: mostMs });
  if (client.destroyed || opening.kind === "malformed" || opening.kind === "silent") return reset();
  if (opening.kind === "other") {
    const beginning = opening.read.toString("latin1", 0, 16);
    // As a request begins.
    if (!/^[A-Z]+(?: |$)/.test(beginning)) return reset();
    client.unshift(opening.read);
    const flow = new RefusedFlow("http", connection);
    if (beginning.startsWith("PRI ")) new Http2(client, flow);
    else new Http1(client, flow, { carriesOne: true });
    return;
  }
  const { serverName, protocols } = opening.hello;
  if (serverName !== undefined && serverName !== host) return reset();
  client.unshift(opening.read);
  const known = ["h2", "http/1.1"].filter((name) => protocols.includes(name));
  const secured = await endTls(authority, { client, onFault: () => {} }, host, known);
  if (secured === undefined) return;
  const flow = new RefusedFlow("https", connection);
  if (secured.alpnProtocol === "h2") new Http2(secured, flow);
  else new Http1(secured, flow, { carriesOne: true });
}

/** Tells a client of HTTP/2 without TLS, request by request, why it is not carried. */
export function tellHttp2(connection: RefusedConnection): void {
  bounded(connection.client);
  new Http2(connection.client, new RefusedFlow("http", connection));
}

/** Ends the conversation at its time. @returns what ends it at once */
function bounded(client: Socket): () => void {
  const reset = (): void => void client.resetAndDestroy();
  const end = setTimeout(reset, mostMs).unref();
  client.once("close", () => clearTimeout(end));
  return reset;
}

class RefusedFlow implements InspectedHttp2Flow {
  readonly streams: Set<ServerHttp2Stream> = new Set();
  readonly scheme: "http" | "https";
  readonly host: string;
  readonly port: number;
  readonly encodedSlash = true;
  readonly last = {};
  readonly credentials = null;
  readonly leaks: LeakFlow = LeakFlow.unrecorded();
  readonly #answer: Answer;

  constructor(scheme: "http" | "https", { host, port, answer }: RefusedConnection) {
    this.scheme = scheme;
    this.host = host;
    this.port = port;
    this.#answer = answer;
  }

  judge(): Answer {
    return this.#answer;
  }

  /** The connection is recorded as refused; what is said on it makes no difference. */
  malformed(): void {}

  protocolOf(): "" {
    return "";
  }

  take(): undefined {
    return undefined;
  }

  release(): void {}

  open(): Promise<Origin> {
    throw new Error("a refused connection leads nowhere");
  }

  session(): Promise<ClientHttp2Session> {
    throw new Error("a refused connection leads nowhere");
  }
}
