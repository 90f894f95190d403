import type { Socket } from "node:net";
import { hostPortOf } from "../policy/host-port.ts";
import type { Piece } from "../secrets/secret-text.ts";
import { SecretError } from "../secrets/sources.ts";
import type { TokenAnswer, TokenFetch, TokenRequest } from "../secrets/token.ts";
import { exchange, NoAnswer } from "./exchange.ts";
import { secure } from "./server-tls.ts";

/** From the first byte to the last. */
const mostMs = 30_000;
const longestAnswer = 64 * 1024;

export interface TokenWay {
  readonly dial: (host: string, port: number, signal: AbortSignal) => Promise<Socket>;
  /** That a token was asked for; status 0 where there was no answer. */
  readonly record: (credential: string, host: string, port: number, status: number) => void;
}

/** Asks issuers of tokens as the launcher: by its way out, and proved by whom it trusts. Redirects are not followed. */
export function tokenFetch({ dial, record }: TokenWay): TokenFetch {
  return async (request) => {
    const { host, port } = hostPortOf(new URL(request.url));
    const signal = AbortSignal.timeout(mostMs);
    let status = 0;
    try {
      const answer = await ask(request, await dial(host, port, signal), host, signal);
      ({ status } = answer);
      return answer;
    } catch (error) {
      if (signal.aborted) throw new SecretError(`${host} does not answer within ${mostMs / 1000} s`);
      const why = error instanceof Error ? error.message : String(error);
      throw new SecretError(`${host} cannot be asked for a token: ${why}`);
    } finally {
      record(request.name, host, port, status);
    }
  };
}

async function ask(request: TokenRequest, plain: Socket, host: string, signal: AbortSignal): Promise<TokenAnswer> {
  const end = (): void => void plain.destroy();
  signal.addEventListener("abort", end, { once: true });
  const parts: Buffer[] = [];
  try {
    signal.throwIfAborted();
    const socket = await secure(plain, host, ["http/1.1"]);
    const { pathname, search, host: authority } = new URL(request.url);
    const { proof, fields = [], contentType, body } = request;
    const lines: (readonly Piece[])[] = [
      [`Host: ${authority}`],
      ["User-Agent: holdfast"],
      ["Accept-Encoding: identity"],
      ...(fields.some((line) => line.startsWith("Accept:")) ? [] : [["Accept: application/json"]]),
      ...fields.map((line) => [line]),
      [`Content-Type: ${contentType}`],
      ...(proof === undefined ? [] : [[`${proof.name}: `, { name: "", form: "plain" }] as const]),
    ];
    const own = { method: "POST", target: `${pathname}${search}`, fields: lines, body };
    const answer = await exchange(socket, own, { key: proof?.value ?? null, beginMs: mostMs });
    let size = 0;
    for await (const part of answer.body) {
      parts.push(Buffer.from(part));
      part.fill(0);
      size += part.length;
      if (size > longestAnswer) throw new NoAnswer(`its answer is longer than ${longestAnswer} bytes`);
    }
    return { status: answer.head.status, body: Buffer.concat(parts) };
  } finally {
    for (const part of parts) part.fill(0);
    signal.removeEventListener("abort", end);
    plain.destroy();
  }
}
