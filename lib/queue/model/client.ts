import { setTimeout as wait } from "node:timers/promises";
import { NoAnswer, type OwnAnswer } from "../../egress/exchange.ts";
import { ModelServer } from "../../egress/model-server.ts";
import { compressed, isCompressed, Scrubber } from "../../egress/scrub.ts";
import { Upstream } from "../../egress/upstream.ts";
import { HoldfastError } from "../../errors.ts";
import type { SecretSource } from "../../policy/credentials.ts";
import type { UpstreamProxySettings } from "../../policy/policy.ts";
import { Secret } from "../../secrets/secret.ts";
import { SecretError } from "../../secrets/sources.ts";
import { anthropic } from "./anthropic.ts";
import type { ModelApi, ModelInterface, ModelQuestion } from "./interface.ts";
import { openai } from "./openai.ts";
import { clip, isObject, type ModelReply, UnusableAnswer } from "./reply.ts";

const longestAnswer = 16 * 1024 * 1024;
const mostAttempts = 6;
/** As the protocol's retries (section 2), and no longer, whatever the server asks for. */
const longestWaitMs = 60_000;
const shownBytes = 400;

/** The model cannot be asked, or not for this. Its message never holds the key. */
export class ModelFault extends Error {
  override readonly name = "ModelFault";
}

export interface ModelSettings {
  readonly url: string;
  /** Absent: as the URL says. */
  readonly api?: ModelApi;
  /** Absent: the one that the server has. */
  readonly name?: string;
  readonly key?: SecretSource;
  /** Absent: the server is dialled from here. */
  readonly upstreamProxy?: UpstreamProxySettings;
  /** The most tokens of one answer. */
  readonly answerTokens?: number;
  /** How long an answer may take; 10 minutes when absent. */
  readonly timeoutMs?: number;
  /** The wait before the first retry, doubled for each further one; a second when absent. */
  readonly backoffMs?: number;
}

const interfaces: Readonly<Record<ModelApi, ModelInterface>> = { openai, anthropic };

/** Asks one server of models, again where it may answer then. */
export class ModelClient {
  readonly api: ModelApi;
  readonly #settings: ModelSettings;
  readonly #interface: ModelInterface;
  readonly #path: string;
  readonly #timeoutMs: number;
  readonly #server: ModelServer;
  readonly #secret: Secret | undefined;
  readonly #upstream: Upstream;

