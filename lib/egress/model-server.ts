import type { Socket } from "node:net";
import { hostPortOf } from "../policy/host-port.ts";
import type { InferenceFamily } from "../policy/inference.ts";
import type { Secret } from "../secrets/secret.ts";
import type { Piece } from "../secrets/secret-text.ts";
import { exchange, type OwnAnswer } from "./exchange.ts";
import { secure } from "./server-tls.ts";

export interface ModelServerOptions {
  readonly family: InferenceFamily;
  /** `http` or `https`; its path stands before each request's. */
  readonly url: string;
  /** How long an answer may take to begin. */
  readonly timeoutMs: number;
  /** Absent: the server asks for none. */
  readonly key: Secret | undefined;
  /** A connection; aborted with the signal. */
  readonly dial: (host: string, port: number, signal: AbortSignal) => Promise<Socket>;
}

export interface ModelRequest {
  readonly method: string;
  /** With its query, after the server's own path. */
  readonly target: string;
  /** Lines without their ends, but for what this end says itself: the host, the key, the length. */
  readonly fields: readonly string[];
  readonly body: Buffer;
}

const secretPiece = { name: "", form: "plain" } as const;

/** Where each family's servers look for the key. */
const authorisation: Readonly<Record<InferenceFamily, readonly Piece[]>> = {
  openai: ["Authorization: Bearer ", secretPiece],
  anthropic: ["x-api-key: ", secretPiece],
  bedrock: ["Authorization: Bearer ", secretPiece],
};

/** A server of models, as it is asked from outside the sandbox: with its key, and nothing of the caller's. */
export class ModelServer {
  readonly #options: ModelServerOptions;

  constructor(options: ModelServerOptions) {
    this.#options = options;
  }

  /**
   * Asks it once.
   *
   * @param signal ends it, also while the answer is read
   * @throws NoAnswer, SecretError, or what dialling throws
   */
  async ask(request: ModelRequest, signal: AbortSignal): Promise<OwnAnswer> {
    const { family, key: secret, dial, timeoutMs } = this.#options;
    if (secret !== undefined && !secret.isFresh) await secret.refresh();
    const key = secret?.bytes ?? null;
    const url = new URL(this.#options.url);
    const { host, port } = hostPortOf(url);
    const plain = await dial(host, port, signal);
    const end = (): void => void plain.destroy();
    signal.addEventListener("abort", end, { once: true });
    plain.once("close", () => signal.removeEventListener("abort", end));
    try {
      const socket = url.protocol === "https:" ? await secure(plain, host, ["http/1.1"]) : plain;
      const base = url.pathname === "/" ? "" : url.pathname;
      const fields: (readonly Piece[])[] = [
        [`Host: ${url.host}`],
        // A key in it could not be found otherwise, nor what it cost.
        ["Accept-Encoding: identity"],
        ...request.fields.map((line) => [line]),
        ...(key === null ? [] : [authorisation[family]]),
      ];
      const own = { method: request.method, target: `${base}${request.target}`, fields, body: request.body };
      return await exchange(socket, own, { key, beginMs: timeoutMs });
    } catch (error) {
      plain.destroy();
      throw error;
    }
  }
}
