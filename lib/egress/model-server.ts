import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { hostPortOf } from "../policy/host-port.ts";
import type { InferenceFamily } from "../policy/inference.ts";
import { awsKeysIn } from "../secrets/aws-keys.ts";
import type { Secret } from "../secrets/secret.ts";
import type { Piece } from "../secrets/secret-text.ts";
import { type AwsKeys, signRequest, strictPath, timeOf } from "../secrets/sigv4.ts";
import { exchange, NotBegun, type OwnAnswer, type OwnRequest } from "./exchange.ts";
import { IdleConnections } from "./idle-connections.ts";
import { secure } from "./server-tls.ts";

export interface ModelServerOptions {
  readonly family: InferenceFamily;
  /** `http` or `https`; its path stands before each request's. */
  readonly url: string;
  /** How long an answer may take to begin. */
  readonly timeoutMs: number;
  /** Absent: the server asks for none. */
  readonly key: Secret | undefined;
  /** Requests are signed for it with the key, which is of AWS's. */
  readonly region?: string | undefined;
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

const bearer: readonly Piece[] = ["Authorization: Bearer ", secretPiece];

/** Where each family's servers look for a key; tokens are shown by their bearers everywhere. */
const authorisation: Readonly<Record<InferenceFamily, readonly Piece[]>> = {
  openai: bearer,
  anthropic: ["x-api-key: ", secretPiece],
  bedrock: bearer,
};

/** A server of models, as it is asked from outside the sandbox: with its key, and nothing of the caller's. */
export class ModelServer {
  readonly #options: ModelServerOptions;
  readonly #url: URL;
  readonly #idle = new IdleConnections();

  constructor(options: ModelServerOptions) {
    this.#options = options;
    this.#url = new URL(options.url);
  }

  /**
   * Asks it once.
   *
   * @param signal ends it, also while the answer is read
   * @throws NoAnswer, SecretError, or what dialling throws
   */
  async ask(request: ModelRequest, signal: AbortSignal): Promise<OwnAnswer> {
    const { key: secret } = this.#options;
    if (secret !== undefined && !secret.isFresh) await secret.refresh();
    const base = this.#url.pathname === "/" ? "" : this.#url.pathname;
    const fields: (readonly Piece[])[] = [
      [`Host: ${this.#url.host}`],
      // A key in it could not be found otherwise, nor what it cost.
      ["Accept-Encoding: identity"],
      ...request.fields.map((line) => [line]),
    ];
    const target = `${base}${request.target}`;
    const own = { method: request.method, target, fields, body: request.body };
    const idle = this.#idle.take();
    if (idle !== undefined) {
      try {
        return await this.#exchange(idle, own, signal);
      } catch (error) {
        // Its server closed the idle connection at the same time: once more, on a new one.
        if (!(error instanceof NotBegun) || signal.aborted) throw error;
      }
    }
    return await this.#exchange(await this.#connect(signal), own, signal);
  }

  /** Ends what is idle. */
  close(): void {
    this.#idle.close();
  }

  async #connect(signal: AbortSignal): Promise<Socket> {
    const { host, port } = hostPortOf(this.#url);
    const plain = await this.#options.dial(host, port, signal);
    const end = (): void => void plain.destroy();
    signal.addEventListener("abort", end, { once: true });
    try {
      signal.throwIfAborted();
      const socket = this.#url.protocol === "https:" ? await secure(plain, host, ["http/1.1"]) : plain;
      // Whoever waits for an answer is told of it by its end.
      socket.on("error", () => {});
      return socket;
    } catch (error) {
      plain.destroy();
      throw error;
    } finally {
      signal.removeEventListener("abort", end);
    }
  }

  async #exchange(socket: Socket, request: OwnRequest, signal: AbortSignal): Promise<OwnAnswer> {
    const end = (): void => void socket.destroy();
    const leave = (): void => signal.removeEventListener("abort", end);
    signal.addEventListener("abort", end, { once: true });
    socket.once("close", leave);
    try {
      signal.throwIfAborted();
      const key = this.#options.key?.bytes ?? null;
      return await exchange(socket, key === null ? request : this.#authorised(request, key), {
        ...{ key, beginMs: this.#options.timeoutMs },
        onFree: () => {
          leave();
          socket.off("close", leave);
          // After whoever read from it has let go.
          setImmediate(() => this.#idle.add(socket));
        },
      });
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** With what proves who asks. */
  #authorised(request: OwnRequest, key: Buffer): OwnRequest {
    const { family, region, key: secret } = this.#options;
    if (region !== undefined) return signed(request, this.#url.host, awsKeysIn(key), region);
    const line = secret?.isToken === true ? bearer : authorisation[family];
    return { ...request, fields: [...request.fields, line] };
  }
}

/** As Bedrock asks for it (docs.aws.amazon.com, "Create a signed AWS API request"). */
function signed(request: OwnRequest, host: string, keys: AwsKeys, region: string): OwnRequest {
  const { method, fields, body } = request;
  const [path = "", query] = request.target.split("?");
  const scope = { region, service: "bedrock", time: timeOf() };
  const sent = strictPath(path);
  const { authorization } = signRequest(keys, scope, {
    ...{ method, path: sent, query: query ?? "" },
    payload: createHash("sha256").update(body).digest("hex"),
    fields: [
      ["host", host],
      ["x-amz-date", scope.time],
      ...(keys.token === null ? [] : ([["x-amz-security-token", keys.token]] as const)),
    ],
  });
  return {
    ...{ method, body, target: query === undefined ? sent : `${sent}?${query}` },
    fields: [
      ...fields,
      [`X-Amz-Date: ${scope.time}`],
      ...(keys.token === null ? [] : [["X-Amz-Security-Token: ", keys.token]]),
      [`Authorization: ${authorization}`],
    ],
  };
}