  /** @throws HoldfastError ERR_HOLDFAST_USAGE */
  constructor(settings: ModelSettings) {
    this.#settings = settings;
    const url = readUrl(settings.url);
    this.api = settings.api ?? apiOf(url);
    this.#interface = interfaces[this.api];
    this.#path = url.pathname.replace(/\/+$/, "");
    this.#timeoutMs = settings.timeoutMs ?? 600_000;
    this.#secret = settings.key === undefined ? undefined : new Secret("the model's key", settings.key);
    const { upstreamProxy } = settings;
    const upstream = new Upstream(upstreamProxy === undefined ? {} : { upstreamProxy });
    this.#upstream = upstream;
    this.#server = new ModelServer({
      ...{ family: this.api, url: url.origin, timeoutMs: this.#timeoutMs, key: this.#secret },
      dial: async (host, port, signal) => upstream.dial(host, await upstream.resolve(host, port), port, signal),
    });
  }

  /** The model's name; the server is asked for it where it was not said. */
  async name(signal: AbortSignal): Promise<string> {
    const { name } = this.#settings;
    if (name !== undefined) return name;
    const path = this.#interface.path(this.#path).replace(/\/(chat\/completions|messages)$/, "/models");
    const { data } = await this.#json("GET", path, Buffer.alloc(0), signal).catch((error: unknown) => {
      throw unusable(`the model's server cannot be asked which models it has: ${faultOf(error)}`, error);
    });
    const names = (Array.isArray(data) ? data : []).flatMap((each: unknown) =>
      isObject(each) && typeof each["id"] === "string" ? [each["id"]] : [],
    );
    const [only] = names;
    if (only !== undefined && names.length === 1) return only;
    const listed = clip(names.join(", "), shownBytes);
    throw unusable(`the model's server has ${names.length === 0 ? "no" : "several"} models: ${listed}`);
  }

  /**
   * @param onRetry told why it is asked again
   * @throws ModelFault, or the signal's reason
   */
  async ask(question: ModelQuestion, signal: AbortSignal, onRetry: (why: string) => void): Promise<ModelReply> {
    const body = Buffer.from(JSON.stringify(this.#interface.body(question, this.#settings.answerTokens)));
    let waitMs = this.#settings.backoffMs ?? 1000;
    for (let attempt = 1; ; attempt += 1) {
      signal.throwIfAborted();
      try {
        const reply = this.#interface.reply(await this.#json("POST", this.#interface.path(this.#path), body, signal));
        // Where the server does not say: four bytes count as a token.
        const said = Buffer.byteLength(reply.text + JSON.stringify(reply.calls));
        return {
          ...reply,
          inputTokens: reply.inputTokens || Math.ceil(body.length / 4),
          outputTokens: reply.outputTokens || Math.ceil(said / 4),
        };
      } catch (error) {
        signal.throwIfAborted();
        const fault = error instanceof UnusableAnswer ? `its answer cannot be used: ${error.message}` : faultOf(error);
        if (error instanceof ModelFault || error instanceof SecretError) throw new ModelFault(fault);
        if (attempt === mostAttempts) throw new ModelFault(`${fault}; it was asked ${mostAttempts} times`);
        onRetry(fault);
        const asked = error instanceof Busy ? error.afterMs : undefined;
        await wait(Math.min(asked ?? waitMs * (0.75 + Math.random() / 4), longestWaitMs), undefined, { signal });
        waitMs *= 2;
      }
    }
  }

  /** Wipes the key. */
  close(): void {
    this.#server.close();
    this.#upstream.close();
    this.#secret?.wipe();
  }

  /** One request, and the object that answers it. */
  async #json(
    method: string,
    target: string,
    body: Buffer,
    outer: AbortSignal,
  ): Promise<Readonly<Record<string, unknown>>> {
    const late = AbortSignal.timeout(this.#timeoutMs);
    const signal = AbortSignal.any([outer, late]);
    const fields = [...this.#interface.fields, "Content-Type: application/json", "Accept: application/json"];
    try {
      const answer = await this.#server.ask({ method, target, fields, body }, signal);
      const { status } = answer.head;
      const text = await this.#text(answer);
      if (status === 408 || status === 409 || status === 429 || status >= 500)
        throw new Busy(`it answers ${status}${messageIn(text)}`, answer);
      if (status !== 200) throw new ModelFault(`it answers ${status}${messageIn(text)}`);
      const value = parsed(text);
      if (!isObject(value)) throw new UnusableAnswer(`it is no object of JSON: ${clip(text, 100)}`);
      return value;
    } catch (error) {
      if (late.aborted) throw new Error(`it does not answer within ${this.#timeoutMs / 1000} s`);
      throw error;
    }
  }

  /** Without the key, whatever the server repeats. */
  async #text(answer: OwnAnswer): Promise<string> {
    if (isCompressed(answer.head)) {
      answer.discard();
      throw new UnusableAnswer(compressed);
    }
    const scrubber = new Scrubber(() => this.#secret?.needles("") ?? []);
    const parts: Buffer[] = [];
    let size = 0;
    for await (const chunk of answer.body) {
      size += chunk.length;
      if (size > longestAnswer) throw new UnusableAnswer(`it is longer than ${longestAnswer} bytes`);
      parts.push(Buffer.from(scrubber.take(chunk)));
    }
    return Buffer.concat([...parts, scrubber.end()]).toString("utf8");
  }
}

/** Another time it may answer. */
class Busy extends Error {
  readonly afterMs: number | undefined;

  constructor(message: string, { head }: OwnAnswer) {
    super(message);
    const said = (name: string): number =>
      Number(head.fields.find((field) => field.name === name)?.value ?? Number.NaN);
    const ms = said("retry-after-ms");
    const waitMs = Number.isNaN(ms) ? said("retry-after") * 1000 : ms;
    this.afterMs = waitMs >= 0 ? waitMs : undefined;
  }
}

function faultOf(error: unknown): string {
  if (error instanceof NoAnswer) return `it does not answer: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Both families' errors, and what others say instead. */
function messageIn(text: string): string {
  const value = parsed(text);
  const error = isObject(value) ? value["error"] : undefined;
  const message = isObject(error) ? error["message"] : error;
  const said = typeof message === "string" ? message : text;
  return said.trim() === "" ? "" : `: ${clip(said.replace(/\s+/g, " ").trim(), shownBytes)}`;
}

function readUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && (url.username !== "" || url.password !== ""))
    throw unusable("the model's URL holds credentials: everybody on this host could read them");
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== "" || url.hash !== "")
    throw unusable(`the model's URL is no server's address: ${JSON.stringify(text)}`);
  return url;
}

function apiOf({ pathname, hostname }: URL): ModelApi {
  const isAnthropic = /\/(messages|anthropic)(\/v1)?\/*$/.test(pathname) || hostname.endsWith("anthropic.com");
  return isAnthropic ? "anthropic" : "openai";
}

function unusable(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError(message, {
    code: "ERR_HOLDFAST_MODEL",
    step: "queue",
    hint: "Give --model URL, such as http://127.0.0.1:8000/v1, with --model-name and --model-key where its server wants them.",
    ...(cause === undefined ? {} : { cause }),
  });
}
